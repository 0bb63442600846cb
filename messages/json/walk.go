package json

import (
	"bytes"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/wsgateway/caddy-ws-gateway/messages/internal/jsontext"
)

// The functions of this file go through JSON that was found valid.

// member is a member of an object or an element of an array.
type member struct {
	name             []byte // as it is spelled, without quotes; nil for elements
	begin, value     int    // where it begins, with its name, and where its value does
	end, next, index int    // where the value ends and the next one begins, or -1
}

// first returns the first member of the array or object that begins there.
func first(text []byte, at int) (m member, ok bool) {
	begin := jsontext.SkipSpace(text, at+1)
	if c := text[begin]; c == '}' || c == ']' {
		return member{}, false
	}
	return read(text, begin, 0, text[at] == '{'), true
}

func read(text []byte, at, index int, object bool) member {
	m := member{begin: at, value: at, index: index}
	if object {
		end := jsontext.SkipString(text, at)
		m.name = text[at+1 : end-1]
		m.value = jsontext.SkipSpace(text, jsontext.SkipSpace(text, end)+1)
	}
	return m
}

// leave completes m, whose value ends there, and returns the comma or bracket behind.
func (m *member) leave(text []byte, end int) int {
	m.end, m.next = end, -1
	behind := jsontext.SkipSpace(text, end)
	if text[behind] == ',' {
		m.next = jsontext.SkipSpace(text, behind+1)
	}
	return behind
}

// following returns the member behind m, which was left.
func (m *member) following(text []byte) (member, bool) {
	if m.next < 0 {
		return member{}, false
	}
	return read(text, m.next, m.index+1, m.name != nil), true
}

// is reports whether a step of a path leads to m.
func (m *member) is(s *step) bool {
	switch {
	case s.kind == every:
		return true
	case m.name == nil:
		return s.kind == plainStep && s.index == m.index
	}
	return s.kind == plainStep && sameName(m.name, s.name)
}

// sameName reports whether the name of a member, as it is spelled, is this one: escapes
// are read as encoding/json does, with U+FFFD for half a surrogate pair.
func sameName(spelled []byte, name string) bool {
	if len(spelled) < len(name) {
		return false // no escape is shorter than what it stands for
	}
	if len(spelled) == len(name) || bytes.IndexByte(spelled, '\\') < 0 {
		return string(spelled) == name
	}
	var buf [utf8.UTFMax]byte
	for len(spelled) > 0 {
		char := spelled[:1]
		if spelled[0] == '\\' {
			r, n := unescape(spelled)
			char, spelled = utf8.AppendRune(buf[:0], r), spelled[n:]
		} else {
			spelled = spelled[1:]
		}
		if len(name) < len(char) || name[:len(char)] != string(char) {
			return false
		}
		name = name[len(char):]
	}
	return name == ""
}

// unescape returns what the escape at the beginning stands for, and its length.
func unescape(spelled []byte) (r rune, n int) {
	switch c := spelled[1]; c {
	case 'b':
		return '\b', 2
	case 'f':
		return '\f', 2
	case 'n':
		return '\n', 2
	case 'r':
		return '\r', 2
	case 't':
		return '\t', 2
	case 'u':
		r, _ = jsontext.Hex4(spelled, 2)
	default:
		return rune(c), 2
	}
	if !utf16.IsSurrogate(r) {
		return r, 6
	}
	if len(spelled) >= 12 && spelled[6] == '\\' && spelled[7] == 'u' {
		low, _ := jsontext.Hex4(spelled, 8)
		if r = utf16.DecodeRune(r, low); r != utf8.RuneError {
			return r, 12
		}
	}
	return utf8.RuneError, 6
}
