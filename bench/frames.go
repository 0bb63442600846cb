//go:build linux

package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
)

// The opcodes that the benchmark sends.
const (
	opBinary = 2
	opClose  = 8
	opPing   = 9
	opPong   = 10
)

// stampSize is what every payload begins with: when the message was due, in
// nanoseconds, the connection's number and the message's.
const stampSize = 16

type stamp struct {
	due       int64
	conn, seq uint32
}

func (s stamp) put(p []byte) {
	binary.LittleEndian.PutUint64(p, uint64(s.due))
	binary.LittleEndian.PutUint32(p[8:], s.conn)
	binary.LittleEndian.PutUint32(p[12:], s.seq)
}

func stampOf(p []byte) stamp {
	return stamp{int64(binary.LittleEndian.Uint64(p)), binary.LittleEndian.Uint32(p[8:]), binary.LittleEndian.Uint32(p[12:])}
}

// appendHeader makes the header of a frame. A client's has a mask of zeros, so
// that neither end has to unmask anything; a proxy does not anyway.
func appendHeader(b []byte, opcode byte, n int, masked bool) []byte {
	var mask byte
	if masked {
		mask = 0x80
	}
	b = append(b, 0x80|opcode)
	switch {
	case n < 126:
		b = append(b, mask|byte(n))
	case n < 1<<16:
		b = binary.BigEndian.AppendUint16(append(b, mask|126), uint16(n))
	default:
		b = binary.BigEndian.AppendUint64(append(b, mask|127), uint64(n))
	}
	if masked {
		b = append(b, 0, 0, 0, 0)
	}
	return b
}

// shape is what all messages of a scenario look like.
type shape struct {
	size    int
	header  []byte // of the server's frames
	pattern []byte // of the payload, after the stamp
	frame   []byte // the client's, whole
	at      int    // where the stamp is in frame
}

// shapeOf prepares messages with that many bytes of payload, stampSize at least.
func shapeOf(size int) *shape {
	s := &shape{size: size, header: appendHeader(nil, opBinary, size, false), pattern: make([]byte, size-stampSize)}
	for i := range s.pattern {
		s.pattern[i] = byte(i*31 + i>>8)
	}
	s.frame = appendHeader(nil, opBinary, size, true)
	s.at = len(s.frame)
	s.frame = append(s.frame, make([]byte, stampSize)...)
	s.frame = append(s.frame, s.pattern...)
	return s
}

// stamped is the client's frame with that stamp, until the next call.
func (s *shape) stamped(st stamp) []byte {
	st.put(s.frame[s.at:])
	return s.frame
}

// inbox follows the frames that a server sends, which must be of one shape.
type inbox struct {
	at    int // in the frame
	stamp [stampSize]byte

	// pinged is called with what a ping says; pings are not expected if it is nil.
	pinged func(payload []byte) error
	ping   []byte // one that has begun to come
}

var errChanged = errors.New("what came back is not what was sent")

// take goes over p, and calls got for each message that is whole.
func (in *inbox) take(s *shape, p []byte, got func(stamp) error) error {
	body, end := len(s.header)+stampSize, len(s.header)+s.size
	for len(p) > 0 {
		n := 0
		switch {
		case len(in.ping) > 0 || in.at == 0 && p[0] == 0x80|opPing && in.pinged != nil:
			var err error
			if p, err = in.takePing(p); err != nil {
				return err
			}
			continue
		case in.at < len(s.header):
			n = min(len(p), len(s.header)-in.at)
			if !bytes.Equal(p[:n], s.header[in.at:in.at+n]) {
				return fmt.Errorf("%w: a header has %x", errChanged, p[:n])
			}
		case in.at < body:
			n = copy(in.stamp[in.at-len(s.header):], p)
		default:
			n = min(len(p), end-in.at)
			from := in.at - body
			if !bytes.Equal(p[:n], s.pattern[from:from+n]) {
				return fmt.Errorf("%w after %d bytes", errChanged, from)
			}
		}
		p = p[n:]
		if in.at += n; in.at == end {
			in.at = 0
			if err := got(stampOf(in.stamp[:])); err != nil {
				return err
			}
		}
	}
	return nil
}

// takePing goes over the bytes of a ping, and returns what follows them.
func (in *inbox) takePing(p []byte) ([]byte, error) {
	for len(p) > 0 {
		in.ping = append(in.ping, p[0])
		p = p[1:]
		if len(in.ping) > 1 && len(in.ping) == 2+int(in.ping[1]) {
			err := in.pinged(in.ping[2:])
			in.ping = in.ping[:0]
			return p, err
		}
	}
	return p, nil
}

// unmask turns a client's stream into the server's: the same frames without
// their masks, in place.
type unmask struct {
	head      [14]byte
	headLen   int
	remaining int // of the payload
	closed    bool

	key [4]byte // of the frame, zeros unless a gateway has masked it anew
	at  int     // in the payload
}

// bare unmasks more of the payload.
func (u *unmask) bare(p []byte) []byte {
	if u.key != [4]byte{} {
		for i := range p {
			p[i] ^= u.key[(u.at+i)%4]
		}
	}
	u.at += len(p)
	return p
}

// apply returns what is to be sent back, which lies within p or, where a header
// came in pieces, in a new slice.
func (u *unmask) apply(p []byte) []byte {
	if u.remaining >= len(p) { // more of one frame, and nothing else
		u.remaining -= len(p)
		return u.bare(p)
	}
	var out []byte
	for len(p) > 0 {
		if u.remaining > 0 {
			n := min(len(p), u.remaining)
			out = append(out, u.bare(p[:n])...)
			u.remaining -= n
			p = p[n:]
			continue
		}
		split := u.headLen > 0
		n, whole := u.header(p)
		if !whole {
			return out
		}
		payload := u.remaining
		head := appendHeader(nil, u.head[0]&0x0F, payload, false)
		u.closed = u.closed || u.head[0]&0x0F == opClose
		if out == nil && !split && len(p)-n <= payload { // the usual case: no copying
			u.remaining -= len(p) - n
			u.bare(p[n:])
			copy(p[n-len(head):], head)
			return p[n-len(head):]
		}
		out = append(out, head...)
		p = p[n:]
	}
	return out
}

// header collects a header; it returns how much of p belonged to it.
func (u *unmask) header(p []byte) (n int, whole bool) {
	need := 2
	for {
		if u.headLen >= 2 {
			need = 6
			switch u.head[1] & 0x7F {
			case 126:
				need = 8
			case 127:
				need = 14
			}
		}
		if u.headLen == need && need > 2 {
			break
		}
		m := copy(u.head[u.headLen:need], p[n:])
		if m == 0 {
			return n, false
		}
		u.headLen += m
		n += m
	}
	u.headLen, u.at = 0, 0
	u.key = [4]byte(u.head[need-4 : need])
	switch length := int(u.head[1] & 0x7F); length {
	case 126:
		u.remaining = int(binary.BigEndian.Uint16(u.head[2:]))
	case 127:
		u.remaining = int(binary.BigEndian.Uint64(u.head[2:]))
	default:
		u.remaining = length
	}
	return n, true
}
