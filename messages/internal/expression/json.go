package expression

import (
	"encoding/json"
	"iter"
	"strconv"
	"strings"
	"unicode/utf8"

	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"

	"github.com/wsgateway/caddy-ws-gateway/messages/internal/jsontext"
)

// parse returns the JSON document as a value; null where it is none, or one that has
// more than 10,000 levels. What is in it is read when it is asked for, since most
// expressions ask for a field or two.
//
// Of members with the same name, the last one counts. Numbers are integers where they
// are written as such and have room in 64 bits, and else doubles; beyond their range,
// these are infinite.
func parse(document []byte) ref.Val {
	if !jsontext.Valid(document) {
		return types.NullValue
	}
	return value(document[jsontext.SkipSpace(document, 0):])
}

// value is the value that raw begins with.
func value(raw []byte) ref.Val {
	switch raw[0] {
	case '{':
		return &object{raw: raw}
	case '[':
		return &list{raw: raw}
	case '"':
		return types.String(text(raw[:jsontext.Skip(raw, 0)]))
	case 't':
		return types.True
	case 'f':
		return types.False
	case 'n':
		return types.NullValue
	}
	return number(view(raw[:jsontext.Skip(raw, 0)]))
}

// text is what a string with its quotes says.
func text(quoted []byte) string {
	inner := quoted[1 : len(quoted)-1]
	plain := view(inner)
	if strings.IndexByte(plain, '\\') < 0 && utf8.ValidString(plain) {
		return plain
	}
	var s string
	_ = json.Unmarshal(quoted, &s) // it is known to be valid
	return s
}

func number(spelled string) ref.Val {
	if !strings.ContainsAny(spelled, ".eE") {
		if n, err := strconv.ParseInt(spelled, 10, 64); err == nil {
			return types.Int(n)
		}
	}
	f, _ := strconv.ParseFloat(spelled, 64) // infinite where it is out of range
	return types.Double(f)
}

// adapter makes values of what encoding/json makes of a document.
type adapter struct{}

// NativeToValue is part of types.Adapter.
func (a adapter) NativeToValue(v any) ref.Val {
	switch v := v.(type) {
	case json.Number:
		return number(string(v))
	case map[string]any:
		return types.NewStringInterfaceMap(a, v)
	case []any:
		return types.NewDynamicList(a, v)
	}
	return types.DefaultTypeAdapter.NativeToValue(v)
}

// decode reads everything in the value that raw begins with, for comparisons: what is
// read level by level is gone through again on each level.
func decode(raw []byte) ref.Val {
	decoder := json.NewDecoder(strings.NewReader(view(raw)))
	decoder.UseNumber()
	var v any
	if err := decoder.Decode(&v); err != nil {
		return types.WrapErr(err)
	}
	return adapter{}.NativeToValue(v)
}

// settled is the value as it is compared: read to its end.
func settled(v ref.Val) ref.Val {
	switch v := v.(type) {
	case *object:
		return v.decoded()
	case *list:
		return v.decoded()
	}
	return v
}

// looksUntilRead is how often something is looked for in an object or a list before all
// its members are read: loops may look again and again.
const looksUntilRead = 4

// members goes over the names, in quotes, and the values in the object that raw begins
// with. Values go on to the end of raw.
func members(raw []byte) iter.Seq2[[]byte, []byte] {
	return func(yield func([]byte, []byte) bool) {
		for at := jsontext.SkipSpace(raw, 1); raw[at] == '"'; {
			end := jsontext.Skip(raw, at)
			name := raw[at:end]
			at = jsontext.SkipSpace(raw, jsontext.SkipSpace(raw, end)+1) // behind the colon
			if !yield(name, raw[at:]) {
				return
			}
			if at = jsontext.SkipSpace(raw, jsontext.Skip(raw, at)); raw[at] == ',' {
				at = jsontext.SkipSpace(raw, at+1)
			}
		}
	}
}

// elements goes over the values in the list that raw begins with, which go on to the
// end of raw.
func elements(raw []byte) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		for at := jsontext.SkipSpace(raw, 1); raw[at] != ']'; {
			if !yield(raw[at:]) {
				return
			}
			if at = jsontext.SkipSpace(raw, jsontext.Skip(raw, at)); raw[at] == ',' {
				at = jsontext.SkipSpace(raw, at+1)
			}
		}
	}
}

var (
	_ traits.Mapper = (*object)(nil)
	_ traits.Lister = (*list)(nil)
)
