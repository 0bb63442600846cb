package assembly

import (
	"bytes"
	"errors"
	"io"
	"sync"

	"github.com/klauspost/compress/flate"
)

// Why a compressed message cannot be had.
var (
	errTooBig = errors.New("assembly: inflates to more than the limit")
	errBroken = errors.New("assembly: not deflated")
)

// window is how far back a compressed message may refer (RFC 7692, section 7.1.2).
const window = 32 << 10

// tail stands for what the sender has cut off (section 7.2.2), and for an end.
const tail = "\x00\x00\xff\xff\x01\x00\x00\xff\xff"

// Blocks that say they are the last cost much more than others: what went before has to be
// put in place anew. So a message may have a few, and one more for each so many bytes.
const (
	mostLasts    = 16
	bytesPerLast = 1 << 10
)

// inflater inflates one message after the other, of any connection.
type inflater struct {
	from  bytes.Reader
	flate io.ReadCloser
}

var inflaters = sync.Pool{New: func() any {
	i := new(inflater)
	i.flate = flate.NewReader(&i.from)
	return i
}}

// inflate puts into a room, or into a larger one that it returns in place of that, what a
// message says. compressed has room for the tail, or is copied. dict is what the sender
// has sent before, where that counts.
func inflate(into *room, compressed, dict []byte, most int) (*room, error) {
	i := inflaters.Get().(*inflater) //nolint:forcetypeassert // it holds nothing else
	defer func() {
		i.from.Reset(nil)
		inflaters.Put(i)
	}()
	if len(compressed) == 0 {
		return into, nil // which some make of an empty message
	}
	i.from.Reset(append(compressed, tail...))
	lasts := mostLasts + len(compressed)/bytesPerLast
	for ; i.from.Len() > 0; lasts-- { // a message may have several last blocks (section 7.2.3.4)
		if lasts < 0 {
			return into, errBroken
		}
		if err := i.flate.(flate.Resetter).Reset(&i.from, lastOf(into.p, dict)); err != nil {
			return into, errBroken
		}
		var err error
		if into, err = readUpTo(i.flate, into, most); err != nil {
			return into, err
		}
		if i.from.Len() == len(tail) {
			break // the sender has cut off more than it should, behind a last block
		}
	}
	return into, nil
}

// lastOf returns what a message may refer to that has said so much, after dict.
func lastOf(said, dict []byte) []byte {
	switch {
	case len(said) == 0:
		return dict
	case len(said) >= window || len(dict) == 0:
		return said[max(0, len(said)-window):]
	}
	all := append(bytes.Clone(dict), said...)
	return all[max(0, len(all)-window):]
}

// readUpTo adds what r has, until there is more than most.
func readUpTo(r io.Reader, into *room, most int) (*room, error) {
	for {
		if len(into.p) == cap(into.p) {
			into = into.larger()
		}
		have := len(into.p)
		n, err := r.Read(into.p[have:min(cap(into.p), most+1)])
		into.p = into.p[:have+n]
		switch {
		case len(into.p) > most:
			return into, errTooBig
		case errors.Is(err, io.EOF):
			return into, nil
		case err != nil:
			return into, errBroken
		}
	}
}
