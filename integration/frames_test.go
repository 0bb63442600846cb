package integration

import (
	"bufio"
	"bytes"
	"crypto/subtle"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
)

// Frame opcodes (RFC 6455, section 5.2).
const (
	opContinuation = 0x0
	opText         = 0x1
	opBinary       = 0x2
	opClose        = 0x8
	opPing         = 0x9
	opPong         = 0xA
)

// frame is one WebSocket frame, read and written by this package's own code so
// that a mistake in the gateway's framing is not hidden by sharing it.
type frame struct {
	fin     bool
	rsv     byte // the three reserved bits, as in the first byte
	op      byte
	masked  bool
	key     [4]byte
	payload []byte
}

func text(s string) frame {
	return frame{fin: true, op: opText, payload: []byte(s)}
}

func closing(code int, reason string) frame {
	payload := binary.BigEndian.AppendUint16(nil, uint16(code)) // #nosec G115 -- close codes are below 5000
	return frame{fin: true, op: opClose, payload: append(payload, reason...)}
}

// closeCode is the status in a close frame, 1005 where there is none.
func (f frame) closeCode() int {
	if len(f.payload) < 2 {
		return 1005
	}
	return int(binary.BigEndian.Uint16(f.payload))
}

func (f frame) String() string {
	if f.op == opClose {
		return fmt.Sprintf("close %d", f.closeCode())
	}
	if len(f.payload) > 40 {
		return fmt.Sprintf("opcode %x with %d bytes", f.op, len(f.payload))
	}
	return fmt.Sprintf("opcode %x %q", f.op, f.payload)
}

// appendTo encodes the frame at the end of dst.
func (f frame) appendTo(dst []byte) []byte {
	first := f.rsv | f.op
	if f.fin {
		first |= 0x80
	}
	var mask byte
	if f.masked {
		mask = 0x80
	}
	dst = append(dst, first)
	switch n := len(f.payload); {
	case n < 126:
		dst = append(dst, mask|byte(n))
	case n <= 0xFFFF:
		dst = append(dst, mask|126)
		dst = binary.BigEndian.AppendUint16(dst, uint16(n)) // #nosec G115 -- bounded by the case
	default:
		dst = append(dst, mask|127)
		dst = binary.BigEndian.AppendUint64(dst, uint64(n)) // #nosec G115 -- a length is not negative
	}
	if !f.masked {
		return append(dst, f.payload...)
	}
	dst = append(dst, f.key[:]...)
	start := len(dst)
	dst = append(dst, f.payload...)
	xor(dst[start:], f.key)
	return dst
}

// clientBytes is the frame as a client sends it: masked, with a random key.
func (f frame) clientBytes() []byte {
	f.masked = true
	binary.BigEndian.PutUint32(f.key[:], rand.Uint32())
	return f.appendTo(nil)
}

// serverBytes is the frame as a server sends it: unmasked.
func (f frame) serverBytes() []byte {
	f.masked = false
	return f.appendTo(nil)
}

// client encodes frames as a client sends them.
func client(frames ...frame) (b []byte) {
	for _, f := range frames {
		b = append(b, f.clientBytes()...)
	}
	return b
}

// upstreamBytes encodes frames as an upstream sends them.
func upstreamBytes(frames ...frame) (b []byte) {
	for _, f := range frames {
		b = append(b, f.serverBytes()...)
	}
	return b
}

func xor(b []byte, key [4]byte) {
	repeated := bytes.Repeat(key[:], 1024)
	for piece := range slices.Chunk(b, len(repeated)) {
		subtle.XORBytes(piece, piece, repeated)
	}
}

// readFrame reads one frame and unmasks its payload.
func readFrame(br *bufio.Reader) (frame, error) {
	var head [8]byte
	if _, err := io.ReadFull(br, head[:2]); err != nil {
		return frame{}, err
	}
	f := frame{fin: head[0]&0x80 != 0, rsv: head[0] & 0x70, op: head[0] & 0x0F, masked: head[1]&0x80 != 0}
	length := uint64(head[1] & 0x7F)
	wide := map[uint64]int{126: 2, 127: 8}[length]
	if wide > 0 {
		clear(head[:])
		if _, err := io.ReadFull(br, head[8-wide:]); err != nil {
			return frame{}, unexpected(err)
		}
		length = binary.BigEndian.Uint64(head[:])
	}
	if length > 1<<26 {
		return frame{}, fmt.Errorf("frame of %d bytes: the stream is out of step", length)
	}
	if f.masked {
		if _, err := io.ReadFull(br, f.key[:]); err != nil {
			return frame{}, unexpected(err)
		}
	}
	f.payload = make([]byte, length)
	if _, err := io.ReadFull(br, f.payload); err != nil {
		return frame{}, unexpected(err)
	}
	if f.masked {
		xor(f.payload, f.key)
	}
	return f, nil
}

// unexpected marks an end inside a frame, which no ending may cause.
func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// randomStream encodes frames of every kind: all opcodes (reserved ones too,
// which a relay has no say in), every length encoding up to 4 MiB, fragments
// with control frames between them, and reserved bits. Only the close opcode is
// missing, because what follows a close is not part of a connection.
func randomStream(rnd *rand.Rand, masked bool) []byte {
	sizes := []int{0, 1, 2, 124, 125, 126, 127, 4095, 65535, 65536, 65537, 1 << 20, 4 << 20}
	var stream []byte
	add := func(fin bool, op byte, size int) {
		f := frame{fin: fin, op: op, masked: masked, payload: make([]byte, size)}
		if rnd.IntN(3) == 0 {
			f.rsv = byte(rnd.IntN(8)) << 4
		}
		for i := range f.payload {
			f.payload[i] = byte(i * 31) // #nosec G115 -- a pattern, wrapping is the point
		}
		binary.BigEndian.PutUint32(f.key[:], rnd.Uint32())
		stream = f.appendTo(stream)
	}
	rnd.Shuffle(len(sizes), func(i, j int) { sizes[i], sizes[j] = sizes[j], sizes[i] })
	for _, size := range sizes {
		op := []byte{opText, opBinary, 0x3, 0x7}[rnd.IntN(4)]
		fragments := 1 + rnd.IntN(4)
		for i := range fragments {
			add(i == fragments-1, op, size/fragments)
			op = opContinuation
			if rnd.IntN(2) == 0 {
				add(true, []byte{opPing, opPong, 0xB, 0xF}[rnd.IntN(4)], rnd.IntN(126))
			}
		}
	}
	return stream
}

// writeInPieces writes b cut at random places.
func writeInPieces(w io.Writer, rnd *rand.Rand, b []byte) error {
	for len(b) > 0 {
		n := min(len(b), 1+rnd.IntN([]int{3, 200, 70_000, 1 << 20}[rnd.IntN(4)]))
		if _, err := w.Write(b[:n]); err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}
