package convert

import (
	"bytes"
	"errors"
	"hash/maphash"
	"math/bits"
	"slices"
	"sync"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/wsgateway/caddy-ws-gateway/messages"
)

// format is a format of messages.
type format struct {
	in   messages.Type // of the messages that have it
	read func(c *conversion, payload []byte) error
	writer
}

// names are the formats, as configurations have them.
var names = []string{"json", "cbor", "msgpack"}

var formats = map[string]*format{
	"json":    {in: messages.Text, read: readJSON, writer: jsonWriter{}},
	"cbor":    {in: messages.Binary, read: readCBOR, writer: cborWriter{}},
	"msgpack": {in: messages.Binary, read: readMsgpack, writer: msgpackWriter{}},
}

// writer appends what has been read, in a format. Texts that it gets are valid UTF-8.
type writer interface {
	null(out []byte) []byte
	boolean(out []byte, b bool) []byte
	integer(out []byte, i integer) ([]byte, error)
	float(out []byte, f float64) ([]byte, error)
	text(out, text []byte) []byte
	bytes(out, b []byte, s spelling) []byte
	instant(out []byte, t time.Time) []byte

	integerKey(out []byte, i integer) ([]byte, error)
	bytesKey(out, b []byte) ([]byte, error)

	// What is before, between and after elements, and between a key and its value.
	open(out []byte, k kind) []byte
	comma(out []byte) []byte
	colon(out []byte) []byte
	close(out []byte, k kind) []byte

	// head is what open leaves one byte for, where a format needs one.
	head(out []byte, k kind, n int) []byte

	// takesInstants is whether a point in time is a type of its own.
	takesInstants() bool
}

// kind is an array or a map, which JSON calls an object.
type kind byte

const (
	array kind = iota
	object
)

// deepest is how deep values may be nested, as most libraries allow.
const deepest = 512

// conversion is the conversion of one message: what is read is written to out at once,
// without a tree in between.
type conversion struct {
	to   writer
	out  []byte
	keys []span // in out: those of the objects that are being read
	late []head // of what is longer than one byte tells

	deadline time.Time // zero for none
	steps    int       // since the last look at the clock

	room    [9]byte  // for a head
	scratch []byte   // the text that is being read
	table   []uint32 // of unique

	json    *jsontext.Decoder
	payload bytes.Buffer // what json reads
}

type span struct{ start, end int }

// head is a head that has yet to be put in place of the byte at a place of out.
type head struct {
	kind  kind
	at, n int
}

// conversions are those that have been done. What they have grown to is used again.
var conversions = sync.Pool{New: func() any { return new(conversion) }}

// mostKept is how large a buffer may be that is kept for later.
const mostKept = 256 << 10

// convert returns the payload in another format, in the place of the payload if it is
// not longer. A payload that cannot be converted, for which the error is a fault, stays
// as it is, and so does one that is not converted by the deadline, zero for none.
func convert(payload []byte, from, to *format, deadline time.Time) ([]byte, error) {
	c := conversions.Get().(*conversion)
	c.to, c.deadline, c.steps = to.writer, deadline, 0
	err := from.read(c, payload)
	var converted []byte
	if err == nil {
		converted = c.finish(payload)
	}
	if cap(c.out)+cap(c.scratch) <= mostKept && cap(c.keys)+cap(c.late)+cap(c.table) <= mostKept/16 {
		c.out, c.keys, c.late, c.scratch = c.out[:0], c.keys[:0], c.late[:0], c.scratch[:0]
		conversions.Put(c)
	}
	return converted, err
}

// finish returns what was written, with the heads that were put off.
func (c *conversion) finish(payload []byte) []byte {
	size := len(c.out)
	for _, h := range c.late {
		size += len(c.to.head(c.room[:0], h.kind, h.n)) - 1
	}
	converted := payload[:0]
	if size > len(payload) {
		converted = make([]byte, 0, size)
	}
	// What is inside was finished before what it is in.
	slices.SortFunc(c.late, func(a, b head) int { return a.at - b.at })
	done := 0
	for _, h := range c.late {
		converted = append(converted, c.out[done:h.at]...)
		converted = c.to.head(converted, h.kind, h.n)
		done = h.at + 1
	}
	return append(converted, c.out[done:]...)
}

// stepsPerLook is how many steps are taken between looks at the clock.
const stepsPerLook = 4096

var errDeadline = errors.New("convert: it takes longer than the budget of the message")

// step counts a value, or a part of one, and fails if the deadline is over.
func (c *conversion) step() error {
	if c.steps++; c.steps < stepsPerLook {
		return nil
	}
	c.steps = 0
	if !c.deadline.IsZero() && time.Now().After(c.deadline) {
		return errDeadline
	}
	return nil
}

// open begins an array or an object, and returns where.
func (c *conversion) open(k kind) int {
	at := len(c.out)
	c.out = c.to.open(c.out, k)
	return at
}

// next goes on to the i-th element.
func (c *conversion) next(i int) {
	if i > 0 {
		c.out = c.to.comma(c.out)
	}
}

// close ends the array or the object that has begun at a place, and has n elements.
func (c *conversion) close(k kind, at, n int) {
	c.out = c.to.close(c.out, k)
	switch h := c.to.head(c.room[:0], k, n); len(h) {
	case 0:
	case 1:
		c.out[at] = h[0]
	default:
		c.late = append(c.late, head{k, at, n})
	}
}

// key notes that the key of an object is in out, from start.
func (c *conversion) key(start int) {
	c.keys = append(c.keys, span{start, len(c.out)})
	c.out = c.to.colon(c.out)
}

// fewKeys is how many keys are compared each with each.
const fewKeys = 8

var seed = maphash.MakeSeed()

// unique returns a fault if two are equal of the keys from first, those of an object
// that has been read, and forgets these. They are compared as they were written, which
// is always the same for the same key.
func (c *conversion) unique(first int) error {
	keys := c.keys[first:]
	c.keys = c.keys[:first]
	if len(keys) <= fewKeys {
		for i, a := range keys {
			for _, b := range keys[:i] {
				if c.equal(a, b) {
					return errDuplicate
				}
			}
		}
		return nil
	}
	size := 1 << bits.Len(uint(2*len(keys)))
	c.table = slices.Grow(c.table[:0], size)[:size]
	clear(c.table)
	for i, a := range keys {
		slot := int(maphash.Bytes(seed, c.out[a.start:a.end])) & (size - 1)
		for c.table[slot] != 0 {
			if c.equal(a, keys[c.table[slot]-1]) {
				return errDuplicate
			}
			slot = (slot + 1) & (size - 1)
		}
		c.table[slot] = uint32(i + 1)
	}
	return nil
}

func (c *conversion) equal(a, b span) bool {
	return bytes.Equal(c.out[a.start:a.end], c.out[b.start:b.end])
}

// put takes what a writer returns that may fail.
func (c *conversion) put(out []byte, err error) error {
	if err == nil {
		c.out = out
	}
	return err
}

func (c *conversion) null()                      { c.out = c.to.null(c.out) }
func (c *conversion) boolean(b bool)             { c.out = c.to.boolean(c.out, b) }
func (c *conversion) text(t []byte)              { c.out = c.to.text(c.out, t) }
func (c *conversion) bytes(b []byte, s spelling) { c.out = c.to.bytes(c.out, b, s) }
func (c *conversion) integer(i integer) error    { return c.put(c.to.integer(c.out, i)) }
func (c *conversion) float(f float64) error      { return c.put(c.to.float(c.out, f)) }
func (c *conversion) integerKey(i integer) error { return c.put(c.to.integerKey(c.out, i)) }
func (c *conversion) bytesKey(b []byte) error    { return c.put(c.to.bytesKey(c.out, b)) }

// instant takes a point in time that RFC 3339 has.
func (c *conversion) instant(t time.Time) error {
	t = t.UTC()
	if year := t.Year(); year < 0 || year > 9999 {
		return errTime
	}
	c.out = c.to.instant(c.out, t)
	return nil
}
