// Package strictjson reads JSON objects that come from clients and other services and
// decide what a client may do. It refuses what parsers disagree about: a member name
// that occurs twice, text that is not UTF-8, and nesting that is deeper than any object
// needs.
//
// An object is parsed one level at a time and nothing is copied, because most of what
// is in a token is never looked at.
package strictjson

import (
	"bytes"
	"encoding/json"
	"errors"
	"unicode/utf8"
)

// Bounds on the objects that are read at all.
const (
	maxDepth   = 16
	maxMembers = 256 // of one object
)

// What ParseObject refuses. None of the errors shows any of the input.
var (
	errNotObject = errors.New("it is not a JSON object")
	errNotUTF8   = errors.New("it is not UTF-8")
	errDuplicate = errors.New("a member stands twice")
	errTooDeep   = errors.New("it is nested too deeply")
	errTooMany   = errors.New("an object has too many members")
)

// Member is a member of an object.
type Member struct {
	Name  []byte
	Value Value
}

// Value is a valid JSON value as it was written.
type Value []byte

// Object is the members of a JSON object, in order.
type Object []Member

// ParseObject parses an object, and checks all that is in it. The values refer to data,
// which must not change any more.
func ParseObject(data []byte) (Object, error) {
	switch {
	case !utf8.Valid(data):
		return nil, errNotUTF8
	case !json.Valid(data):
		return nil, errNotObject
	}
	w := walker{data: data}
	w.space()
	if w.data[w.pos] != '{' {
		return nil, errNotObject
	}
	object := make(Object, 0, 12)
	if err := w.object(1, &object); err != nil {
		return nil, err
	}
	return object, nil
}

// Get returns the value of a member, or nil.
func (o Object) Get(name string) Value {
	for i := range o {
		if string(o[i].Name) == name {
			return o[i].Value
		}
	}
	return nil
}

// has reports whether the object has a member of the name.
func (o Object) has(name []byte) bool {
	for i := range o {
		if bytes.Equal(o[i].Name, name) {
			return true
		}
	}
	return false
}

// Text returns the value if it is a string.
func (v Value) Text() (string, bool) {
	if len(v) == 0 || v[0] != '"' {
		return "", false
	}
	return string(text(v)), true
}

// Is reports whether the value is this string.
func (v Value) Is(s string) bool {
	return len(v) > 0 && v[0] == '"' && string(text(v)) == s
}

// Number returns the value as it is written if it is a number.
func (v Value) Number() (string, bool) {
	if len(v) == 0 || v[0] != '-' && (v[0] < '0' || v[0] > '9') {
		return "", false
	}
	return string(v), true
}

// Bool returns the value if it is true or false.
func (v Value) Bool() (value, ok bool) {
	switch string(v) {
	case "true":
		return true, true
	case "false":
		return false, true
	}
	return false, false
}

// IsNull reports whether the value is null.
func (v Value) IsNull() bool { return string(v) == "null" }

// Object returns the members if the value is an object.
func (v Value) Object() (Object, bool) {
	if len(v) == 0 || v[0] != '{' {
		return nil, false
	}
	w := walker{data: v}
	object := make(Object, 0, 4)
	return object, w.object(1, &object) == nil
}

// Elements returns the elements if the value is an array.
func (v Value) Elements() ([]Value, bool) {
	if len(v) == 0 || v[0] != '[' {
		return nil, false
	}
	w := walker{data: v}
	elements := make([]Value, 0, 4)
	return elements, w.array(1, &elements) == nil
}

// walker goes over JSON that is valid.
type walker struct {
	data []byte
	pos  int
}

// object goes over an object and adds its members to into, unless into is nil.
func (w *walker) object(depth int, into *Object) error {
	if depth > maxDepth {
		return errTooDeep
	}
	var own Object
	if into == nil {
		into = &own
	}
	w.pos++ // the brace
	for w.space(); w.data[w.pos] != '}'; w.space() {
		if w.data[w.pos] == ',' {
			w.pos++
			continue
		}
		start := w.pos
		w.text()
		name := text(w.data[start:w.pos])
		w.space()
		w.pos++ // the colon
		w.space()
		start = w.pos
		if err := w.value(depth); err != nil {
			return err
		}
		switch {
		case into.has(name):
			return errDuplicate
		case len(*into) == maxMembers:
			return errTooMany
		}
		*into = append(*into, Member{name, Value(w.data[start:w.pos:w.pos])})
	}
	w.pos++
	return nil
}

// array goes over an array and adds its elements to into, unless into is nil.
func (w *walker) array(depth int, into *[]Value) error {
	if depth > maxDepth {
		return errTooDeep
	}
	w.pos++ // the bracket
	for w.space(); w.data[w.pos] != ']'; w.space() {
		if w.data[w.pos] == ',' {
			w.pos++
			continue
		}
		start := w.pos
		if err := w.value(depth); err != nil {
			return err
		}
		if into != nil {
			*into = append(*into, Value(w.data[start:w.pos:w.pos]))
		}
	}
	w.pos++
	return nil
}

// value goes over a value of any type.
func (w *walker) value(depth int) error {
	switch w.data[w.pos] {
	case '{':
		return w.object(depth+1, nil)
	case '[':
		return w.array(depth+1, nil)
	case '"':
		w.text()
		return nil
	}
	for w.pos < len(w.data) {
		switch w.data[w.pos] {
		case ',', '}', ']', ' ', '\t', '\r', '\n':
			return nil
		}
		w.pos++
	}
	return nil
}

// text goes over a string.
func (w *walker) text() {
	for w.pos++; w.data[w.pos] != '"'; w.pos++ {
		if w.data[w.pos] == '\\' {
			w.pos++
		}
	}
	w.pos++
}

// space goes over white space.
func (w *walker) space() {
	for w.pos < len(w.data) {
		switch w.data[w.pos] {
		case ' ', '\t', '\r', '\n':
			w.pos++
		default:
			return
		}
	}
}

// text returns what a valid string literal says.
func text(literal []byte) []byte {
	if bytes.IndexByte(literal, '\\') < 0 {
		return literal[1 : len(literal)-1]
	}
	var s string
	_ = json.Unmarshal(literal, &s) // it is valid
	return []byte(s)
}
