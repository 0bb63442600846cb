package bulletin

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/wsgateway/caddy-ws-gateway/fleet"
)

const (
	maxData    = 64 << 10 // of a record
	maxWaiting = 200_000  // records in the outbox
	atOnce     = 500      // records told to the engine at once, and learned without a pause
	atOnceSize = 1 << 20  // bytes of them
)

// outbox is what this node has to tell, and has told.
type outbox struct {
	stamped map[string]bool // kinds of which it is known when a record was said

	mu      sync.Mutex
	waiting map[ref]*entry
	queue   []*entry // those of waiting
	// echoes are what was told and has not come back by the log. What comes before them is
	// older than what this node has.
	echoes map[ref]nonce // of nothing for what was deleted
	// touched are what was said since the union began, which knows older versions only.
	touched map[ref]struct{}
	stamps  map[ref]uint64 // of what is on the shelves, of the kinds in stamped
	clock   uint64         // the largest stamp that is known
}

// entry is a record to be told, of which only the latest version counts.
type entry struct {
	ref
	version
	told chan struct{} // closed when it is
}

func (o *outbox) init(stamped map[string]bool) {
	o.stamped = stamped
	o.waiting, o.echoes, o.stamps = make(map[ref]*entry), make(map[ref]nonce), make(map[ref]uint64)
}

var errFull = errors.New("too many records wait for the engine of the fleet")

// put adds what the operator has said.
func (o *outbox) put(r ref, data []byte) (told <-chan struct{}, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	e := o.waiting[r]
	if e == nil {
		if len(o.waiting) >= maxWaiting {
			return nil, errFull
		}
		e = &entry{ref: r, told: make(chan struct{})}
		o.waiting[r] = e
		o.queue = append(o.queue, e)
	}
	e.version = version{data: data, stamp: o.tickLocked()}
	o.markLocked(r, e.version)
	if o.touched != nil {
		o.touched[r] = struct{}{}
	}
	return e.told, nil
}

func (o *outbox) tickLocked() uint64 {
	o.clock = max(o.clock+1, uint64(time.Now().UnixMicro()))
	return o.clock
}

// mark remembers which version of a record is on the shelf.
func (o *outbox) mark(r ref, v version) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.markLocked(r, v)
}

func (o *outbox) markLocked(r ref, v version) {
	o.clock = max(o.clock, v.stamp)
	switch {
	case !o.stamped[r.kind]:
	case v.data == nil:
		delete(o.stamps, r)
	default:
		o.stamps[r] = v.stamp
	}
}

// stamp returns the stamp of what is on the shelf; 0 where it is not known.
func (o *outbox) stamp(r ref) uint64 {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.stamps[r]
}

// next returns copies of the entries to be told next.
func (o *outbox) next() (some []entry) {
	o.mu.Lock()
	defer o.mu.Unlock()
	size := 0
	for _, e := range o.queue {
		if size += len(e.data); len(some) == atOnce || len(some) > 0 && size > atOnceSize {
			break
		}
		some = append(some, *e)
	}
	return some
}

// all returns what waits, in order.
func (o *outbox) all() []fleet.Record {
	o.mu.Lock()
	defer o.mu.Unlock()
	all := make([]fleet.Record, 0, len(o.queue))
	for _, e := range o.queue {
		all = append(all, fleet.Record{Kind: e.kind, ID: e.id, Data: e.data})
	}
	return all
}

// expect begins to wait for what is about to be told, as the first of the queue.
func (o *outbox) expect(some []entry, nonces []nonce) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for i, n := range nonces {
		o.echoes[some[i].ref] = n
	}
}

// done takes out of the queue what was told, except for what was said anew meanwhile.
func (o *outbox) done(some []entry) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for i, e := range o.queue[:len(some)] {
		o.queue[i] = nil
		if e.stamp != some[i].stamp {
			o.queue = append(o.queue, e)
			continue
		}
		delete(o.waiting, e.ref)
		close(e.told)
	}
	o.queue = o.queue[len(some):]
}

// begin begins a union: what the engine has got so far is among what it loads.
func (o *outbox) begin() {
	o.mu.Lock()
	defer o.mu.Unlock()
	clear(o.echoes)
	o.touched = make(map[ref]struct{}, len(o.waiting))
	for r := range o.waiting {
		o.touched[r] = struct{}{}
	}
}

// settle ends a union.
func (o *outbox) settle() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.touched = nil
}

// isTouched reports whether the record was said since the union began.
func (o *outbox) isTouched(r ref) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	_, ok := o.touched[r]
	return ok
}

// isWaiting reports whether this node has a later version than any in the log.
func (o *outbox) isWaiting(r ref) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.waiting[r] != nil
}

// isNews reports whether what the log says is not older than what this node has said.
func (o *outbox) isNews(r ref, n nonce) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	echo, expected := o.echoes[r]
	if expected && echo == n {
		delete(o.echoes, r)
		expected = false
	}
	return !expected && o.waiting[r] == nil
}

// check returns an error for what is no record.
func (b *Board) check(r ref, data []byte) error {
	switch {
	case b.config.Shelves[r.kind] == nil:
		return fmt.Errorf("there is no kind of records %q", r.kind)
	case len(data) > maxData:
		return fmt.Errorf("a record has %d bytes, and may have %d", len(data), maxData)
	case data != nil && len(data) == 0:
		return errors.New("a record is empty")
	}
	return nil
}
