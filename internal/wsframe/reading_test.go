package wsframe

import (
	"encoding/binary"
	"slices"
	"testing"
	"unicode/utf8"
)

// frame is a frame that has ended.
type frame struct {
	op     Opcode
	final  bool
	length uint64
}

// message is a data message that has ended.
type message struct {
	op   Opcode
	data string
}

// reader finds frames as a relay does: it parses headers, and a Scanner follows. Both
// have to agree about where frames end.
type reader struct {
	scan Scanner
	head [maxHeader]byte // of a header, as far as it has come
	have int
	h    Header // of the frame in progress
	open bool   // a frame is in progress
	at   uint64 // how much of its payload has come
}

// step takes what comes next: a header, or a part of one, or payload. Begun reports that
// a header is complete, and ended that a frame is.
func (r *reader) step(t *testing.T, p []byte) (payload []byte, begun, ended bool, n int) {
	t.Helper()
	if r.open {
		payload = p[:min(uint64(len(p)), r.h.Length-r.at)]
		n = r.scan.ScanToBoundary(p)
		r.at += uint64(n)
	} else {
		n = copy(r.head[r.have:], p)
		if r.h, begun = ParseHeader(r.head[:r.have+n]); begun {
			n = r.h.Size - r.have
			r.have, r.at = 0, 0
		} else {
			r.have += n
		}
		if took := r.scan.ScanToBoundary(p[:n]); took != n {
			t.Fatalf("the Scanner took %d bytes of a header, want %d", took, n)
		}
	}
	if n == 0 || payload != nil && n != len(payload) {
		t.Fatalf("the Scanner took %d bytes of payload, want %d", n, len(payload))
	}
	ended = (begun || r.open) && r.at == r.h.Length
	r.open = (begun || r.open) && !ended
	if got, want := r.scan.AtBoundary(), !r.open && r.have == 0; got != want {
		t.Fatalf("AtBoundary() = %v after %d of %d bytes of payload", got, r.at, r.h.Length)
	}
	return payload, begun, ended, n
}

// view is what a reader that judges nothing has seen in a stream.
type view struct {
	frames []frame
	closed bool
	code   int
	reason string
}

func viewInPieces(t *testing.T, stream, cuts []byte) view {
	t.Helper()
	var r reader
	var v view
	for piece := range pieces(stream, cuts) {
		for len(piece) > 0 {
			_, _, ended, n := r.step(t, piece)
			if ended {
				v.frames = append(v.frames, frame{r.h.Opcode, r.h.Final, r.h.Length})
			}
			piece = piece[n:]
		}
	}
	v.code, v.reason, v.closed = r.scan.Close()
	return v
}

// naive is a frame as it is read by one who has the whole stream, with nothing of the
// package: the bytes that follow, and whether all of the frame is there.
type naive struct {
	b0, b1  byte
	length  uint64
	minimal bool
	payload []byte // unmasked, as far as it is there
	rest    []byte
	whole   bool
}

// readNaively returns false if there is no whole header.
func readNaively(p []byte) (f naive, ok bool) {
	if len(p) < 2 {
		return f, false
	}
	f.b0, f.b1 = p[0], p[1]
	more := map[byte]int{126: 2, 127: 8}[f.b1%128]
	key := 0
	if f.b1 >= 128 {
		key = 4
	}
	if len(p) < 2+more+key {
		return f, false
	}
	f.length, f.minimal = uint64(f.b1%128), true
	if more > 0 {
		f.length = 0
		for _, b := range p[2 : 2+more] {
			f.length = f.length*256 + uint64(b)
		}
		f.minimal = more == 2 && f.length > 125 || more == 8 && f.length > 65535
	}
	left := p[2+more+key:]
	f.whole = uint64(len(left)) >= f.length
	if f.whole {
		left, f.rest = left[:f.length], left[f.length:]
	}
	f.payload = slices.Clone(left)
	for i := range f.payload {
		if key > 0 {
			f.payload[i] ^= p[2+more+i%4]
		}
	}
	return f, true
}

func viewNaively(stream []byte) (v view) {
	for {
		f, ok := readNaively(stream)
		if !ok || !f.whole {
			return v
		}
		v.frames = append(v.frames, frame{Opcode(f.b0 % 16), f.b0 >= 128, f.length})
		if f.b0%16 == 8 && !v.closed {
			v.closed, v.code = true, 1005
			if len(f.payload) >= 2 {
				v.code = int(f.payload[0])*256 + int(f.payload[1])
				v.reason = string(f.payload[2:min(125, len(f.payload))])
			}
		}
		stream = f.rest
	}
}

func checkViews(t *testing.T, stream, cuts []byte) {
	t.Helper()
	got, want := viewInPieces(t, stream, cuts), viewNaively(stream)
	if !slices.Equal(got.frames, want.frames) {
		t.Errorf("frames %v, want %v", got.frames, want.frames)
	}
	if got.closed != want.closed || got.code != want.code || got.reason != want.reason {
		t.Errorf("close frame %v %d %q, want %v %d %q", got.closed, got.code, got.reason, want.closed, want.code, want.reason)
	}
}

// verdict is what a reader that judges has made of a stream.
type verdict struct {
	messages   []message
	compressed int       // how many messages came before the first that is compressed, or -1
	violation  Violation // that ended it
	closed     bool      // a close frame ended it
	cut        bool      // it ended within a header
	code       int
	reason     string
}

// judge reads a stream in pieces, and holds it to the protocol, up to a violation or a
// close frame.
type judge struct {
	reader
	masked   bool
	reserved byte
	d        Discipline
	u        UTF8
	message  message
	closing  []byte
	verdict
}

func judgeInPieces(t *testing.T, stream, cuts []byte, masked bool, reserved byte) verdict {
	t.Helper()
	j := judge{masked: masked, reserved: reserved, verdict: verdict{compressed: -1}}
	for piece := range pieces(stream, cuts) {
		for len(piece) > 0 {
			n, v := j.next(t, piece)
			if j.violation = v; v.Found() || j.closed {
				return j.verdict
			}
			piece = piece[n:]
		}
	}
	j.cut = j.have > 0
	return j.verdict
}

func (j *judge) next(t *testing.T, p []byte) (int, Violation) {
	t.Helper()
	at := j.at
	payload, begun, ended, n := j.step(t, p)
	if begun {
		if v := j.d.Judge(j.h, j.masked, j.reserved); v.Found() {
			return n, v
		}
		if j.h.Data() && j.h.Opcode != Continuation {
			j.message = message{op: j.h.Opcode}
			if j.h.Reserved != 0 && j.compressed < 0 {
				j.compressed = len(j.messages)
			}
		}
	}
	if j.d.MustBeUTF8() && !j.u.Scan(payload, j.h.Key, at) {
		return n, TextNotUTF8
	}
	switch clear := mask(payload, j.h.Key, at); {
	case j.h.Data():
		j.message.data += string(clear)
	case j.h.Opcode == Close:
		j.closing = append(j.closing, clear...)
	}
	if !ended {
		return n, Violation{}
	}
	return n, j.end()
}

// end is for the end of a frame.
func (j *judge) end() Violation {
	switch {
	case j.h.Opcode == Close:
		if v := CheckClose(j.closing); v.Found() {
			return v
		}
		j.closed, j.code = true, NoStatus
		if len(j.closing) > 0 {
			j.code, j.reason = int(binary.BigEndian.Uint16(j.closing)), string(j.closing[2:])
		}
	case j.h.Data() && j.h.Final:
		if j.d.MustBeUTF8() && !j.u.Complete() {
			return TextNotUTF8
		}
		j.messages = append(j.messages, j.message)
	}
	return Violation{}
}

// judgeNaively returns the messages of a stream up to the first violation or close frame,
// and the code for the violation.
func judgeNaively(stream []byte, masked, deflate bool) (messages []message, code int) {
	var op, data = byte(0), []byte(nil) // of the message in progress
	plain := false
	for {
		f, ok := readNaively(stream)
		if !ok {
			return messages, 0
		}
		fin, rsv, now := f.b0 >= 128, f.b0/16%8, f.b0%16
		begins := now == 1 || now == 2
		if f.length >= 1<<63 || !f.minimal || (f.b1 >= 128) != masked ||
			now > 2 && now < 8 || now > 10 || now >= 8 && (!fin || f.length > 125) ||
			rsv != 0 && (rsv != 4 || !deflate || !begins) || now == 0 && op == 0 || begins && op != 0 {
			return messages, 1002
		}
		if begins {
			op, data, plain = now, nil, now == 1 && rsv == 0
		}
		if now <= 2 {
			data = append(data, f.payload...)
			if plain && (!viable(data) || fin && f.whole && !utf8.Valid(data)) {
				return messages, 1007
			}
		}
		switch {
		case !f.whole:
			return messages, 0
		case now == 8:
			return messages, closeNaively(f.payload)
		case now <= 2 && fin:
			messages = append(messages, message{Opcode(op), string(data)})
			op = 0
		}
		stream = f.rest
	}
}

func closeNaively(payload []byte) int {
	if len(payload) == 0 {
		return 0
	}
	if len(payload) == 1 {
		return 1002
	}
	switch code := int(payload[0])*256 + int(payload[1]); {
	case code < 1000, code == 1004, code == 1005, code == 1006, code > 1014 && code < 3000, code > 4999:
		return 1002
	case !utf8.Valid(payload[2:]):
		return 1007
	}
	return 0
}
