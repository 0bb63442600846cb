// Package memory has an engine inside the process, which the nodes of one process share:
// those of a test, or a single one. What it answers is what any engine has to answer.
package memory

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/wsgateway/caddy-ws-gateway/fleet"
)

// errStale is the error about a batch or a share that comes too late.
var errStale = errors.New("the engine has a later word of the node: this one is dropped")

// errClosed is the error of an engine whose use has ended.
var errClosed = errors.New("the engine is closed")

// Fleet is what the engines of several nodes have in common. It has no goroutines.
type Fleet struct {
	now func() time.Time

	mu        sync.Mutex
	nodes     map[string]*node       // by ID
	rates     map[string]time.Time   // when a rate has nothing to be held against any more
	records   map[recordName][]byte  // those that are not deleted
	log       []entry                // the latest, oldest first
	logged    uint64                 // position of the last entry there ever was
	listeners map[*listener]struct{} // of all engines
	failing   error                  // what each call returns, if not nil
	stalled   chan struct{}          // closed by Resume; nil while calls are answered
	late      []func()               // calls that were given up while they were stalled
}

// node is what a node has, until it is void.
type node struct {
	seq    uint64
	void   time.Time
	seen   time.Time
	info   []byte
	counts map[string]int
	held   map[string]int
}

// New returns a fleet without nodes, whose time is told by now.
func New(now func() time.Time) *Fleet {
	f := &Fleet{now: now, listeners: make(map[*listener]struct{})}
	f.clear()
	return f
}

func (f *Fleet) clear() {
	f.nodes = make(map[string]*node)
	f.rates = make(map[string]time.Time)
	f.records = make(map[recordName][]byte)
	f.log = nil
}

// Engine returns the engine of another node.
func (f *Fleet) Engine() fleet.Engine { return &engine{fleet: f, closed: make(chan struct{})} }

// Fail makes all calls return the error, and ends those to Listen, until it is called
// with nil.
func (f *Fleet) Fail(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.failing = err
	if err != nil {
		for l := range f.listeners {
			l.end(err)
		}
	}
}

// Stall makes calls wait until they are given up, or Resume is called, which still does
// those that were given up, as a server does that was paused.
func (f *Fleet) Stall() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.stalled == nil {
		f.stalled = make(chan struct{})
	}
}

// Resume ends what Stall began.
func (f *Fleet) Resume() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.stalled == nil {
		return
	}
	close(f.stalled)
	f.stalled = nil
	for _, apply := range f.late {
		apply()
	}
	f.late = nil
}

// Flush forgets everything, except for who listens.
func (f *Fleet) Flush() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.clear()
}

// engine is the Engine of one node.
type engine struct {
	fleet  *Fleet
	once   sync.Once
	closed chan struct{}
}

// do calls apply under the fleet's lock, once the fleet answers.
func (e *engine) do(ctx context.Context, apply func()) error {
	f := e.fleet
	for {
		stalled, err := e.try(ctx, apply)
		if stalled == nil {
			return err
		}
		select {
		case <-stalled:
		case <-e.closed:
		case <-ctx.Done():
			return f.giveUp(ctx, apply)
		}
	}
}

// try calls apply, or returns what to wait for before it is tried again.
func (e *engine) try(ctx context.Context, apply func()) (stalled chan struct{}, err error) {
	f := e.fleet
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case e.isClosed():
		return nil, errClosed
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case f.failing != nil:
		return nil, f.failing
	case f.stalled != nil:
		return f.stalled, nil
	}
	apply()
	return nil, nil
}

// giveUp leaves apply to Resume.
func (f *Fleet) giveUp(ctx context.Context, apply func()) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.stalled != nil {
		f.late = append(f.late, apply)
	}
	return ctx.Err()
}

// isClosed is called with the fleet's lock held.
func (e *engine) isClosed() bool {
	select {
	case <-e.closed:
		return true
	default:
		return false
	}
}

// Close implements [fleet.Engine].
func (e *engine) Close() { e.once.Do(func() { close(e.closed) }) }
