package schema

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
)

// Bounds on the JSON that is read at all.
const (
	maxDepth  = 1000 // of objects and arrays in each other
	maxDigits = 1000 // of a number that is written without an exponent
)

// syntaxError is why a text is not taken for JSON. It holds no values of the text.
type syntaxError struct {
	what   string
	offset int      // in bytes
	path   []string // of the value that it is in, the innermost first
}

func (e *syntaxError) Error() string { return fmt.Sprintf("%s, at byte %d", e.what, e.offset) }

// in notes that the value which is at fault is in another, under the name.
func (e *syntaxError) in(name string) *syntaxError {
	e.path = append(e.path, name)
	return e
}

// pointer is where the value at fault is, as a JSON pointer.
func (e *syntaxError) pointer() string {
	path := slices.Clone(e.path)
	slices.Reverse(path)
	return pointer(path)
}

// decoder makes values of JSON as the validator takes them: numbers stay as they are
// written. It refuses what parsers disagree about or what would be costly: names that
// stand twice, bytes that are not UTF-8, halves of surrogate pairs, deep nesting and
// numbers of many digits.
type decoder struct {
	text  string
	pos   int
	depth int
	most  int // the most that depth was
}

// decode returns the value that the text is, and how deep it is nested.
func decode(data []byte) (value any, depth int, err *syntaxError) {
	d := decoder{text: string(data)}
	if !utf8.Valid(data) {
		return nil, 0, d.fail("not UTF-8")
	}
	value, err = d.value()
	if err != nil {
		return nil, 0, err
	}
	if d.space(); d.pos < len(d.text) {
		return nil, 0, d.fail("something stands behind the JSON value")
	}
	return value, d.most, nil
}

func (d *decoder) fail(what string) *syntaxError { return &syntaxError{what: what, offset: d.pos} }

// next is the byte at pos, 0 at the end.
func (d *decoder) next() byte {
	if d.pos == len(d.text) {
		return 0
	}
	return d.text[d.pos]
}

func (d *decoder) space() {
	for d.pos < len(d.text) {
		switch d.text[d.pos] {
		case ' ', '\t', '\r', '\n':
			d.pos++
		default:
			return
		}
	}
}

func (d *decoder) value() (any, *syntaxError) {
	d.space()
	switch c := d.next(); {
	case c == '{' || c == '[':
		if d.depth++; d.depth > maxDepth {
			return nil, d.fail(fmt.Sprintf("nested more than %d levels deep", maxDepth))
		}
		d.most = max(d.most, d.depth)
		defer func() { d.depth-- }()
		d.pos++
		if c == '{' {
			return d.object()
		}
		return d.array()
	case c == '"':
		return d.string()
	case c == '-' || '0' <= c && c <= '9':
		return d.number()
	}
	for _, literal := range literals {
		if strings.HasPrefix(d.text[d.pos:], literal.text) {
			d.pos += len(literal.text)
			return literal.value, nil
		}
	}
	return nil, d.fail("not JSON")
}

var literals = [...]struct {
	text  string
	value any
}{{"true", true}, {"false", false}, {"null", nil}}

// object reads an object behind its brace.
func (d *decoder) object() (any, *syntaxError) {
	members := make(map[string]any)
	if d.space(); d.next() == '}' {
		d.pos++
		return members, nil
	}
	for {
		if d.space(); d.next() != '"' {
			return nil, d.fail("not JSON")
		}
		name, err := d.string()
		if err != nil {
			return nil, err
		}
		if _, twice := members[name]; twice {
			return nil, d.fail("a name stands twice").in(name)
		}
		if d.space(); d.next() != ':' {
			return nil, d.fail("not JSON")
		}
		d.pos++
		if members[name], err = d.value(); err != nil {
			return nil, err.in(name)
		}
		if more, err := d.more('}'); !more {
			return members, err
		}
	}
}

// array reads an array behind its bracket.
func (d *decoder) array() (any, *syntaxError) {
	elements := []any{}
	if d.space(); d.next() == ']' {
		d.pos++
		return elements, nil
	}
	for {
		element, err := d.value()
		if err != nil {
			return nil, err.in(fmt.Sprint(len(elements)))
		}
		elements = append(elements, element)
		if more, err := d.more(']'); !more {
			return elements, err
		}
	}
}

// more reads the comma or the end that is behind a member or an element, and reports
// whether another has to follow.
func (d *decoder) more(end byte) (bool, *syntaxError) {
	d.space()
	switch d.next() {
	case ',':
		d.pos++
		return true, nil
	case end:
		d.pos++
		return false, nil
	}
	return false, d.fail("not JSON")
}

func (d *decoder) string() (string, *syntaxError) {
	start, escaped := d.pos, false
	for d.pos++; ; d.pos++ {
		switch c := d.next(); {
		case c == '"':
			d.pos++
			if !escaped {
				return d.text[start+1 : d.pos-1], nil
			}
			return d.unquote(start)
		case c == '\\':
			escaped = true
			d.pos++
			if d.next() < ' ' {
				return "", d.fail("not JSON")
			}
		case c < ' ':
			return "", d.fail("not JSON")
		}
	}
}

// unquote is the string that begins at start and ends before pos.
func (d *decoder) unquote(start int) (string, *syntaxError) {
	quoted := []byte(d.text[start:d.pos])
	unquoted, err := jsontext.AppendUnquote(nil, quoted)
	if err == nil {
		return string(unquoted), nil
	}
	d.pos = start
	if json.Valid(quoted) {
		return "", d.fail("not valid JSON: half a surrogate pair")
	}
	return "", d.fail("not JSON")
}

func (d *decoder) number() (any, *syntaxError) {
	start := d.pos
	if d.next() == '-' {
		d.pos++
	}
	digits := d.next()
	if n := d.digits(); n == 0 || n > 1 && digits == '0' {
		return nil, d.fail("not JSON")
	}
	if d.next() == '.' {
		d.pos++
		if d.digits() == 0 {
			return nil, d.fail("not JSON")
		}
	}
	length, exponent := d.pos-start, 0
	if c := d.next(); c == 'e' || c == 'E' {
		d.pos++
		if c := d.next(); c == '+' || c == '-' {
			d.pos++
		}
		from := d.pos
		if d.digits() == 0 {
			return nil, d.fail("not JSON")
		}
		for _, c := range d.text[from:d.pos] {
			exponent = min(10*exponent+int(c-'0'), maxDigits+1)
		}
	}
	if length+exponent > maxDigits {
		d.pos = start
		return nil, d.fail(fmt.Sprintf("a number has more than %d digits", maxDigits))
	}
	return json.Number(d.text[start:d.pos]), nil
}

// digits goes over digits, and returns how many there are.
func (d *decoder) digits() int {
	start := d.pos
	for c := d.next(); '0' <= c && c <= '9'; c = d.next() {
		d.pos++
	}
	return d.pos - start
}
