package main

import (
	"bufio"
	"crypto/sha1" //nolint:gosec // RFC 6455 asks for it
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"io"
)

// frame is a frame of RFC 6455 that is a whole message.
type frame struct {
	op      byte
	payload []byte
}

const (
	opContinuation = 0x0
	opText         = 0x1
	opBinary       = 0x2
	opClose        = 0x8
	opPing         = 0x9
	opPong         = 0xA
)

const maxPayload = 1 << 20

func text(s string) frame { return frame{opText, []byte(s)} }

func closing(code uint16, reason string) frame {
	return frame{opClose, append(binary.BigEndian.AppendUint16(nil, code), reason...)}
}

// code is what a close frame says.
func (f frame) code() uint16 {
	if len(f.payload) < 2 {
		return 1005
	}
	return binary.BigEndian.Uint16(f.payload)
}

func (f frame) reason() string { return string(f.payload[min(2, len(f.payload)):]) }

// bytes is the frame on the wire. A client masks with what is not zero.
func (f frame) bytes(mask uint32) []byte {
	b := []byte{0x80 | f.op, 0}
	switch n := len(f.payload); {
	case n < 126:
		b[1] = byte(n)
	case n < 1<<16:
		b[1] = 126
		b = binary.BigEndian.AppendUint16(b, uint16(n))
	default:
		b[1] = 127
		b = binary.BigEndian.AppendUint64(b, uint64(n))
	}
	if mask == 0 {
		return append(b, f.payload...)
	}
	b[1] |= 0x80
	b = binary.BigEndian.AppendUint32(b, mask)
	start := len(b)
	key := [4]byte(b[start-4:])
	b = append(b, f.payload...)
	unmask(b[start:], key)
	return b
}

// readFrame reads a frame, and takes the mask off.
func readFrame(br *bufio.Reader) (frame, error) {
	var head [2]byte
	if _, err := io.ReadFull(br, head[:]); err != nil {
		return frame{}, err
	}
	n, err := readLength(br, head[1])
	if err != nil {
		return frame{}, err
	}
	if n > maxPayload || head[0]&0x70 != 0 {
		return frame{}, fmt.Errorf("%w: a frame begins with %x", errForeign, head)
	}
	var key [4]byte
	if head[1]&0x80 != 0 {
		if _, err := io.ReadFull(br, key[:]); err != nil {
			return frame{}, err
		}
	}
	f := frame{op: head[0] & 0xf, payload: make([]byte, n)}
	if _, err := io.ReadFull(br, f.payload); err != nil {
		return frame{}, err
	}
	unmask(f.payload, key)
	return f, nil
}

// readLength reads what is left of a length that begins in the second byte of a header.
func readLength(br *bufio.Reader, second byte) (uint64, error) {
	n := uint64(second & 0x7f)
	if n <= 125 {
		return n, nil
	}
	var b [8]byte
	if _, err := io.ReadFull(br, b[len(b)-int(2+6*(n-126)):]); err != nil {
		return 0, err
	}
	return binary.BigEndian.Uint64(b[:]), nil
}

func unmask(p []byte, key [4]byte) {
	if key == [4]byte{} {
		return
	}
	once := uint64(binary.NativeEndian.Uint32(key[:]))
	twice := once | once<<32
	for ; len(p) >= 8; p = p[8:] {
		binary.NativeEndian.PutUint64(p, binary.NativeEndian.Uint64(p)^twice)
	}
	for i := range p {
		p[i] ^= key[i%4]
	}
}

// acceptOf is the Sec-WebSocket-Accept for a key.
func acceptOf(key string) string {
	sum := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11")) //nolint:gosec // as above
	return base64.StdEncoding.EncodeToString(sum[:])
}
