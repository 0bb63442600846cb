//go:build linux

package main

import (
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// regulars are connections that go on echoing while others come.
type regulars struct {
	loops   []*generator
	echoes  [][]echoed // a slice for each loop, which belongs to it until it has ended
	running sync.WaitGroup
	errs    []error
}

// echoed is when an echo was due, and how long it took from then, in ns.
type echoed struct{ due, took int64 }

// keepEchoing puts paced traffic on connections of its own.
func (c client) keepEchoing(t traffic) (*regulars, error) {
	links, err := c.dialMany(t.conns, "/")
	if err != nil {
		return nil, err
	}
	r := &regulars{loops: make([]*generator, 2), echoes: make([][]echoed, 2), errs: make([]error, 2)}
	for i := range r.loops {
		g, err := newGenerator(t, new(atomic.Bool))
		if err != nil {
			closeAll(links)
			return nil, err
		}
		r.loops[i] = g
		r.echoes[i] = make([]echoed, 0, 1<<18)
		g.received = func(s *sock, p []byte) error {
			return s.in.take(g.shape, p, func(st stamp) error {
				r.echoes[i] = append(r.echoes[i], echoed{st.due, time.Now().UnixNano() - st.due})
				return g.got(s, st)
			})
		}
		for at := i; at < len(links); at += len(r.loops) {
			if err := links[at].give(g.loop, uint32(at)); err != nil {
				return nil, err
			}
		}
	}
	for i, g := range r.loops {
		r.running.Go(func() { r.errs[i] = g.play() })
	}
	return r, nil
}

// stop ends the traffic and the connections.
func (r *regulars) stop() error {
	for _, g := range r.loops {
		g.stop.Store(true)
	}
	r.running.Wait()
	for i, g := range r.loops {
		g.close()
		r.errs[i] = errors.Join(r.errs[i], g.failed)
	}
	return errors.Join(r.errs...)
}

// between are the times of the echoes that were due between two moments, sorted. The
// traffic must have been stopped.
func (r *regulars) between(from, to time.Time) []int64 {
	var times []int64
	for _, list := range r.echoes {
		for _, e := range list {
			if e.due >= from.UnixNano() && e.due < to.UnixNano() {
				times = append(times, e.took)
			}
		}
	}
	slices.Sort(times)
	return times
}
