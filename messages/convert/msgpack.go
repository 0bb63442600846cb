package convert

import (
	"encoding/binary"
	"time"
	"unicode/utf8"

	"github.com/tinylib/msgp/msgp"
)

const (
	errMsgpack   fault = "not valid msgpack"
	errExtension fault = "not convertible: an extension type of msgpack"
)

// msgpackReader reads a payload of MessagePack.
type msgpackReader struct {
	c    *conversion
	rest []byte
}

func readMsgpack(c *conversion, payload []byte) error {
	r := msgpackReader{c, payload}
	if err := r.value(1); err != nil {
		return err
	}
	if len(r.rest) > 0 {
		return errMsgpack
	}
	return nil
}

// take is what a function of msgp returns, which has read from r.rest.
func take[V any](r *msgpackReader, v V, rest []byte, err error) (V, error) {
	if err != nil {
		return v, errMsgpack
	}
	r.rest = rest
	return v, nil
}

// next is the type of what is next; there is none if what is left is shorter than its
// length says, which an int of 32 bits may not even hold.
func (r *msgpackReader) next() msgp.Type {
	if len(r.rest) == 0 {
		return msgp.InvalidType
	}
	switch r.rest[0] {
	case bin32, str32, array32, map32:
		if len(r.rest) < 5 || uint64(binary.BigEndian.Uint32(r.rest[1:])) > uint64(len(r.rest)-5) {
			return msgp.InvalidType
		}
	}
	return msgp.NextType(r.rest)
}

// value reads a value, the depth-th of those that are in each other.
func (r *msgpackReader) value(depth int) error {
	if err := r.c.step(); err != nil {
		return err
	}
	switch r.next() {
	case msgp.NilType:
		r.rest = r.rest[1:]
		r.c.null()
		return nil
	case msgp.BoolType:
		return r.boolean()
	case msgp.IntType, msgp.UintType:
		i, err := r.integer()
		if err != nil {
			return err
		}
		return r.c.integer(i)
	case msgp.Float32Type, msgp.Float64Type:
		return r.float()
	case msgp.StrType:
		return r.text()
	case msgp.BinType:
		b, err := r.bytes()
		if err != nil {
			return err
		}
		r.c.bytes(b, base64url)
		return nil
	case msgp.ArrayType:
		return r.array(depth)
	case msgp.MapType:
		return r.object(depth)
	case msgp.InvalidType:
		return errMsgpack
	default:
		return r.extension()
	}
}

func (r *msgpackReader) boolean() error {
	v, rest, err := msgp.ReadBoolBytes(r.rest)
	b, err := take(r, v, rest, err)
	if err == nil {
		r.c.boolean(b)
	}
	return err
}

func (r *msgpackReader) integer() (integer, error) {
	if msgp.NextType(r.rest) == msgp.UintType {
		v, rest, err := msgp.ReadUint64Bytes(r.rest)
		n, err := take(r, v, rest, err)
		return integer{n: n}, err
	}
	v, rest, err := msgp.ReadInt64Bytes(r.rest)
	i, err := take(r, v, rest, err)
	return signed(i), err
}

func (r *msgpackReader) float() error {
	v, rest, err := msgp.ReadFloat64Bytes(r.rest) // of 32 bits, too
	f, err := take(r, v, rest, err)
	if err != nil {
		return err
	}
	return r.c.float(f)
}

func (r *msgpackReader) text() error {
	v, rest, err := msgp.ReadStringZC(r.rest)
	text, err := take(r, v, rest, err)
	if err != nil {
		return err
	}
	if !utf8.Valid(text) {
		return errMsgpack
	}
	r.c.text(text)
	return nil
}

func (r *msgpackReader) bytes() ([]byte, error) {
	v, rest, err := msgp.ReadBytesZC(r.rest)
	return take(r, v, rest, err)
}

func (r *msgpackReader) array(depth int) error {
	if depth > deepest {
		return errDeep
	}
	v, rest, err := msgp.ReadArrayHeaderBytes(r.rest)
	n, err := take(r, int(v), rest, err)
	if err != nil {
		return err
	}
	at := r.c.open(array)
	for i := range n {
		r.c.next(i)
		if err := r.value(depth + 1); err != nil {
			return err
		}
	}
	r.c.close(array, at, n)
	return nil
}

func (r *msgpackReader) object(depth int) error {
	if depth > deepest {
		return errDeep
	}
	v, rest, err := msgp.ReadMapHeaderBytes(r.rest)
	n, err := take(r, int(v), rest, err)
	if err != nil {
		return err
	}
	at, first := r.c.open(object), len(r.c.keys)
	for i := range n {
		r.c.next(i)
		if err := r.key(); err != nil {
			return err
		}
		if err := r.value(depth + 1); err != nil {
			return err
		}
	}
	r.c.close(object, at, n)
	return r.c.unique(first)
}

func (r *msgpackReader) key() error {
	start := len(r.c.out)
	var err error
	switch r.next() {
	case msgp.StrType:
		err = r.text()
	case msgp.IntType, msgp.UintType:
		var i integer
		if i, err = r.integer(); err == nil {
			err = r.c.integerKey(i)
		}
	case msgp.BinType:
		var b []byte
		if b, err = r.bytes(); err == nil {
			err = r.c.bytesKey(b)
		}
	case msgp.InvalidType:
		err = errMsgpack
	default:
		err = errKey
	}
	if err == nil {
		r.c.key(start)
	}
	return err
}

// extension reads what has an extension type, of which the timestamp alone is known to
// everybody: it is -1, in 4, 8 or 12 bytes.
func (r *msgpackReader) extension() error {
	at := 1 // where the type is
	switch r.rest[0] {
	case fixext4, fixext8:
	case ext8:
		at = 2
	default:
		return errExtension
	}
	switch {
	case len(r.rest) <= at:
		return errMsgpack
	case r.rest[at] != 0xff:
		return errExtension
	}
	v, rest, err := msgp.ReadTimeUTCBytes(r.rest)
	t, err := take(r, v, rest, err)
	if err != nil {
		return err
	}
	return r.c.instant(t)
}

const (
	ext8    = 0xc7
	fixext4 = 0xd6
	fixext8 = 0xd7

	// What is followed by a length of 32 bits.
	bin32   = 0xc6
	str32   = 0xdb
	array32 = 0xdd
	map32   = 0xdf
)

// msgpackWriter writes MessagePack.
type msgpackWriter struct{}

func (msgpackWriter) null(out []byte) []byte            { return msgp.AppendNil(out) }
func (msgpackWriter) boolean(out []byte, b bool) []byte { return msgp.AppendBool(out, b) }

func (msgpackWriter) integer(out []byte, i integer) ([]byte, error) {
	switch {
	case i.large != nil || i.negative && i.n > 1<<63-1:
		return nil, errNumber
	case i.negative:
		return msgp.AppendInt64(out, -1-int64(i.n)), nil
	}
	return msgp.AppendUint64(out, i.n), nil
}

func (msgpackWriter) float(out []byte, f float64) ([]byte, error) {
	return msgp.AppendFloat(out, f), nil
}

func (msgpackWriter) text(out, text []byte) []byte           { return msgp.AppendStringFromBytes(out, text) }
func (msgpackWriter) bytes(out, b []byte, _ spelling) []byte { return msgp.AppendBytes(out, b) }
func (msgpackWriter) instant(out []byte, t time.Time) []byte { return msgp.AppendTimeExt(out, t) }

func (w msgpackWriter) integerKey(out []byte, i integer) ([]byte, error) { return w.integer(out, i) }
func (w msgpackWriter) bytesKey(out, b []byte) ([]byte, error)           { return w.bytes(out, b, 0), nil }

func (msgpackWriter) open(out []byte, _ kind) []byte  { return append(out, 0) }
func (msgpackWriter) comma(out []byte) []byte         { return out }
func (msgpackWriter) colon(out []byte) []byte         { return out }
func (msgpackWriter) close(out []byte, _ kind) []byte { return out }

func (msgpackWriter) head(out []byte, k kind, n int) []byte {
	if k == object {
		return msgp.AppendMapHeader(out, uint32(n))
	}
	return msgp.AppendArrayHeader(out, uint32(n))
}

func (msgpackWriter) takesInstants() bool { return true }
