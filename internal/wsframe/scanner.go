package wsframe

import "encoding/binary"

// Scanner follows one direction of a WebSocket connection. Its zero value
// stands at the start of the stream. It never fails, allocates only for a close
// frame, and is not safe for concurrent use.
//
// A reserved opcode passes uncounted. The reserved bits are not looked at,
// because an extension may use them: a compressed message is a message. A
// length that RFC 6455 forbids, with the topmost of its 64 bits set, makes a
// frame that does not end.
type Scanner struct {
	counts Counts

	left   uint64 // bytes of payload still to come
	opcode Opcode // of the frame in progress
	final  bool
	key    [4]byte // zero if not masked
	begun  Opcode  // of the fragmented message in progress, or Continuation

	header [maxHeader]byte // of the next frame, as far as it has come
	have   uint8           // how much of the header has come

	closed   bool // the first close frame is complete
	closeLen uint8
	closing  *[maxControl]byte // the close frame's payload, unmasked; nil while there is none
}

// Scan follows the stream over all of p.
func (s *Scanner) Scan(p []byte) {
	for len(p) > 0 {
		p = p[s.ScanToBoundary(p):]
	}
}

// ScanToBoundary follows the stream to the end of the frame in progress, or of the next
// frame if none is, and returns how many bytes of p that took: all of p if the frame
// does not end in p.
func (s *Scanner) ScanToBoundary(p []byte) int {
	var n int
	if s.left == 0 {
		n = s.scanHeader(p)
	}
	if s.left == 0 {
		return n
	}
	payload := p[n:]
	if uint64(len(payload)) > s.left {
		payload = payload[:s.left]
	}
	s.scanPayload(payload)
	return n + len(payload)
}

// AtBoundary reports whether the stream stands between two frames, where another frame
// could be put in.
func (s *Scanner) AtBoundary() bool {
	return s.left == 0 && s.have == 0
}

// Counts returns what has passed so far.
func (s *Scanner) Counts() Counts {
	return s.counts
}

// Closed reports whether a complete close frame has passed.
func (s *Scanner) Closed() bool {
	return s.closed
}

// Close returns what the first complete close frame said; ok is false if none has
// passed. The code is [NoStatus] if the frame had none. The reason is as the peer sent
// it, which need not be UTF-8.
func (s *Scanner) Close() (code int, reason string, ok bool) {
	if !s.closed {
		return 0, "", false
	}
	if s.closeLen < 2 {
		return NoStatus, "", true
	}
	return int(binary.BigEndian.Uint16(s.closing[:2])), string(s.closing[2:s.closeLen]), true
}

// scanHeader reads a header, or the part of it that p holds, and returns how much of p
// that took.
func (s *Scanner) scanHeader(p []byte) int {
	if s.have == 0 && len(p) >= 2 {
		if size := headerSize(p[1]); len(p) >= size {
			s.begin(p[:size])
			return size
		}
	}
	n := 0
	for n < len(p) {
		s.header[s.have] = p[n]
		s.have++
		n++
		if s.have < 2 {
			continue
		}
		if size := headerSize(s.header[1]); int(s.have) == size {
			s.have = 0
			s.begin(s.header[:size])
			break
		}
	}
	return n
}

// headerSize returns the size of the header whose second byte is b.
func headerSize(b byte) int {
	size := 2
	switch b & lengthMask {
	case length16:
		size += 2
	case length64:
		size += 8
	}
	if b&maskBit != 0 {
		size += 4
	}
	return size
}

// begin starts the frame that the header h announces.
func (s *Scanner) begin(h []byte) {
	s.opcode = Opcode(h[0] & opcodeMask)
	s.final = h[0]&finBit != 0
	switch length := h[1] & lengthMask; length {
	case length16:
		s.left = uint64(binary.BigEndian.Uint16(h[2:]))
	case length64:
		s.left = binary.BigEndian.Uint64(h[2:])
	default:
		s.left = uint64(length)
	}
	s.key = [4]byte{}
	if h[1]&maskBit != 0 {
		s.key = [4]byte(h[len(h)-4:])
	}
	if s.left == 0 {
		s.end()
	}
}

// scanPayload follows the stream over p, which is payload of the frame in progress.
func (s *Scanner) scanPayload(p []byte) {
	switch s.opcode {
	case Continuation, Text, Binary:
		s.counts.Bytes += uint64(len(p))
	case Close:
		s.collect(p)
	case Ping, Pong:
	}
	s.left -= uint64(len(p))
	if s.left == 0 {
		s.end()
	}
}

// collect keeps the payload of the first close frame, up to the length that is valid.
func (s *Scanner) collect(p []byte) {
	if s.closed {
		return
	}
	if s.closing == nil {
		s.closing = new([maxControl]byte)
	}
	for _, b := range p {
		if s.closeLen == maxControl {
			return
		}
		s.closing[s.closeLen] = b ^ s.key[s.closeLen%4]
		s.closeLen++
	}
}

// end counts the frame that has just passed.
func (s *Scanner) end() {
	switch s.opcode {
	case Text, Binary:
		s.begun = s.opcode
		s.endFragment()
	case Continuation:
		s.endFragment()
	case Close:
		s.counts.Closes++
		s.closed = true
	case Ping:
		s.counts.Pings++
	case Pong:
		s.counts.Pongs++
	}
}

// endFragment counts the message if this was its last fragment. A continuation without
// a beginning is no message.
func (s *Scanner) endFragment() {
	if !s.final {
		return
	}
	switch s.begun {
	case Text:
		s.counts.Text++
		s.counts.Messages++
	case Binary:
		s.counts.Binary++
		s.counts.Messages++
	default:
	}
	s.begun = Continuation
}
