package convert

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"io"
	"math"
	"strconv"
	"time"

	"github.com/go-json-experiment/json/jsontext"
)

const errJSON fault = "not valid json"

// jsonReader reads a payload of JSON. Its decoder knows invalid UTF-8 and half a
// surrogate pair; the conversion knows duplicate keys.
type jsonReader struct {
	c   *conversion
	dec *jsontext.Decoder
}

func readJSON(c *conversion, payload []byte) error {
	if c.json == nil {
		c.json = jsontext.NewDecoder(&c.payload, jsontext.AllowDuplicateNames(true))
	}
	c.payload = *bytes.NewBuffer(payload)
	c.json.Reset(&c.payload, jsontext.AllowDuplicateNames(true))
	r := jsonReader{c, c.json}
	err := r.value(1)
	if err == nil {
		if _, end := c.json.ReadToken(); !errors.Is(end, io.EOF) {
			err = errJSON
		}
	}
	c.payload = bytes.Buffer{}
	c.json.Reset(&c.payload) // does not keep the payload
	return err
}

// value reads a value, the depth-th of those that are in each other.
func (r jsonReader) value(depth int) error {
	if err := r.c.step(); err != nil {
		return err
	}
	kind := r.dec.PeekKind()
	if kind != '[' && kind != '{' {
		return r.scalar()
	}
	if depth > deepest {
		return errDeep
	}
	if _, err := r.dec.ReadToken(); err != nil {
		return errJSON
	}
	if kind == '{' {
		return r.object(depth)
	}
	return r.array(depth)
}

func (r jsonReader) scalar() error {
	raw, err := r.dec.ReadValue()
	if err != nil {
		return errJSON
	}
	switch raw[0] {
	case 'n':
		r.c.null()
	case 't', 'f':
		r.c.boolean(raw[0] == 't')
	case '"':
		return r.text(raw)
	default:
		return r.number(raw)
	}
	return nil
}

func (r jsonReader) array(depth int) error {
	at, n := r.c.open(array), 0
	for ; r.dec.PeekKind() != ']'; n++ {
		r.c.next(n)
		if err := r.value(depth + 1); err != nil {
			return err
		}
	}
	if _, err := r.dec.ReadToken(); err != nil {
		return errJSON
	}
	r.c.close(array, at, n)
	return nil
}

func (r jsonReader) object(depth int) error {
	at, first, n := r.c.open(object), len(r.c.keys), 0
	for ; r.dec.PeekKind() != '}'; n++ {
		r.c.next(n)
		name, err := r.dec.ReadValue()
		if err != nil || name.Kind() != '"' {
			return errJSON
		}
		start := len(r.c.out)
		if err := r.text(name); err != nil {
			return err
		}
		r.c.key(start)
		if err := r.value(depth + 1); err != nil {
			return err
		}
	}
	if _, err := r.dec.ReadToken(); err != nil {
		return errJSON
	}
	r.c.close(object, at, n)
	return r.c.unique(first)
}

func (r jsonReader) text(quoted []byte) error {
	text := quoted[1 : len(quoted)-1]
	if bytes.IndexByte(text, '\\') >= 0 {
		unquoted, err := jsontext.AppendUnquote(r.c.scratch[:0], quoted)
		r.c.scratch = unquoted
		if err != nil {
			return errJSON
		}
		text = unquoted
	}
	r.c.text(text)
	return nil
}

func (r jsonReader) number(digits []byte) error {
	if bytes.ContainsAny(digits, ".eE") || string(digits) == "-0" {
		f, err := strconv.ParseFloat(string(digits), 64)
		if err != nil {
			return errNumber
		}
		return r.c.float(f)
	}
	i, err := parseInteger(digits)
	if err != nil {
		return err
	}
	return r.c.integer(i)
}

// spelling is how JSON spells a byte string.
type spelling byte

const (
	base64url spelling = iota
	base64padded
	base16
)

// jsonWriter writes JSON.
type jsonWriter struct{}

func (jsonWriter) null(out []byte) []byte            { return append(out, "null"...) }
func (jsonWriter) boolean(out []byte, b bool) []byte { return strconv.AppendBool(out, b) }

func (jsonWriter) integer(out []byte, i integer) ([]byte, error) { return i.append(out), nil }

// wholes is where the whole numbers end that a float64 can all tell from each other.
// Beyond, an exponent says that the digits are not those of an integer.
const wholes = 1 << 53

func (jsonWriter) float(out []byte, f float64) ([]byte, error) {
	switch a := math.Abs(f); {
	case math.IsNaN(f) || math.IsInf(f, 0):
		return nil, errNaN
	case a != 0 && a < 1e-6 || a >= wholes:
		return strconv.AppendFloat(out, f, 'e', -1, 64), nil
	}
	return strconv.AppendFloat(out, f, 'f', -1, 64), nil
}

func (jsonWriter) text(out, text []byte) []byte {
	out, _ = jsontext.AppendQuote(out, text) // fails for invalid UTF-8 only
	return out
}

func (jsonWriter) bytes(out, b []byte, s spelling) []byte {
	out = append(out, '"')
	switch s {
	case base16:
		start := len(out)
		out = hex.AppendEncode(out, b)
		copy(out[start:], bytes.ToUpper(out[start:]))
	case base64padded:
		out = base64.StdEncoding.AppendEncode(out, b)
	default:
		out = base64.RawURLEncoding.AppendEncode(out, b)
	}
	return append(out, '"')
}

func (jsonWriter) instant(out []byte, t time.Time) []byte {
	out = append(out, '"')
	out = t.AppendFormat(out, time.RFC3339Nano)
	return append(out, '"')
}

func (jsonWriter) integerKey(out []byte, i integer) ([]byte, error) {
	out = append(out, '"')
	return append(i.append(out), '"'), nil
}

func (jsonWriter) bytesKey(_, _ []byte) ([]byte, error) { return nil, errKey }

func (jsonWriter) open(out []byte, k kind) []byte { return append(out, "[{"[k]) }
func (jsonWriter) comma(out []byte) []byte        { return append(out, ',') }
func (jsonWriter) colon(out []byte) []byte        { return append(out, ':') }

func (jsonWriter) close(out []byte, k kind) []byte { return append(out, "]}"[k]) }

func (jsonWriter) head(out []byte, _ kind, _ int) []byte { return out }
func (jsonWriter) takesInstants() bool                   { return false }
