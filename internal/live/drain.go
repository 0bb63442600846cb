package live

import (
	"cmp"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/wsgateway/caddy-ws-gateway/internal/balance"
	"github.com/wsgateway/caddy-ws-gateway/internal/panics"
)

// SetState sets the state of an upstream by an operator's word, and drains the
// upstream if the state says so.
func (s *Set) SetState(address string, state balance.State) {
	s.Ledger.SetState(address, state)
	if state == balance.Drain {
		s.drain(func(c *Conn) bool { return c.Upstream == address })
	}
}

// stays reports whether nothing asks for the connection to leave its upstream.
func (s *Set) stays(c *Conn) bool {
	return s.wanted(c) && s.Ledger.Look(c.Upstream).State != balance.Drain
}

// drain ends the connections that match, each within the drain period that it was
// opened with: idle ones first, evenly, with jitter. A connection stays where its
// upstream comes back in the meantime.
func (s *Set) drain(match func(*Conn) bool) {
	s.drainWhile(match, func(c *Conn) bool { return !s.stays(c) })
}

// DrainGateway drains the connections of a gateway at an upstream, each only where
// still is true when its turn has come.
func (s *Set) DrainGateway(gateway, upstream string, still func() bool) {
	s.drainWhile(
		func(c *Conn) bool { return c.Gateway == gateway && c.Upstream == upstream },
		func(*Conn) bool { return still() },
	)
}

// drainWhile is drain for another reason: each connection is ended only where still is
// true when its turn has come.
func (s *Set) drainWhile(match, still func(*Conn) bool) {
	s.schedule(s.list(match), plan{within: (*Conn).drainPeriod, still: still})
}

// plan is how connections are drained.
type plan struct {
	within func(*Conn) time.Duration // how long it takes until the connection is ended, at most
	still  func(*Conn) bool          // whether the connection is ended when its turn has come
	over   <-chan struct{}           // closed when nobody's turn comes any more; nil for never
}

// schedule has the connections ended as planned: idle ones first, evenly, with jitter.
func (s *Set) schedule(draining []*Conn, p plan) {
	if len(draining) == 0 {
		return
	}
	idleSince := make(map[*Conn]time.Time, len(draining))
	for _, c := range draining {
		idleSince[c] = c.Link.LastActive()
	}
	slices.SortFunc(draining, func(a, b *Conn) int { return idleSince[a].Compare(idleSince[b]) })
	start := time.Now()
	departures := make([]*departure, len(draining))
	for i, c := range draining {
		after := departAfter(p.within(c), i, len(draining))
		departures[i] = &departure{connection: c, after: after, at: start.Add(after), still: p.still}
		s.announce(departures[i])
	}
	slices.SortFunc(departures, func(a, b *departure) int { return cmp.Compare(a.after, b.after) })
	go s.runDrain(start, departures, p.over)
}

// departAfter is when the i-th of n connections is ended: somewhere within its
// n-th part of the period.
func departAfter(period time.Duration, i, n int) time.Duration {
	part := float64(period) / float64(n)
	return time.Duration(part * (float64(i) + rand.Float64())) //nolint:gosec // jitter needs no secrecy
}

func (s *Set) runDrain(start time.Time, departures []*departure, over <-chan struct{}) {
	defer panics.Contain()
	for i, d := range departures {
		if wait := d.after - time.Since(start); wait > 0 {
			select {
			case <-time.After(wait):
			case <-s.gone(d.connection):
				continue
			case <-over:
				s.callOff(departures[i:]...)
				return
			}
		}
		s.depart(d)
	}
}

// depart ends the connection, if that is still to be.
func (s *Set) depart(d *departure) {
	defer d.connection.contain() // there are others to be ended
	if !d.still(d.connection) {
		s.callOff(d)
		return
	}
	d.connection.end(endDrain)
}
