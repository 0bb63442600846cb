package expression

import "bytes"

// skip returns where the value ends that begins there, in valid JSON.
func skip(raw []byte, at int) int {
	switch raw[at] {
	case '"':
		return skipString(raw, at)
	case '{', '[':
		return skipNested(raw, at)
	}
	for at < len(raw) {
		switch raw[at] {
		case ',', ']', '}', ' ', '\n', '\t', '\r':
			return at
		}
		at++
	}
	return at
}

func skipNested(raw []byte, at int) int {
	depth := 0
	for {
		switch raw[at] {
		case '"':
			at = skipString(raw, at)
			continue
		case '{', '[':
			depth++
		case '}', ']':
			if depth--; depth == 0 {
				return at + 1
			}
		}
		at++
	}
}

func skipString(raw []byte, at int) int {
	for at++; ; at++ {
		at += bytes.IndexByte(raw[at:], '"')
		backslashes := 0
		for raw[at-1-backslashes] == '\\' {
			backslashes++
		}
		if backslashes%2 == 0 {
			return at + 1
		}
	}
}
