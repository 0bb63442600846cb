package convert

import (
	"encoding/binary"
	"math"
	"time"

	"github.com/x448/float16"
)

// cborWriter writes CBOR in its preferred serialization (RFC 8949, section 4.1).
type cborWriter struct{}

// argument appends a head.
func argument(out []byte, major byte, n uint64) []byte {
	major <<= 5
	switch {
	case n < 24:
		return append(out, major|byte(n))
	case n <= math.MaxUint8:
		return append(out, major|24, byte(n))
	case n <= math.MaxUint16:
		return binary.BigEndian.AppendUint16(append(out, major|25), uint16(n))
	case n <= math.MaxUint32:
		return binary.BigEndian.AppendUint32(append(out, major|26), uint32(n))
	}
	return binary.BigEndian.AppendUint64(append(out, major|27), n)
}

func (cborWriter) null(out []byte) []byte { return append(out, majorSimple<<5|22) }

func (cborWriter) boolean(out []byte, b bool) []byte {
	if b {
		return append(out, majorSimple<<5|21)
	}
	return append(out, majorSimple<<5|20)
}

func (w cborWriter) integer(out []byte, i integer) ([]byte, error) {
	switch {
	case i.large != nil && i.negative:
		return w.bytes(argument(out, majorTag, 3), i.large.Bytes(), 0), nil
	case i.large != nil:
		return w.bytes(argument(out, majorTag, 2), i.large.Bytes(), 0), nil
	case i.negative:
		return argument(out, majorNegative, i.n), nil
	}
	return argument(out, majorUint, i.n), nil
}

func (cborWriter) float(out []byte, f float64) ([]byte, error) {
	short := float32(f)
	switch {
	case math.IsNaN(f):
		return append(out, majorSimple<<5|25, 0x7e, 0), nil
	case float64(short) != f:
		return binary.BigEndian.AppendUint64(append(out, majorSimple<<5|27), math.Float64bits(f)), nil
	}
	if half := float16.Fromfloat32(short); half.Float32() == short {
		return binary.BigEndian.AppendUint16(append(out, majorSimple<<5|25), half.Bits()), nil
	}
	return binary.BigEndian.AppendUint32(append(out, majorSimple<<5|26), math.Float32bits(short)), nil
}

func (cborWriter) text(out, text []byte) []byte {
	return append(argument(out, majorText, uint64(len(text))), text...)
}

func (cborWriter) bytes(out, b []byte, _ spelling) []byte {
	return append(argument(out, majorBytes, uint64(len(b))), b...)
}

func (cborWriter) instant(out []byte, t time.Time) []byte {
	var room [len(time.RFC3339Nano)]byte
	text := t.AppendFormat(room[:0], time.RFC3339Nano)
	out = argument(argument(out, majorTag, 0), majorText, uint64(len(text)))
	return append(out, text...)
}

func (w cborWriter) integerKey(out []byte, i integer) ([]byte, error) { return w.integer(out, i) }
func (w cborWriter) bytesKey(out, b []byte) ([]byte, error)           { return w.bytes(out, b, 0), nil }

func (cborWriter) open(out []byte, _ kind) []byte  { return append(out, 0) }
func (cborWriter) comma(out []byte) []byte         { return out }
func (cborWriter) colon(out []byte) []byte         { return out }
func (cborWriter) close(out []byte, _ kind) []byte { return out }

func (cborWriter) head(out []byte, k kind, n int) []byte {
	if k == object {
		return argument(out, majorMap, uint64(n))
	}
	return argument(out, majorArray, uint64(n))
}

func (cborWriter) takesInstants() bool { return false }
