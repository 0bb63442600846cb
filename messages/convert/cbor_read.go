package convert

import (
	"encoding/binary"
	"math"
	"math/big"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/x448/float16"
)

const (
	errCBOR   fault = "not valid cbor"
	errTag    fault = "not convertible: a tag of cbor"
	errSimple fault = "not convertible: a simple value of cbor"
)

// The major types of CBOR (RFC 8949, section 3.1).
const (
	majorUint byte = iota
	majorNegative
	majorBytes
	majorText
	majorArray
	majorMap
	majorTag
	majorSimple
)

// indefinite is the additional information of what ends with a break.
const (
	indefinite = 31
	brk        = 0xff
)

// cborReader reads a payload of CBOR. There are libraries which do, but into Go's
// values, whose maps have no order; none hands out one token after the other.
type cborReader struct {
	c        *conversion
	rest     []byte
	spelling spelling // of byte strings, as tags have it
}

func readCBOR(c *conversion, payload []byte) error {
	r := cborReader{c: c, rest: payload}
	if err := r.value(1); err != nil {
		return err
	}
	if len(r.rest) > 0 {
		return errCBOR
	}
	return nil
}

// head reads what is before a value: its major type, the additional information, and
// the argument.
func (r *cborReader) head() (major, info byte, n uint64, err error) {
	if len(r.rest) == 0 {
		return 0, 0, 0, errCBOR
	}
	major, info = r.rest[0]>>5, r.rest[0]&31
	r.rest = r.rest[1:]
	if info < 24 {
		return major, info, uint64(info), nil
	}
	if info == indefinite && major >= majorBytes && major <= majorMap {
		return major, info, 0, nil
	}
	if info > 27 {
		return 0, 0, 0, errCBOR
	}
	size := 1 << (info - 24)
	if len(r.rest) < size {
		return 0, 0, 0, errCBOR
	}
	var argument [8]byte
	copy(argument[8-size:], r.rest)
	r.rest = r.rest[size:]
	return major, info, binary.BigEndian.Uint64(argument[:]), nil
}

// value reads a value, the depth-th of those that are in each other.
func (r *cborReader) value(depth int) error {
	if err := r.c.step(); err != nil {
		return err
	}
	major, info, n, err := r.head()
	if err != nil {
		return err
	}
	switch major {
	case majorUint, majorNegative:
		return r.c.integer(integer{negative: major == majorNegative, n: n})
	case majorBytes:
		b, err := r.str(major, info, n)
		if err != nil {
			return err
		}
		r.c.bytes(b, r.spelling)
		return nil
	case majorText:
		text, err := r.str(major, info, n)
		if err != nil {
			return err
		}
		r.c.text(text)
		return nil
	case majorSimple:
		return r.simple(info, n)
	}
	if depth > deepest {
		return errDeep
	}
	switch major {
	case majorArray:
		return r.array(depth, info, n)
	case majorMap:
		return r.object(depth, info, n)
	}
	return r.tag(depth, n)
}

// str reads a string, of bytes or of text, after its head. It is there until the next.
func (r *cborReader) str(major, info byte, n uint64) ([]byte, error) {
	if info != indefinite {
		return r.chunk(major, n)
	}
	all := r.c.scratch[:0]
	for {
		if err := r.c.step(); err != nil {
			return nil, err
		}
		if len(r.rest) > 0 && r.rest[0] == brk {
			r.rest = r.rest[1:]
			r.c.scratch = all
			return all, nil
		}
		m, info, n, err := r.head()
		if err != nil || m != major || info == indefinite {
			return nil, errCBOR
		}
		chunk, err := r.chunk(major, n)
		if err != nil {
			return nil, err
		}
		all = append(all, chunk...)
	}
}

func (r *cborReader) chunk(major byte, n uint64) ([]byte, error) {
	if n > uint64(len(r.rest)) {
		return nil, errCBOR
	}
	chunk := r.rest[:n]
	r.rest = r.rest[n:]
	if major == majorText && !utf8.Valid(chunk) {
		return nil, errCBOR
	}
	return chunk, nil
}

// more reports whether the i-th element is there, of n or before a break.
func (r *cborReader) more(info byte, n uint64, i int) bool {
	if info != indefinite {
		return uint64(i) < n
	}
	if len(r.rest) > 0 && r.rest[0] == brk {
		r.rest = r.rest[1:]
		return false
	}
	return true
}

func (r *cborReader) array(depth int, info byte, n uint64) error {
	at, i := r.c.open(array), 0
	for ; r.more(info, n, i); i++ {
		r.c.next(i)
		if err := r.value(depth + 1); err != nil {
			return err
		}
	}
	r.c.close(array, at, i)
	return nil
}

func (r *cborReader) object(depth int, info byte, n uint64) error {
	at, first, i := r.c.open(object), len(r.c.keys), 0
	for ; r.more(info, n, i); i++ {
		r.c.next(i)
		if err := r.key(); err != nil {
			return err
		}
		if err := r.value(depth + 1); err != nil {
			return err
		}
	}
	r.c.close(object, at, i)
	return r.c.unique(first)
}

func (r *cborReader) key() error {
	start := len(r.c.out)
	major, info, n, err := r.head()
	if err != nil {
		return err
	}
	switch major {
	case majorUint, majorNegative:
		err = r.c.integerKey(integer{negative: major == majorNegative, n: n})
	case majorText:
		var text []byte
		if text, err = r.str(major, info, n); err == nil {
			r.c.text(text)
		}
	case majorBytes:
		var b []byte
		if b, err = r.str(major, info, n); err == nil {
			err = r.c.bytesKey(b)
		}
	default:
		err = errKey
	}
	if err == nil {
		r.c.key(start)
	}
	return err
}

func (r *cborReader) simple(info byte, n uint64) error {
	switch {
	case n == 20 && info < 24, n == 21 && info < 24:
		r.c.boolean(n == 21)
	case n == 22 && info < 24, n == 23 && info < 24:
		r.c.null()
	case info == 24 && n < 32:
		return errCBOR
	case info <= 24:
		return errSimple
	default:
		return r.c.float(float(info, n))
	}
	return nil
}

// float is the float that has the additional information and the argument.
func float(info byte, n uint64) float64 {
	switch info {
	case 25:
		return float64(float16.Frombits(uint16(n)).Float32())
	case 26:
		return float64(math.Float32frombits(uint32(n)))
	}
	return math.Float64frombits(n)
}

// tag reads what is in a tag (the registry of CBOR tags of the IANA).
func (r *cborReader) tag(depth int, n uint64) error {
	was := r.spelling
	defer func() { r.spelling = was }()
	switch {
	case n == 2, n == 3:
		return r.bignum(n == 3)
	case n <= 1 && r.c.to.takesInstants():
		return r.instant(n)
	case n == 21:
		r.spelling = base64url
	case n == 22:
		r.spelling = base64padded
	case n == 23:
		r.spelling = base16
	case n == 4, n == 5, n == 30, 264 <= n && n <= 270, // parts of numbers
		n == 6, n == 25, n == 29, n == 105, 57337 <= n && n <= 57343: // references
		return errTag
	}
	return r.value(depth + 1)
}

func (r *cborReader) bignum(negative bool) error {
	major, info, n, err := r.head()
	if err != nil || major != majorBytes {
		return errCBOR
	}
	b, err := r.str(major, info, n)
	if err != nil {
		return err
	}
	i, err := largeInteger(negative, new(big.Int).SetBytes(b))
	if err != nil {
		return err
	}
	return r.c.integer(i)
}

// instant reads a point in time: a text after tag 0, or the seconds since 1970 after
// tag 1.
func (r *cborReader) instant(tag uint64) error {
	major, info, n, err := r.head()
	if err != nil {
		return err
	}
	switch {
	case tag == 0 && major == majorText:
		text, err := r.str(major, info, n)
		if err != nil {
			return err
		}
		t, ok := parseInstant(string(text))
		if !ok {
			return errCBOR
		}
		return r.c.instant(t)
	case tag == 1 && major <= majorNegative && n <= farthest:
		seconds := int64(n)
		if major == majorNegative {
			seconds = -1 - seconds
		}
		return r.c.instant(time.Unix(seconds, 0))
	case tag == 1 && major <= majorNegative:
		return errTime
	case tag == 1 && major == majorSimple && info > 24:
		f := float(info, n)
		if !(math.Abs(f) <= farthest) { // nor is NaN
			return errTime
		}
		seconds := math.Floor(f)
		return r.c.instant(time.Unix(int64(seconds), int64(math.Round((f-seconds)*1e9))))
	}
	return errCBOR
}

// parseInstant reads a point in time as RFC 3339 has it. The package time also takes hours
// of one digit, commas, and offsets of 24 hours or 60 minutes.
func parseInstant(text string) (time.Time, bool) {
	t, err := time.Parse(time.RFC3339Nano, text)
	if err != nil || text[len("2006-01-02T15")] != ':' || strings.Contains(text, ",") {
		return t, false
	}
	hours, minutes := text[len(text)-len("07:00"):][:2], text[len(text)-len("00"):]
	return t, strings.HasSuffix(text, "Z") || hours < "24" && minutes < "60"
}

// farthest is more seconds than there are from 1970 to the years 0 and 9999.
const farthest = 1 << 38
