package wsframe

// What [Discipline.Judge] takes for the reserved bits that the negotiated extensions
// gave a meaning: the bits of [Header.Reserved], of which RSV1 may be only on the first
// frame of a data message, or all of them on any frame.
const (
	// Deflate stands for permessage-deflate (RFC 7692, section 6).
	Deflate byte = 0x40
	// UnknownExtension stands for any other extension. No payload is known to be UTF-8
	// then, because the extension may have put data of its own into it.
	UnknownExtension byte = reservedMask | 0x01
)

// Discipline holds one direction of a connection to RFC 6455, frame by frame. Its zero
// value stands at the start of the stream.
type Discipline struct {
	begun  Opcode // of the fragmented message in progress, or Continuation
	plain  bool   // that message is text and uncompressed
	text   bool   // the frame judged last is of such a message
	closed bool
}

// Judge takes the header of the next frame, before the frame is passed on, and returns
// what it violates. A direction whose frames have to be masked is the one from a client
// to a server. Reserved says what the extensions use, such as [Deflate].
//
// Nothing is to be judged after a violation. A violation after a close frame,
// which [Discipline.Closed] tells from others, has no need of an answer: the sender is
// leaving, and endpoints are used to ignore what it still sends.
func (d *Discipline) Judge(h Header, masked bool, reserved byte) Violation {
	if d.closed {
		return Violation{protocolError, "frame after a close frame"}
	}
	if v := judgeAlone(h, masked); v.Found() {
		return v
	}
	if v := judgeReserved(h, reserved); v.Found() {
		return v
	}
	if h.Control() {
		d.text = false
		d.closed = h.Opcode == Close
		return Violation{}
	}
	return d.follow(h, reserved)
}

// MustBeUTF8 reports whether the frame judged last is a fragment, or all, of a text
// message that is not compressed.
func (d *Discipline) MustBeUTF8() bool {
	return d.text
}

// Closed reports whether a close frame has been judged.
func (d *Discipline) Closed() bool {
	return d.closed
}

// follow judges the place of a data frame among the others.
func (d *Discipline) follow(h Header, reserved byte) Violation {
	if h.Opcode == Continuation {
		if d.begun == Continuation {
			return Violation{protocolError, "continuation frame without a message to continue"}
		}
	} else {
		if d.begun != Continuation {
			return Violation{protocolError, "new data message inside a fragmented message"}
		}
		d.begun = h.Opcode
		d.plain = h.Opcode == Text && h.Reserved == 0 && reserved&UnknownExtension != UnknownExtension
	}
	d.text = d.plain
	if h.Final {
		d.begun = Continuation
	}
	return Violation{}
}

// judgeAlone judges what does not depend on other frames or on extensions.
func judgeAlone(h Header, masked bool) Violation {
	switch {
	case h.Endless():
		return LengthOverflow
	case !h.Minimal:
		return Violation{protocolError, "payload length not in the fewest bytes"}
	case h.Masked && !masked:
		return Violation{protocolError, "masked frame from a server"}
	case !h.Masked && masked:
		return Violation{protocolError, "unmasked frame from a client"}
	}
	switch h.Opcode {
	case Continuation, Text, Binary:
	case Close, Ping, Pong:
		switch {
		case h.Length > maxControl:
			return Violation{protocolError, "control frame with more than 125 bytes of payload"}
		case !h.Final:
			return Violation{protocolError, "fragmented control frame"}
		}
	default:
		return Violation{protocolError, "reserved opcode"}
	}
	return Violation{}
}

// judgeReserved judges the reserved bits.
func judgeReserved(h Header, reserved byte) Violation {
	switch {
	case h.Reserved == 0 || reserved&UnknownExtension == UnknownExtension:
		return Violation{}
	case h.Reserved&^reserved != 0:
		return Violation{protocolError, "reserved bit that no negotiated extension uses"}
	case h.Reserved&Deflate != 0 && h.Opcode != Text && h.Opcode != Binary:
		return Violation{protocolError, "RSV1 on a frame that does not begin a data message"}
	}
	return Violation{}
}
