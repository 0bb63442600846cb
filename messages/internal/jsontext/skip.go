package jsontext

// What is here goes through JSON that was found valid.

// SkipString returns the end of the string that begins at a quote.
func SkipString(text []byte, at int) int {
	for at = Plain(text, at+1); text[at] != '"'; at = Plain(text, at+2) {
	}
	return at + 1
}

// Skip returns the end of the value that begins there.
func Skip(text []byte, at int) int {
	switch text[at] {
	case '"':
		return SkipString(text, at)
	case '{', '[':
		return skipNested(text, at)
	}
	for at < len(text) {
		switch text[at] {
		case ',', '}', ']', ' ', '\t', '\n', '\r':
			return at
		}
		at++
	}
	return at
}

// skipNested returns the end of an array or object, however deep it is.
func skipNested(text []byte, at int) int {
	for depth := 0; ; at++ {
		for !structural[text[at]] {
			at++
		}
		switch text[at] {
		case '"':
			at = SkipString(text, at) - 1
		case '{', '[':
			depth++
		default:
			if depth--; depth == 0 {
				return at + 1
			}
		}
	}
}

// structural has the characters that matter to skipNested.
var structural = [256]bool{'"': true, '{': true, '}': true, '[': true, ']': true}
