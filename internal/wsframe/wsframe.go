// Package wsframe reads the headers of WebSocket frames as they stream by, and
// writes the frames that a relay sends of its own: close and ping (RFC 6455, section 5).
//
// A [Scanner] follows one direction of a connection. It is fed the bytes in
// whatever pieces they arrive, jumps over payloads by their length, and knows
// where frames end, how many messages have passed and what the peer's close frame
// said. It judges nothing: invalid frames pass like valid ones.
//
// A relay that holds its peers to the protocol reads each header with [ParseHeader]
// and has a [Discipline] judge it before the frame is passed on, a [UTF8] validate the
// payload of text, and [CheckClose] that of a close frame. What they find is a
// [Violation].
package wsframe

// Opcode says what a frame is (RFC 6455, section 5.2).
type Opcode byte

// The opcodes that RFC 6455 defines. All other opcodes are reserved.
const (
	Continuation Opcode = 0x0
	Text         Opcode = 0x1
	Binary       Opcode = 0x2
	Close        Opcode = 0x8
	Ping         Opcode = 0x9
	Pong         Opcode = 0xA
)

// NoStatus stands for the code of a close frame that carries none, and is never on the
// wire (RFC 6455, section 7.4.1).
const NoStatus = 1005

// Bits of the first two bytes of a header, and the lengths that announce a
// longer length.
const (
	finBit     = 0x80
	opcodeMask = 0x0F

	maskBit    = 0x80
	lengthMask = 0x7F
	length16   = 126
	length64   = 127

	maxHeader  = 2 + 8 + 4
	maxControl = 125 // payload of a control frame
)

// Counts is what has passed in one direction.
type Counts struct {
	Messages uint64 // text and binary together, each counted once its last fragment has passed
	Text     uint64
	Binary   uint64
	Pings    uint64
	Pongs    uint64
	Closes   uint64
	Bytes    uint64 // payload of data frames, masked or compressed as it came
}
