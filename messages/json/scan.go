package json

import (
	"encoding/binary"
	"math/bits"
)

// deepest is how many arrays and objects may be in one another, as in encoding/json.
const deepest = 10_000

// scanner goes through a text that may be JSON, without recursion.
type scanner struct {
	text  []byte
	at    int
	depth int
	kinds [deepest/64 + 1]uint64 // a bit for each depth: set for objects
}

// valid reports whether the text is JSON (RFC 8259). It does not look at whether
// strings are UTF-8.
func valid(text []byte) bool {
	s := scanner{text: text}
	s.space()
	for {
		ended, ok := s.begin()
		for ok && ended {
			if s.space(); s.depth == 0 {
				return s.at == len(text)
			}
			ended, ok = s.next()
		}
		if !ok {
			return false
		}
	}
}

// begin goes past a string, a number or a literal, or into an array or object, up to its
// first value. It reports whether a value has ended.
func (s *scanner) begin() (ended, ok bool) {
	switch s.peek() {
	case '{':
		return s.enter(true)
	case '[':
		return s.enter(false)
	case '"':
		return true, s.string()
	case 't':
		return true, s.literal("true")
	case 'f':
		return true, s.literal("false")
	case 'n':
		return true, s.literal("null")
	}
	return true, s.number()
}

func (s *scanner) enter(object bool) (ended, ok bool) {
	if s.depth == deepest {
		return false, false
	}
	s.depth++
	word, bit := s.depth/64, uint64(1)<<(s.depth%64)
	closing := byte(']')
	if s.kinds[word] &^= bit; object {
		s.kinds[word] |= bit
		closing = '}'
	}
	s.at++
	s.space()
	if s.peek() == closing {
		s.at++
		s.depth--
		return true, true
	}
	return false, !object || s.name()
}

// next goes on behind a value, of an array or object: up to the next value, or to the end
// of the array or object. It reports whether that has ended.
func (s *scanner) next() (ended, ok bool) {
	object := s.kinds[s.depth/64]>>(s.depth%64)&1 == 1
	c := s.peek()
	s.at++
	switch {
	case c == ',':
		s.space()
		return false, !object || s.name()
	case c == '}' && object, c == ']' && !object:
		s.depth--
		return true, true
	}
	return false, false
}

// name goes past the name of a member, its colon and the blanks around that.
func (s *scanner) name() bool {
	if s.peek() != '"' || !s.string() {
		return false
	}
	s.space()
	if s.peek() != ':' {
		return false
	}
	s.at++
	s.space()
	return true
}

func (s *scanner) string() bool {
	s.at++
	for {
		s.at = plain(s.text, s.at)
		switch s.peek() {
		case '"':
			s.at++
			return true
		case '\\':
			if !s.escape() {
				return false
			}
		default: // the end, or a control character
			return false
		}
	}
}

func (s *scanner) escape() bool {
	s.at++
	c := s.peek()
	s.at++
	switch c {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return true
	case 'u':
		_, ok := hex4(s.text, s.at)
		s.at += 4
		return ok
	}
	return false
}

func (s *scanner) number() bool {
	if s.peek() == '-' {
		s.at++
	}
	if s.peek() == '0' {
		s.at++
	} else if !s.digits() {
		return false
	}
	if s.peek() == '.' {
		s.at++
		if !s.digits() {
			return false
		}
	}
	if c := s.peek(); c == 'e' || c == 'E' {
		s.at++
		if c = s.peek(); c == '+' || c == '-' {
			s.at++
		}
		return s.digits()
	}
	return true
}

func (s *scanner) digits() bool {
	from := s.at
	for c := s.peek(); '0' <= c && c <= '9'; c = s.peek() {
		s.at++
	}
	return s.at > from
}

func (s *scanner) literal(word string) bool {
	if len(s.text)-s.at < len(word) || string(s.text[s.at:s.at+len(word)]) != word {
		return false
	}
	s.at += len(word)
	return true
}

func (s *scanner) space() { s.at = skipSpace(s.text, s.at) }

// peek returns the next byte, or 0, which JSON has nowhere, at the end.
func (s *scanner) peek() byte {
	if s.at < len(s.text) {
		return s.text[s.at]
	}
	return 0
}

// plain returns where a string has the next character that is none of its own: a quote,
// a backslash or a control character; or the end of the text.
func plain(text []byte, at int) int {
	const each, high = 0x0101010101010101, 0x8080808080808080
	for ; len(text)-at >= 8; at += 8 {
		x := binary.LittleEndian.Uint64(text[at:])
		quote, backslash := x^each*'"', x^each*'\\'
		// the lowest bit is set for the first such byte; those above may be false
		found := (x-each*0x20)&^x | (quote-each)&^quote | (backslash-each)&^backslash
		if found &= high; found != 0 {
			return at + bits.TrailingZeros64(found)/8
		}
	}
	for ; at < len(text); at++ {
		if c := text[at]; c < 0x20 || c == '"' || c == '\\' {
			return at
		}
	}
	return at
}

func skipSpace(text []byte, at int) int {
	for at < len(text) {
		switch text[at] {
		case ' ', '\t', '\n', '\r':
			at++
		default:
			return at
		}
	}
	return at
}

// hex4 returns what four hexadecimal digits stand for.
func hex4(text []byte, at int) (r rune, ok bool) {
	if len(text)-at < 4 {
		return 0, false
	}
	for _, c := range text[at : at+4] {
		switch {
		case '0' <= c && c <= '9':
			c -= '0'
		case 'a' <= c && c <= 'f':
			c -= 'a' - 10
		case 'A' <= c && c <= 'F':
			c -= 'A' - 10
		default:
			return 0, false
		}
		r = r<<4 | rune(c)
	}
	return r, true
}
