// Package lull gives memory back in the lull after a storm of openings.
//
// A handshake leaves garbage and pooled buffers behind, some 30 KiB where thousands come
// at once. What it makes is quiet: nothing is allocated for it any more, and so Go's
// collector would not run for up to two minutes.
package lull

import (
	"math"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"sync/atomic"
	"time"

	"github.com/wsgateway/caddy-ws-gateway/internal/panics"
)

const (
	// So many openings within so long are a storm, and not more than so many from one
	// look to the next are its lull.
	storm  = 1000
	within = 10 * time.Second
	lull   = 20

	lookEvery = time.Second
	giveEvery = 30 * time.Second

	// Less than that is not worth a collection, nor less than this part of what lives.
	worthwhile = 4 << 20
	part       = 8
)

// watcher looks out for lulls.
type watcher struct {
	collections func() uint64 // that came of themselves so far
	worth       func() bool   // there is enough to be given back
	give        func()

	opened atomic.Int64              // since
	since  atomic.Pointer[time.Time] // nil for as long as there is nothing to count

	looks     atomic.Bool // somebody does, or will; guards what follows
	seen      int64       // of opened, when it was last looked at
	collected uint64      // and of collections
	given     time.Time   // when memory was last given back
}

var process = watcher{collections: collections, worth: worth, give: give}

// Opened notes that a connection was opened.
func Opened() { process.note() }

func (w *watcher) note() {
	n := w.opened.Add(1)
	if n > 1 && (n < storm || w.looks.Load()) {
		return
	}
	now := time.Now()
	since := w.since.Load()
	switch {
	case n == 1 || since == nil || now.Sub(*since) > within:
		w.since.Store(&now)
		w.opened.Store(1)
	case n >= storm && !w.looks.Swap(true):
		w.seen, w.collected = 0, 0
		time.AfterFunc(lookEvery, w.look)
	}
}

// look gives memory back if the storm is over and the process has nothing else to do that
// makes garbage. Else it comes again.
func (w *watcher) look() {
	defer panics.Contain()
	opened, collected := w.opened.Load(), w.collections()
	calm := opened-w.seen <= lull && collected == w.collected
	w.seen, w.collected = opened, collected
	if wait := giveEvery - time.Since(w.given); !calm || wait > 0 {
		time.AfterFunc(max(lookEvery, wait), w.look)
		return
	}
	defer w.looks.Store(false)
	w.opened.Store(0)
	if w.worth() {
		w.given = time.Now()
		w.give()
	}
}

// give collects twice, since pools hold on to what they have for one collection.
func give() {
	runtime.GC()
	debug.FreeOSMemory()
}

// collections counts those that were not asked for.
func collections() uint64 {
	n, _ := read("/gc/cycles/automatic:gc-cycles")
	return n[0]
}

// worth reports whether much is garbage, or free and not given back. Where collections
// were turned off (GOGC), it is the operator who knows when there should be one.
func worth() bool {
	n, ok := read("/gc/gogc:percent", "/gc/heap/live:bytes", "/memory/classes/heap/objects:bytes", "/memory/classes/heap/free:bytes")
	percent, live, objects, free := n[0], n[1], n[2], n[3]
	return ok && percent != math.MaxUint64 && objects+free > live+max(live/part, worthwhile)
}

// read returns what the runtime counts. It fails if this version of Go does not.
func read(names ...string) (values []uint64, ok bool) {
	samples := make([]metrics.Sample, len(names))
	for i, name := range names {
		samples[i].Name = name
	}
	metrics.Read(samples)
	values = make([]uint64, len(names))
	for i, s := range samples {
		if s.Value.Kind() != metrics.KindUint64 {
			return values, false
		}
		values[i] = s.Value.Uint64()
	}
	return values, true
}
