package wsframe

import (
	"encoding/binary"
	"math"
)

// Scanner follows one direction of a WebSocket connection. Its zero value
// stands at the start of the stream. It never fails, allocates only for a close
// frame, and is not safe for concurrent use.
//
// A reserved opcode passes uncounted. The reserved bits are not looked at,
// because an extension may use them: a compressed message is a message. A
// length that RFC 6455 forbids, with the topmost of its 64 bits set, makes a
// frame that does not end.
type Scanner struct {
	text, binary uint64
	pings, pongs uint64
	bytes        uint64
	closes       uint32

	fragments uint32 // small ones that the message in progress has had so far
	message   uint64 // payload of the message in progress, as far as frames have announced it
	left      uint64 // bytes of payload still to come

	closing *[maxControl]byte // the close frame's payload, unmasked; nil while there is none

	opcode Opcode // of the frame in progress
	final  bool
	key    [4]byte // zero if not masked
	begun  Opcode  // of the fragmented message in progress, or Continuation

	header [maxHeader]byte // of the next frame, as far as it has come
	have   uint8           // how much of the header has come

	closed   bool // the first close frame is complete
	closeLen uint8
}

// SmallFragment is the payload below which [Scanner.SmallFragments] counts a fragment.
const SmallFragment = 64

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
	return Counts{
		Messages: s.text + s.binary,
		Text:     s.text,
		Binary:   s.binary,
		Pings:    s.pings,
		Pongs:    s.pongs,
		Closes:   uint64(s.closes),
		Bytes:    s.bytes,
	}
}

// Data returns a number that is another one once data has passed.
func (s *Scanner) Data() uint64 { return s.bytes + s.text + s.binary }

// Left returns how many bytes of the frame in progress are still to come.
func (s *Scanner) Left() uint64 { return s.left }

// Key returns the key with which the payload of the frame in progress is masked; zero
// for none.
func (s *Scanner) Key() [4]byte { return s.key }

// Final reports whether the frame in progress is the last of its message.
func (s *Scanner) Final() bool { return s.final }

// MessageSize returns the payload of the message in progress, as far as its frames have
// announced it.
func (s *Scanner) MessageSize() uint64 { return s.message }

// SmallFragments returns how many small fragments the message in progress has had, its
// first frame aside.
func (s *Scanner) SmallFragments() uint32 { return s.fragments }

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
	header, _ := ParseHeader(h)
	s.Begin(header)
}

// Begin starts a frame whose header the caller has parsed. The stream must stand
// between two frames; what follows is the payload.
func (s *Scanner) Begin(h Header) {
	s.opcode, s.final, s.left, s.key = h.Opcode, h.Final, h.Length, h.Key
	switch h.Opcode {
	case Text, Binary:
		s.message = h.Length
	case Continuation:
		s.message += h.Length
		if s.message < h.Length {
			s.message = math.MaxUint64
		}
		if h.Length < SmallFragment {
			s.fragments++
		}
	default:
	}
	if s.left == 0 {
		s.end()
	}
}

// scanPayload follows the stream over p, which is payload of the frame in progress.
func (s *Scanner) scanPayload(p []byte) {
	switch s.opcode {
	case Continuation, Text, Binary:
		s.bytes += uint64(len(p))
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
		s.closes++
		s.closed = true
	case Ping:
		s.pings++
	case Pong:
		s.pongs++
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
		s.text++
	case Binary:
		s.binary++
	default:
	}
	s.begun = Continuation
	s.message, s.fragments = 0, 0
}
