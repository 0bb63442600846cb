package convert

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"math/big"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/fxamacker/cbor/v2"
	"github.com/ugorji/go/codec"
)

// What is here reads all formats with other libraries than the handler: encoding/json,
// fxamacker/cbor and ugorji/go/codec.

// independent returns what a payload means: nil, bool, string, *big.Int, float64, []any,
// map[string]any; and []byte and others where a format has them.
func independent(name string, payload []byte) (any, error) {
	var v any
	switch name {
	case "json":
		d := json.NewDecoder(bytes.NewReader(payload))
		d.UseNumber()
		if err := d.Decode(&v); err != nil {
			return nil, err
		}
		if _, err := d.Token(); !errors.Is(err, io.EOF) {
			return nil, errors.New("something follows")
		}
	case "cbor":
		if err := cborMode.Unmarshal(payload, &v); err != nil {
			return nil, err
		}
	case "msgpack":
		d := codec.NewDecoderBytes(payload, msgpackMode)
		if err := d.Decode(&v); err != nil {
			return nil, err
		}
		if d.NumBytesRead() != len(payload) {
			return nil, errors.New("something follows")
		}
	}
	return plain(v), nil
}

var cborMode = func() cbor.DecMode {
	mode, err := cbor.DecOptions{
		DupMapKey:        cbor.DupMapKeyEnforcedAPF,
		MaxNestedLevels:  deepest + 1,
		MaxArrayElements: 1 << 30,
		MaxMapPairs:      1 << 30,
	}.DecMode()
	if err != nil {
		panic(err)
	}
	return mode
}()

var msgpackMode = func() *codec.MsgpackHandle {
	h := new(codec.MsgpackHandle)
	h.WriteExt = true // knows byte strings from texts
	h.MapType = reflect.TypeFor[map[any]any]()
	h.MaxDepth = deepest + 1
	return h
}()

// plain makes the same values of those of different libraries.
func plain(v any) any {
	switch v := v.(type) {
	case json.Number:
		return number(string(v))
	case uint64:
		return new(big.Int).SetUint64(v)
	case int64:
		return big.NewInt(v)
	case big.Int:
		return &v
	case float32:
		return float64(v)
	case []any:
		list := make([]any, len(v))
		for i := range v {
			list[i] = plain(v[i])
		}
		return list
	case map[string]any:
		m := map[string]any{}
		for key, value := range v {
			m[key] = plain(value)
		}
		return m
	case map[any]any:
		m := map[string]any{}
		for key, value := range v {
			m[fmt.Sprint(plain(key))] = plain(value)
		}
		if len(m) < len(v) {
			return v // foreign: 1 is another key than "1"
		}
		return m
	}
	return v
}

// number is what digits mean, an integer or a float64.
func number(digits string) any {
	if i, ok := new(big.Int).SetString(digits, 10); ok && digits != "-0" {
		return i
	}
	var f float64
	if _, err := fmt.Sscan(digits, &f); err != nil {
		panic(err)
	}
	return f
}

// same reports whether two values mean the same, whatever JSON knows no difference of:
// whole floats are integers, and byte strings are texts.
func same(a, b any) bool {
	a, b = simpler(a), simpler(b)
	switch a := a.(type) {
	case *big.Int:
		b, ok := b.(*big.Int)
		return ok && a.Cmp(b) == 0
	case float64:
		b, ok := b.(float64)
		return ok && math.Float64bits(a) == math.Float64bits(b)
	case []any:
		b, ok := b.([]any)
		if !ok || len(a) != len(b) {
			return false
		}
		for i := range a {
			if !same(a[i], b[i]) {
				return false
			}
		}
		return true
	case map[string]any:
		b, ok := b.(map[string]any)
		if !ok || len(a) != len(b) {
			return false
		}
		for key := range a {
			if value, ok := b[key]; !ok || !same(a[key], value) {
				return false
			}
		}
		return true
	}
	return reflect.DeepEqual(a, b)
}

func simpler(v any) any {
	switch v := v.(type) {
	case []byte:
		return base64.RawURLEncoding.EncodeToString(v)
	case float64:
		if v == math.Trunc(v) && math.Abs(v) < wholes && !(v == 0 && math.Signbit(v)) {
			return big.NewInt(int64(v))
		}
		if math.IsNaN(v) {
			return "NaN"
		}
	}
	return v
}

// foreign reports whether there are values in v that JSON has not.
func foreign(v any) bool {
	switch v := v.(type) {
	case nil, bool, string, *big.Int, float64, []byte:
		return false
	case []any:
		return slices.ContainsFunc(v, foreign)
	case map[string]any:
		for _, value := range v {
			if foreign(value) {
				return true
			}
		}
		return false
	}
	return true // tags, points in time
}

// mixed reports whether v has a map in which keys of different types say the same.
func mixed(v any) bool {
	switch v := v.(type) {
	case []any:
		return slices.ContainsFunc(v, mixed)
	case map[string]any:
		for _, value := range v {
			if mixed(value) {
				return true
			}
		}
	case map[any]any:
		return true // as plain leaves it
	}
	return false
}

// checked converts, and compares what has come of it with what other libraries read.
func checked(t testing.TB, from, to string, payload []byte) ([]byte, error) {
	t.Helper()
	got, err := convert(bytes.Clone(payload), formats[from], formats[to], time.Time{})
	if err != nil {
		var f fault
		if !errors.As(err, &f) || len(f) > 123 || strings.ToValidUTF8(string(f), "") != string(f) {
			t.Fatalf("%s to %s, %q: no fault, but %v", from, to, payload, err)
		}
		return nil, err
	}
	if len(got) > 9*len(payload) {
		t.Fatalf("%s to %s, %q: %d bytes became %d", from, to, payload, len(payload), len(got))
	}
	after, err := independent(to, got)
	if err != nil {
		t.Fatalf("%s to %s, %q: made %q: %v", from, to, payload, got, err)
	}
	if to == "json" && !utf8.Valid(got) {
		t.Fatalf("%s to %s, %q: made %q, which is not UTF-8", from, to, payload, got)
	}
	before, err := independent(from, payload)
	var twice *cbor.DupMapKeyError
	if err != nil && from == "cbor" && cbor.Wellformed(payload) == nil && !errors.As(err, &twice) {
		return got, nil // what tags are around is not looked at where they are dropped
	}
	if err != nil {
		t.Fatalf("%s to %s, %q: is not valid: %v", from, to, payload, err)
	}
	if mixed(before) || mixed(after) {
		return got, nil // ugorji/go/codec takes the keys "" and h'' for one
	}
	if !foreign(before) && !same(before, after) {
		t.Fatalf("%s to %s, %q: made %q: %v became %v", from, to, payload, got, before, after)
	}
	return got, nil
}
