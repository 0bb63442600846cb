package wsframe

import (
	"encoding/binary"
	"math/rand/v2"
)

// AppendFrame appends a frame to dst that carries a message or a fragment of one, or a
// pong. RSV1 is set where deflated is true. A frame to a server must be masked.
func AppendFrame(dst []byte, op Opcode, final, deflated bool, payload []byte, masked bool) []byte {
	dst, key := appendHeader(dst, op, final, deflated, len(payload), masked)
	dst = append(dst, payload...)
	if masked {
		Mask(dst[len(dst)-len(payload):], key, 0)
	}
	return dst
}

func appendHeader(dst []byte, op Opcode, final, deflated bool, length int, masked bool) (_ []byte, key [4]byte) {
	first := byte(op)
	if final {
		first |= finBit
	}
	if deflated {
		first |= Deflate
	}
	second := byte(0)
	if masked {
		second = maskBit
	}
	switch {
	case length < length16:
		dst = append(dst, first, second|byte(length))
	case length <= 0xFFFF:
		dst = binary.BigEndian.AppendUint16(append(dst, first, second|length16), uint16(length))
	default:
		dst = binary.BigEndian.AppendUint64(append(dst, first, second|length64), uint64(length))
	}
	if masked {
		// Section 5.3 asks for keys that those who choose the payload cannot predict, and
		// the generator of math/rand/v2 is seeded at random and cannot be predicted from
		// what it has returned.
		binary.LittleEndian.PutUint32(key[:], rand.Uint32()) //nolint:gosec // as above
		dst = append(dst, key[:]...)
	}
	return dst, key
}

// Mask masks p in place, or unmasks it (RFC 6455, section 5.3). The offset is that of p in
// the payload of its frame.
func Mask(p []byte, key [4]byte, offset uint64) {
	if key == [4]byte{} {
		return
	}
	var turned [4]byte
	for i := range turned {
		turned[i] = key[(offset+uint64(i))%4]
	}
	half := uint64(binary.LittleEndian.Uint32(turned[:]))
	word := half | half<<32
	for len(p) >= 32 {
		q := p[:32]
		binary.LittleEndian.PutUint64(q, binary.LittleEndian.Uint64(q)^word)
		binary.LittleEndian.PutUint64(q[8:], binary.LittleEndian.Uint64(q[8:])^word)
		binary.LittleEndian.PutUint64(q[16:], binary.LittleEndian.Uint64(q[16:])^word)
		binary.LittleEndian.PutUint64(q[24:], binary.LittleEndian.Uint64(q[24:])^word)
		p = p[32:]
	}
	for len(p) >= 8 {
		binary.LittleEndian.PutUint64(p, binary.LittleEndian.Uint64(p)^word)
		p = p[8:]
	}
	for i := range p {
		p[i] ^= turned[i%4]
	}
}
