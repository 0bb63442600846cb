package expression

import "bytes"

// deepest is how many levels a document may have, as for encoding/json.
const deepest = 10_000

// valid reports whether the document is JSON, as json.Valid does, which takes twice the
// time.
func valid(document []byte) bool {
	var levels [64]byte // what opened them; more are allocated
	open := levels[:0]
	at := skipBlanks(document, 0)
	for at >= 0 && at < len(document) {
		switch first := document[at]; first {
		case '{', '[':
			if len(open) == deepest {
				return false
			}
			open = append(open, first)
			at = skipBlanks(document, at+1)
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
		at = skipBlanks(document, at)
		if len(open) == 0 || at == len(document) {
			break
		}
		last := open[len(open)-1]
		switch document[at] {
		case last + 2: // } is two behind {, and ] two behind [
			open = open[:len(open)-1]
			at++
		case ',':
			at = skipBlanks(document, at+1)
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
	if at = skipBlanks(document, at); at == len(document) || document[at] != ':' {
		return -1
	}
	return skipBlanks(document, at+1)
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

func validString(document []byte, at int) int {
	for at++; at < len(document); at++ {
		c := document[at]
		if !special[c] {
			continue
		}
		if c == '"' {
			return at + 1
		}
		if c != '\\' || at+1 == len(document) {
			return -1
		}
		at++
		switch document[at] {
		case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		case 'u':
			if at+4 >= len(document) || !hexadecimal(document[at+1:at+5]) {
				return -1
			}
			at += 4
		default:
			return -1
		}
	}
	return -1
}

func hexadecimal(digits []byte) bool {
	for _, c := range digits {
		switch {
		case '0' <= c && c <= '9', 'a' <= c && c <= 'f', 'A' <= c && c <= 'F':
		default:
			return false
		}
	}
	return true
}

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
