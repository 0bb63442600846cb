package schema

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// typeError is that a value is of none of the types that are asked for.
type typeError struct {
	value any
	types []string
}

func (e *typeError) Error() string {
	return fmt.Sprintf("is %s, not %s", typeOf(e.value), strings.Join(e.types, " or "))
}

func typeOf(v any) string {
	switch v.(type) {
	case nil:
		return "null"
	case bool:
		return "boolean"
	case string:
		return "string"
	case json.Number:
		return "number"
	case []any:
		return "array"
	}
	return "object" // decode makes nothing else
}

// ofType reports whether a value is of one of the types. Numbers without a fraction are
// integers, however they are written.
func ofType(v any, types []string) bool {
	if slices.Contains(types, typeOf(v)) {
		return true
	}
	number, ok := v.(json.Number)
	return ok && slices.Contains(types, "integer") && isInteger(string(number))
}

func isInteger(number string) bool {
	if !strings.ContainsAny(number, ".eE") {
		return true
	}
	digits, exponent, _ := significant(number)
	return digits == "" || exponent >= 0
}

// What is wrong with values that const and enum do not allow.
var (
	errConst = errors.New("is not the value of const")
	errEnum  = errors.New("is none of the values of enum")
)

// allowed is the values that a value has to be among.
type allowed struct {
	err       error
	texts     map[string]bool
	others    map[string]bool // by what appendCanonical makes of them
	composite bool            // whether there are objects or arrays in others
}

func allow(err error, values ...any) allowed {
	a := allowed{err: err, texts: make(map[string]bool), others: make(map[string]bool)}
	for _, v := range values {
		if s, ok := v.(string); ok {
			a.texts[s] = true
			continue
		}
		a.others[string(appendCanonical(nil, v))] = true
		a.composite = a.composite || isComposite(v)
	}
	return a
}

func (a *allowed) check(v any, m *meter) error {
	s, text := v.(string)
	switch {
	case text && a.texts[s]:
		return nil
	case text, len(a.others) == 0, !a.composite && isComposite(v):
		return a.err
	}
	var room [64]byte
	canonical := appendCanonical(room[:0], v)
	m.through(len(canonical))
	if !a.others[string(canonical)] {
		return a.err
	}
	return nil
}

func isComposite(v any) bool {
	switch v.(type) {
	case []any, map[string]any:
		return true
	}
	return false
}
