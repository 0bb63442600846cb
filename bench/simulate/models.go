package main

import (
	"math"
	"time"

	"github.com/wsgateway/caddy-ws-gateway/internal/balance"
)

// model is a way to choose hosts, and to take them out.
type model interface {
	// choose returns a host for the client, nil where none takes connections.
	choose(c *client) *host
	// release tells that the client holds its place no longer.
	release(c *client)
	// takeOut empties a host and takes it down for a time.
	takeOut(h *host, down time.Duration)
	// grown tells that there are more hosts.
	grown()
	// tick is called every second.
	tick()
}

// models are compared with each other.
var models = []struct {
	name string
	make func(w *world) model
}{
	{"ours", func(w *world) model { return newOurs(w) }},
	{"ours, with rebalance", func(w *world) model {
		o := newOurs(w)
		o.moves = true
		return o
	}},
	{"ours, only the choice", func(w *world) model {
		w.slowStart = 0
		return &choice{newOurs(w)}
	}},
	{"least_conn, not atomic", func(w *world) model { return &stale{simple: simple{w}} }},
	{"round robin", func(w *world) model { return &roundRobin{simple: simple{w}} }},
	{"random", func(w *world) model { return &random{simple{w}} }},
}

// simple is what all but ours have in common: a host that is taken out just
// stops.
type simple struct{ *world }

func (simple) release(*client) {}
func (simple) grown()          {}
func (simple) tick()           {}

func (s simple) takeOut(h *host, down time.Duration) {
	s.stop(h)
	s.after(down, func() { h.up = true })
}

// stale takes the host that holds the least, but whoever comes within the time
// of a handshake sees what was there when that time began.
type stale struct {
	simple
	window time.Duration
	seen   []int
}

func (m *stale) choose(*client) *host {
	if window := m.now / m.latency; window != m.window || m.seen == nil {
		m.window, m.seen = window, m.seen[:0]
		for _, h := range m.hosts {
			m.seen = append(m.seen, len(h.live))
		}
	}
	var best *host
	least, ties := math.MaxInt, 0
	for i, h := range m.hosts[:len(m.seen)] {
		switch {
		case !h.takes():
		case m.seen[i] < least:
			best, least, ties = h, m.seen[i], 1
		case m.seen[i] == least:
			ties++
			if m.rng.IntN(ties) == 0 {
				best = h
			}
		}
	}
	return best
}

// roundRobin takes hosts in turn.
type roundRobin struct {
	simple
	last int
}

func (m *roundRobin) choose(*client) *host {
	for range m.hosts {
		m.last++
		if h := m.hosts[m.last%len(m.hosts)]; h.takes() {
			return h
		}
	}
	return nil
}

// random takes any host.
type random struct{ simple }

func (m *random) choose(*client) *host {
	var chosen *host
	for i, n := 0, 0; i < len(m.hosts); i++ {
		if h := m.hosts[i]; h.takes() {
			n++
			if m.rng.IntN(n) == 0 {
				chosen = h
			}
		}
	}
	return chosen
}

// ours is package balance, with the drain and the rebalance of the gateway.
type ours struct {
	*world
	ledger   *balance.Ledger
	balancer *balance.Balancer
	members  []balance.Member

	moves         bool // rebalances
	isRebalancing bool
}

func newOurs(w *world) *ours {
	o := &ours{world: w, ledger: balance.NewLedgerAt(w.clock)}
	o.grown()
	return o
}

// grown does what a reload does: another balancer, on the same ledger.
func (o *ours) grown() {
	for _, h := range o.hosts[len(o.members):] {
		o.members = append(o.members, balance.Member{Address: h.address, Weight: 1, Source: h})
	}
	before := o.balancer
	o.balancer = o.ledger.New(balance.Settings{Policy: balance.LeastConn{}, SlowStart: o.slowStart}, o.members)
	if before != nil {
		before.Close()
	}
}

func (o *ours) choose(c *client) *host {
	i, refusal := o.balancer.Acquire(&c.lease, balance.Ask{Use: balance.WebSocket})
	if refusal != balance.None {
		return nil
	}
	return o.hosts[i]
}

func (o *ours) release(c *client) { c.lease.Release() }

// takeOut drains the host first: evenly, with jitter.
func (o *ours) takeOut(h *host, down time.Duration) {
	h.leaving = true
	o.ledger.SetState(h.address, balance.Drain)
	part := float64(o.drain) / float64(len(h.live))
	for i, c := range h.live {
		o.afterFor(time.Duration(part*(float64(i)+o.rng.Float64())), c, departs)
	}
	o.after(o.drain, func() {
		o.stop(h)
		o.after(down, func() {
			h.up, h.leaving = true, false
			o.ledger.SetState(h.address, balance.Ready)
		})
	})
}

// choice is ours without a drain and without slow start, to show what choosing
// and counting in one step does by itself.
type choice struct{ *ours }

func (m *choice) takeOut(h *host, down time.Duration) { simple{m.world}.takeOut(h, down) }

func (o *ours) tick() {
	if o.moves && o.now >= 0 && !o.isRebalancing && o.balancer.Arrived() {
		o.beginRebalance()
	}
}

// beginRebalance moves as many as are above their share, at the pace that is set.
func (o *ours) beginRebalance() {
	shares := o.shares()
	for i := range shares {
		shares[i].Weight = 1 // what it is to be when slow start is over
	}
	budget := balance.Surplus(shares)
	if _, uneven := balance.Fullest(shares); !uneven || budget == 0 {
		return
	}
	o.isRebalancing = true
	pace := time.Duration(float64(time.Minute) / (float64(o.live) * o.rebalance / 100))
	until := o.now + o.slowStart + time.Duration(float64(time.Minute)*100/o.rebalance)
	o.after(pace, func() { o.move(budget, pace, until) })
}

func (o *ours) move(budget int, pace, until time.Duration) {
	fullest, uneven := balance.Fullest(o.shares())
	switch {
	case budget == 0, o.now > until, !uneven && o.slowStart == 0:
		o.isRebalancing = false
		return
	case uneven:
		h := o.byAddress(fullest.Address)
		o.happens(h.live[o.rng.IntN(len(h.live))], departs)
		budget--
	}
	o.after(pace, func() { o.move(budget, pace, until) })
}

func (o *ours) shares() []balance.Share {
	return o.balancer.Shares(o.members, func(address string) int { return len(o.byAddress(address).live) })
}

func (o *ours) byAddress(address string) *host {
	for _, h := range o.hosts {
		if h.address == address {
			return h
		}
	}
	panic("no host is at " + address)
}
