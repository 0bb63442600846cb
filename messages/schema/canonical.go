package schema

import (
	"encoding/binary"
	"encoding/json"
	"slices"
	"strconv"
	"strings"
)

// appendCanonical appends what is the same for two values if and only if JSON Schema
// holds them to be equal: 1.0 equals 1, and the order of members does not count. Lengths
// stand before what they are of, so that no value reads as another.
func appendCanonical(b []byte, v any) []byte {
	switch v := v.(type) {
	case nil:
		return append(b, 'z')
	case bool:
		if v {
			return append(b, 't')
		}
		return append(b, 'f')
	case string:
		return appendText(append(b, 's'), v)
	case json.Number:
		return appendNumber(append(b, 'n'), string(v))
	case []any:
		b = binary.AppendUvarint(append(b, 'a'), uint64(len(v)))
		for _, element := range v {
			b = appendCanonical(b, element)
		}
		return b
	case map[string]any:
		names := make([]string, 0, len(v))
		for name := range v {
			names = append(names, name)
		}
		slices.Sort(names)
		b = binary.AppendUvarint(append(b, 'o'), uint64(len(v)))
		for _, name := range names {
			b = appendCanonical(appendText(b, name), v[name])
		}
		return b
	}
	return append(b, '?') // decode makes nothing else
}

func appendText(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// appendNumber appends a number as what is significant of it.
func appendNumber(b []byte, number string) []byte {
	digits, exponent, negative := significant(number)
	if negative {
		b = append(b, '-')
	}
	return binary.AppendVarint(appendText(b, digits), int64(exponent))
}

// significant returns the digits of a number without zeros in front and behind, and the
// power of ten that they are multiplied with. Zero has no digits and no sign.
func significant(number string) (digits string, exponent int, negative bool) {
	digits, negative = strings.CutPrefix(number, "-")
	if i := strings.IndexAny(digits, "eE"); i >= 0 {
		exponent, _ = strconv.Atoi(digits[i+1:]) // decode has bounded it
		digits = digits[:i]
	}
	if whole, fraction, ok := strings.Cut(digits, "."); ok {
		exponent -= len(fraction)
		digits = whole + fraction
	}
	digits = strings.TrimLeft(digits, "0")
	if digits == "" {
		return "", 0, false
	}
	trimmed := strings.TrimRight(digits, "0")
	return trimmed, exponent + len(digits) - len(trimmed), negative
}
