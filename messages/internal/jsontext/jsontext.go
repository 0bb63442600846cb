// Package jsontext goes through texts that are JSON, or may be, without recursion and
// without decoding them.
package jsontext

import (
	"bytes"
	"encoding/binary"
	"math/bits"
)

// Deepest is how many arrays and objects may be in one another, as in encoding/json.
const Deepest = 10_000

// Valid reports whether the document is JSON (RFC 8259), as json.Valid does, which takes
// twice the time. It does not look at whether strings are UTF-8.
func Valid(document []byte) bool {
	var levels [64]byte // what opened them; more are allocated
	open := levels[:0]
	at := SkipSpace(document, 0)
	for at >= 0 && at < len(document) {
		switch first := document[at]; first {
		case '{', '[':
			if len(open) == Deepest {
				return false
			}
			open = append(open, first)
			at = SkipSpace(document, at+1)
			if at < len(document) && document[at] == first+2 {
				break // its end is what follows
			}
			if first == '{' {
				at = validName(document, at)
			}
			continue
		default:
			at = validScalar(document, at)
		}
		if at, open = validEnds(document, at, open); len(open) == 0 {
			return at == len(document)
		}
	}
	return false
}

// validEnds returns where the next value begins, behind one that ends at at, and what is
// open there; at is -1 where the document is not valid.
func validEnds(document []byte, at int, open []byte) (int, []byte) {
	for at >= 0 {
		at = SkipSpace(document, at)
		if len(open) == 0 || at == len(document) {
			break
		}
		last := open[len(open)-1]
		switch document[at] {
		case last + 2: // } is two behind {, and ] two behind [
			open = open[:len(open)-1]
			at++
		case ',':
			at = SkipSpace(document, at+1)
			if last == '{' {
				at = validName(document, at)
			}
			return at, open
		default:
			return -1, open
		}
	}
	return at, open
}

// validName returns where the value of a member begins, or -1.
func validName(document []byte, at int) int {
	if at >= len(document) || document[at] != '"' {
		return -1
	}
	if at = validString(document, at); at < 0 {
		return -1
	}
	if at = SkipSpace(document, at); at == len(document) || document[at] != ':' {
		return -1
	}
	return SkipSpace(document, at+1)
}

// validScalar returns where the value ends that begins at at, or -1.
func validScalar(document []byte, at int) int {
	var word string
	switch document[at] {
	case '"':
		return validString(document, at)
	case 't':
		word = "true"
	case 'f':
		word = "false"
	case 'n':
		word = "null"
	default:
		return validNumber(document, at)
	}
	if !bytes.HasPrefix(document[at:], []byte(word)) {
		return -1
	}
	return at + len(word)
}

// special are the bytes that mean something in a string.
var special = func() (special [256]bool) {
	for c := range 0x20 {
		special[c] = true
	}
	special['"'], special['\\'] = true, true
	return special
}()

// validString returns where the string ends that begins at at, or -1.
func validString(document []byte, at int) int {
	for at++; ; {
		for short := min(len(document), at+16); at < short && !special[document[at]]; at++ {
		}
		if at < len(document) && !special[document[at]] {
			at = Plain(document, at)
		}
		if at == len(document) {
			return -1
		}
		switch document[at] {
		case '"':
			return at + 1
		case '\\':
			if at = validEscape(document, at+1); at < 0 {
				return -1
			}
		default: // a control character
			return -1
		}
	}
}

// validEscape returns where the escape ends of which the backslash stands before at, or -1.
func validEscape(document []byte, at int) int {
	if at == len(document) {
		return -1
	}
	switch document[at] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return at + 1
	case 'u':
		if _, ok := Hex4(document, at+1); ok {
			return at + 5
		}
	}
	return -1
}

// validNumber returns where the number ends that begins at at, or -1.
func validNumber(document []byte, at int) int {
	if document[at] == '-' {
		at++
	}
	if at < len(document) && document[at] == '0' {
		at++
	} else if at = digits(document, at); at < 0 {
		return -1
	}
	if at < len(document) && document[at] == '.' {
		if at = digits(document, at+1); at < 0 {
			return -1
		}
	}
	if at < len(document) && (document[at] == 'e' || document[at] == 'E') {
		at++
		if at < len(document) && (document[at] == '+' || document[at] == '-') {
			at++
		}
		at = digits(document, at)
	}
	return at
}

// digits returns where the digits end that begin at at, or -1 where there is none.
func digits(document []byte, at int) int {
	begin := at
	for at < len(document) && '0' <= document[at] && document[at] <= '9' {
		at++
	}
	if at == begin {
		return -1
	}
	return at
}

// Plain returns where a string has the next character that is none of its own: a quote,
// a backslash or a control character; or the end of the text.
func Plain(text []byte, at int) int {
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

// SkipSpace returns where the next thing begins that is no white space; or the end of the
// text.
func SkipSpace(text []byte, at int) int {
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

// Hex4 returns what the four hexadecimal digits stand for that begin there, and whether
// they do.
func Hex4(text []byte, at int) (r rune, ok bool) {
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
