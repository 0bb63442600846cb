package durable

import (
	"context"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/wsgateway/caddy-ws-gateway/internal/panics"
)

const (
	tick      = 2 * time.Second        // between looks at the journals of the others
	moment    = 500 * time.Millisecond // in which the journal is written once, at most, for changes
	heartbeat = 3 * time.Minute        // between two writings of the own journal while nothing changes
	retry     = 500 * time.Millisecond // after the first pass that fails, and then twice that
	passes    = 5 * time.Minute        // between passes
	lapses    = 10 * time.Second       // between looks for what is over
	settling  = 3 * time.Second        // after the attachment nothing is deleted
	patience  = 8 * time.Second        // of an attachment that waits for the records
	parting   = 2 * time.Second        // for the last journal
	workers   = 8                      // calls to the storage at a time
)

// run is the time in which a vault is current.
type run struct {
	began time.Time
	stop  context.CancelFunc
	loops sync.WaitGroup
}

// start has the vault followed. Everything is loaded first, also what is known: others
// may have changed it while another vault was current.
func (v *vault) start() {
	ctx, stop := context.WithCancel(context.Background())
	r := &run{began: time.Now(), stop: stop}
	v.begin(r)
	v.want()
	for _, loop := range []func(context.Context){v.keep, v.listen, v.speak, v.mend} {
		r.loops.Go(func() {
			defer panics.Contain()
			loop(ctx)
		})
	}
}

func (v *vault) begin(r *run) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.run, v.carried = r, false
	if !v.wrote.IsZero() {
		v.wrote = v.wrote.Add(-heartbeat) // it says that it has ended
	}
}

// finish ends the loops, and returns when they are over.
func (r *run) finish() {
	if r != nil {
		r.stop()
		r.loops.Wait()
	}
}

// end takes the run from the vault.
func (v *vault) end() *run {
	v.mu.Lock()
	defer v.mu.Unlock()
	r := v.run
	v.run = nil
	return r
}

// listen reads the journals of the others.
func (v *vault) listen(ctx context.Context) {
	every(ctx, tick, func() { v.hear(ctx) })
}

// mend writes what could not be written.
func (v *vault) mend(ctx context.Context) {
	every(ctx, tick, func() { v.repay(ctx) })
}

// speak writes the journal where no change has done so.
func (v *vault) speak(ctx context.Context) {
	every(ctx, moment, func() {
		if v.hasNews() {
			v.log(&v.journals, v.writeJournal(ctx))
		}
	})
}

// keep makes passes, and has what is over deleted.
func (v *vault) keep(ctx context.Context) {
	ticker := time.NewTicker(lapses)
	defer ticker.Stop()
	timer := time.NewTimer(0)
	defer timer.Stop()
	failures := 0
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			protected(func() { v.lapse(ctx) })
			continue
		case <-timer.C:
		case <-v.asked:
		}
		select {
		case <-v.asked: // this pass is the answer
		default:
		}
		if failures++; v.check(ctx) {
			failures = 0
		}
		timer.Reset(v.next(failures))
	}
}

// check makes a pass, and reports whether it found everything.
func (v *vault) check(ctx context.Context) (all bool) {
	defer panics.Contain()
	err := v.pass(ctx)
	v.log(&v.reads, err)
	return err == nil
}

// next returns how long it is to the next pass.
func (v *vault) next(failures int) time.Duration {
	v.mu.Lock()
	defer v.mu.Unlock()
	switch {
	case failures > 0:
		return min(retry<<min(failures, 10), time.Minute)
	case v.again:
		v.again = false
		return settling
	}
	return passes
}

// log says when something begins to fail and when it works again.
func (v *vault) log(h *health, err error) {
	switch {
	case v.isOver():
	case err != nil && h.turns(true):
		v.logger().Warn("the storage fails, so that changes of other processes are not in force here, or those of this one there; trying again", zap.Error(err))
	case err == nil && h.turns(false):
		v.logger().Info("the storage works again")
	}
}

// isOver reports whether the vault is not current any more, so that calls are cut off.
func (v *vault) isOver() bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.run == nil
}

// every calls f at intervals until ctx is over.
func every(ctx context.Context, interval time.Duration, f func()) {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			protected(f)
		}
	}
}

func protected(f func()) {
	defer panics.Contain()
	f()
}

// each calls f with every item, some at a time, until ctx is over.
func each[T any](ctx context.Context, items []T, f func(T)) {
	var group sync.WaitGroup
	next := make(chan T)
	for range min(workers, len(items)) {
		group.Go(func() {
			for item := range next {
				protected(func() { f(item) })
			}
		})
	}
	defer group.Wait()
	defer close(next)
	for _, item := range items {
		select {
		case next <- item:
		case <-ctx.Done():
			return
		}
	}
}

// errs keeps the first error of several calls.
type errs struct {
	mu    sync.Mutex
	first error
}

func (e *errs) add(err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.first == nil {
		e.first = err
	}
}

// join returns the first error, if only that ctx is over.
func (e *errs) join(ctx context.Context) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.first == nil {
		return ctx.Err()
	}
	return e.first
}
