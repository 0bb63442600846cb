package wsframe

import (
	"encoding/binary"
	"math/rand/v2"
)

// Opcode and final bit of the frames that the tests build.
const (
	final    = true
	fragment = false
)

var testKey = []byte{0x37, 0xfa, 0x21, 0x3d}

// appendFrame appends a frame, masked with key unless that is nil, with the
// shortest length that fits.
func appendFrame(dst []byte, op Opcode, fin bool, key, payload []byte) []byte {
	first := byte(op)
	if fin {
		first |= 0x80
	}
	var mask byte
	if key != nil {
		mask = 0x80
	}
	dst = append(dst, first)
	switch n := len(payload); {
	case n <= 125:
		dst = append(dst, mask|byte(n))
	case n <= 0xFFFF:
		dst = binary.BigEndian.AppendUint16(append(dst, mask|126), uint16(n))
	default:
		dst = binary.BigEndian.AppendUint64(append(dst, mask|127), uint64(n))
	}
	dst = append(dst, key...)
	for i, b := range payload {
		if key != nil {
			b ^= key[i%4]
		}
		dst = append(dst, b)
	}
	return dst
}

// randomStream returns frames of all kinds with nothing wrong in them but
// their order, and a close frame in the middle.
func randomStream(rng *rand.Rand, frames int) []byte {
	ops := []Opcode{Continuation, Text, Binary, Ping, Pong, 0x3, 0xB}
	var stream []byte
	for i := range frames {
		op := ops[rng.IntN(len(ops))]
		size := rng.IntN(126)
		if op < Close && rng.IntN(8) == 0 {
			size = rng.IntN(70_000)
		}
		var key []byte
		if rng.IntN(2) == 0 {
			key = testKey
		}
		if i == frames/2 {
			stream = AppendClose(stream, 4321, "halfway", key != nil)
		}
		stream = appendFrame(stream, op, rng.IntN(3) > 0, key, make([]byte, size))
	}
	return stream
}
