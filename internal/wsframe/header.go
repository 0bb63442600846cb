package wsframe

import "encoding/binary"

// reservedMask covers the bits RSV1, RSV2 and RSV3 of the first byte of a header.
const reservedMask = 0x70

// Header is the header of a frame (RFC 6455, section 5.2).
type Header struct {
	Opcode   Opcode
	Final    bool
	Masked   bool
	Minimal  bool    // the length is written in the fewest bytes that hold it
	Reserved byte    // RSV1, RSV2 and RSV3, where they are in the first byte: 0x40, 0x20, 0x10
	Key      [4]byte // zero if not masked
	Length   uint64  // of the payload
	Size     int     // of the header
}

// ParseHeader reads the header at the start of p. If p holds only the beginning of a
// header, complete is false and the header zero.
func ParseHeader(p []byte) (h Header, complete bool) {
	if len(p) < 2 {
		return h, false
	}
	size := headerSize(p[1])
	if len(p) < size {
		return h, false
	}
	h.Opcode = Opcode(p[0] & opcodeMask)
	h.Final = p[0]&finBit != 0
	h.Reserved = p[0] & reservedMask
	h.Size = size
	switch length := p[1] & lengthMask; length {
	case length16:
		h.Length = uint64(binary.BigEndian.Uint16(p[2:]))
		h.Minimal = h.Length >= length16
	case length64:
		h.Length = binary.BigEndian.Uint64(p[2:])
		h.Minimal = h.Length > 0xFFFF
	default:
		h.Length = uint64(length)
		h.Minimal = true
	}
	if p[1]&maskBit != 0 {
		h.Masked = true
		h.Key = [4]byte(p[size-4:])
	}
	return h, true
}

// Control reports whether the frame is a control frame, of a reserved opcode or not.
func (h Header) Control() bool {
	return h.Opcode&Close != 0
}

// Data reports whether the frame carries a message or a fragment of one.
func (h Header) Data() bool {
	return h.Opcode <= Binary
}

// Endless reports whether the length has the topmost of its 64 bits set, which RFC 6455
// forbids. No frame after this one would be found.
func (h Header) Endless() bool {
	return h.Length > 1<<63-1
}
