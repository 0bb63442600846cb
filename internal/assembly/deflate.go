package assembly

import (
	"sync"

	"github.com/klauspost/compress/flate"

	"github.com/wsgateway/caddy-ws-gateway/internal/panics"
)

// worthIt is from how many bytes on a message is compressed, if that makes it smaller.
const worthIt = 512

// deflater compresses one message after the other, of any connection: without what went
// before, so that no connection has to keep a window.
type deflater struct {
	to    sink
	flate *flate.Writer
}

// sink collects what is written to it.
type sink struct{ p []byte }

func (s *sink) Write(p []byte) (int, error) {
	s.p = append(s.p, p...)
	return len(p), nil
}

// deflaters are pools by the bits of the window that the receiver has.
var deflaters [16]sync.Pool

// deflate appends the compressed payload to dst. It fails where that is not smaller.
func deflate(dst, payload []byte, bits int) (_ []byte, ok bool) {
	d, _ := deflaters[bits].Get().(*deflater)
	if d == nil {
		d = newDeflater(bits)
	}
	defer func() {
		d.to.p = nil
		deflaters[bits].Put(d)
	}()
	d.to.p = dst
	d.flate.Reset(&d.to)
	if _, err := d.flate.Write(payload); err != nil {
		return dst, false
	}
	if err := d.flate.Flush(); err != nil {
		return dst, false
	}
	size := len(d.to.p) - len(dst) - 4 // without 00 00 ff ff (RFC 7692, section 7.2.1)
	if size <= 0 || size >= len(payload) {
		return d.to.p[:len(dst)], false
	}
	return d.to.p[:len(dst)+size], true
}

func newDeflater(bits int) *deflater {
	d := new(deflater)
	var err error
	if bits < 15 {
		d.flate, err = flate.NewWriterWindow(&d.to, 1<<bits)
	} else {
		d.flate, err = flate.NewWriter(&d.to, flate.BestSpeed)
	}
	if err != nil {
		panic(panics.Fault("assembly: no deflater: a window that flate does not have"))
	}
	return d
}
