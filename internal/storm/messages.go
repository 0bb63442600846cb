package main

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"sync"
	"unicode/utf8"
)

// voice draws the messages of one side of a connection, so that whoever hears them can
// draw them too. A message begins with the name of the voice and its own number, as far
// as there is space, and ends with a checksum.
type voice struct {
	seed   uint64
	name   string // the connection's
	pushes bool   // the upstream's; else the client's
}

// opening is what the message with the number begins with.
func (v voice) opening(n int) string {
	if v.pushes {
		return fmt.Sprintf("p %s %d ", v.name, n)
	}
	return fmt.Sprintf("c %s %d ", v.name, n)
}

const checksumSize = 8

// message appends the payload of the message with the number to b.
func (v voice) message(n int, b []byte) (op byte, payload []byte) {
	opening := v.opening(n)
	r := rand.New(rand.NewPCG(v.seed^uint64(crc32.ChecksumIEEE([]byte(v.name))), uint64(crc32.ChecksumIEEE([]byte(opening))))) //nolint:gosec // it must be possible to draw the same again
	size := drawSize(r)
	if v.pushes {
		size = max(size, len(opening)) // else it could be taken for an echo
	}
	op = opText
	if r.IntN(2) == 0 {
		op = opBinary
	}
	if size < len(opening)+checksumSize {
		return op, append(b, opening[:min(size, len(opening))]...)
	}
	from := len(b)
	b = append(b, opening...)
	b = append(b, filler(op, r.IntN(fillerSpare), size-len(opening)-checksumSize)...)
	if op == opText {
		mend(b[from:])
	}
	return op, fmt.Appendf(b, "%08x", crc32.ChecksumIEEE(b[from:]))
}

// drawSize draws mostly small sizes, and now and then one on the edge of a header.
func drawSize(r *rand.Rand) int {
	switch n := r.IntN(1000); {
	case n < 40:
		return 0
	case n < 100:
		return []int{125, 126, 127, 65_535, 65_536}[r.IntN(5)]
	case n < 600:
		return r.IntN(126)
	case n < 880:
		return r.IntN(4 << 10)
	case n < 970:
		return r.IntN(64 << 10)
	case n < 995:
		return r.IntN(256 << 10)
	default:
		return r.IntN(maxPayload + 1)
	}
}

const fillerSpare = 64 << 10

// fillers are what payloads are filled with: text of runes of all lengths, and bytes.
var fillers = sync.OnceValue(func() (all struct{ text, bytes []byte }) {
	r := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // any will do, but for every process the same
	runes := []rune("aeiou nrst\n\u00e9\u00df\u0436\u20ac\u4e2d\U0001f600")
	for len(all.text) < maxPayload+fillerSpare+utf8.UTFMax {
		all.text = utf8.AppendRune(all.text, runes[r.IntN(len(runes))])
	}
	for len(all.bytes) < maxPayload+fillerSpare {
		all.bytes = binary.NativeEndian.AppendUint64(all.bytes, r.Uint64())
	}
	return all
})

func filler(op byte, from, size int) []byte {
	if op == opBinary {
		return fillers().bytes[from : from+size]
	}
	all := fillers().text
	for !utf8.RuneStart(all[from]) {
		from++
	}
	return all[from : from+size]
}

// mend replaces half a rune at the end.
func mend(text []byte) {
	for at := len(text) - 1; at >= max(0, len(text)-utf8.UTFMax); at-- {
		if !utf8.RuneStart(text[at]) {
			continue
		}
		if !utf8.FullRune(text[at:]) {
			for i := range text[at:] {
				text[at+i] = '.'
			}
		}
		return
	}
}

// split cuts a message into frames. Each is written as a whole, so that others may come
// in between.
func split(r *rand.Rand, op byte, payload []byte, masked bool) [][]byte {
	pieces := 1
	if r.IntN(5) == 0 {
		pieces = 1 + r.IntN(5)
	}
	frames := make([][]byte, 0, pieces)
	for i := range pieces {
		n := len(payload)
		if i < pieces-1 {
			n = r.IntN(len(payload) + 1)
		}
		mask := uint32(0)
		if masked {
			mask = r.Uint32() | 1
		}
		f := frame{op, payload[:n]}.bytes(mask)
		if i < pieces-1 {
			f[0] &^= 0x80
		}
		frames = append(frames, f)
		op, payload = opContinuation, payload[n:]
	}
	return frames
}

// errGarbage is that of a peer that hears what is no frame.
var errGarbage = errors.New("garbage")

// hearer puts messages together.
type hearer struct {
	br     *bufio.Reader
	masked bool // as frames must be

	mid  bool // within a frame
	op   byte // of the message whose first frames have come; 0 for none
	data []byte
}

// hear returns the next control frame or whole message, whose payload is good until the
// next call.
func (h *hearer) hear() (frame, error) {
	for {
		first, size, key, err := h.header()
		if err != nil {
			return frame{}, err
		}
		op, final := first&0xf, first&0x80 != 0
		switch {
		case op >= opClose:
			payload := make([]byte, size)
			return frame{op, payload}, h.body(payload, key)
		case op != opContinuation:
			h.op, h.data = op, h.data[:0]
		}
		from := len(h.data)
		h.data = append(h.data, make([]byte, size)...)
		if err := h.body(h.data[from:], key); err != nil {
			return frame{}, err
		}
		if !final {
			continue
		}
		op, h.op = h.op, 0
		payload := h.data
		if cap(h.data) > 64<<10 {
			h.data = nil
		}
		return frame{op, payload}, nil
	}
}

// header reads the header of a frame, which must be good.
func (h *hearer) header() (first byte, size int, key [4]byte, err error) {
	if first, err = h.br.ReadByte(); err != nil {
		return first, size, key, err
	}
	h.mid = true
	second, err := h.br.ReadByte()
	if err != nil {
		return first, size, key, err
	}
	length, err := readLength(h.br, second)
	if err != nil {
		return first, size, key, err
	}
	op, final := first&0xf, first&0x80 != 0
	switch {
	case first&0x70 != 0, second&0x80 != 0 != h.masked, length > maxPayload,
		op > opPong, op > opBinary && op < opClose,
		op >= opClose && (!final || length > 125),
		op == opContinuation && h.op == 0, op != opContinuation && op < opClose && h.op != 0,
		uint64(len(h.data))+length > 2*maxPayload:
		return first, size, key, fmt.Errorf("%w: a header begins with %02x %02x", errGarbage, first, second)
	}
	if h.masked {
		_, err = io.ReadFull(h.br, key[:])
	}
	return first, int(length), key, err
}

func (h *hearer) body(p []byte, key [4]byte) error {
	if _, err := io.ReadFull(h.br, p); err != nil {
		return err
	}
	h.mid = false
	unmask(p, key)
	return nil
}

// differs says how a message, or a pong, is not the one that had to come.
func differs(f frame, op byte, want []byte) error {
	if f.op == op && bytes.Equal(f.payload, want) {
		return nil
	}
	at := 0
	for at < min(len(f.payload), len(want)) && f.payload[at] == want[at] {
		at++
	}
	return fmt.Errorf("%w: opcode %d, %d bytes, beginning with %.60q, but opcode %d and %d bytes had to come, beginning with %.60q: they differ from byte %d on",
		errForeign, f.op, len(f.payload), f.payload, op, len(want), want, at)
}

// stump is the beginning of a frame.
func stump(r *rand.Rand, mask uint32) []byte {
	wire := frame{opBinary, make([]byte, r.IntN(20_000))}.bytes(mask)
	return wire[:1+r.IntN(len(wire)-1)]
}

// garbage is what no frame begins with, in one of several ways.
func garbage(r *rand.Rand) []byte {
	switch r.IntN(4) {
	case 0: // a length beyond all measure
		return []byte{0x82, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 2, 3, 4, 5}
	case 1: // reserved bits
		return frame{0x70 | opText, []byte("reserved")}.bytes(r.Uint32() | 1)
	case 2: // an opcode that nobody knows
		return frame{0x3, []byte("unknown")}.bytes(r.Uint32() | 1)
	default:
		b := make([]byte, 100)
		for i := range b {
			b[i] = byte(r.Uint32())
		}
		b[0] |= 0x70
		return b
	}
}
