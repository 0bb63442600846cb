package main

import (
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/wsgateway/caddy-ws-gateway/internal/balance"
)

// world is a fleet with its clients. Time in it is counted from when the
// scenario begins; before that, everyone connects.
type world struct {
	settings
	rng    *rand.Rand
	now    time.Duration
	agenda agenda
	model  model

	hosts   []*host
	clients []client
	live    int

	second  int   // the second that arrivals counts for
	arrived []int // by host, in this second
	result  result
}

// host takes connections while it is up and nobody has told it not to.
type host struct {
	index   int
	address string
	up      bool
	leaving bool // is to go down: ours gives it nothing more
	live    []*client
}

func (h *host) takes() bool { return h.up && !h.leaving }

// Healthy implements balance.Source.
func (h *host) Healthy() bool { return h.up }

// Full implements balance.Source.
func (h *host) Full(int) bool { return false }

// NumRequests implements balance.Source.
func (h *host) NumRequests() int { return 0 }

// Fails implements balance.Source.
func (h *host) Fails() int { return 0 }

// client always wants one connection.
type client struct {
	host  *host // where it is, or is about to be
	place int   // in the host's live, while connected
	on    bool  // connected
	life  uint32
	lease balance.Lease // in ours
}

// warmUp is how long everyone has to connect before the scenario begins.
const warmUp = 2 * time.Minute

func newWorld(s settings) *world {
	w := &world{settings: s, now: -warmUp, clients: make([]client, s.clients)}
	w.rng = rand.New(rand.NewPCG(s.seed, 0)) //nolint:gosec // it is to be the same each time
	w.addHosts(s.hosts)
	return w
}

func (w *world) addHosts(n int) {
	for range n {
		i := len(w.hosts)
		w.hosts = append(w.hosts, &host{index: i, address: fmt.Sprintf("host-%d:80", i), up: true})
		w.arrived = append(w.arrived, 0)
	}
}

// clock is the world's time for package balance.
func (w *world) clock() time.Time {
	return time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC).Add(w.now)
}

// after makes something happen later.
func (w *world) after(d time.Duration, what func()) { w.agenda.add(event{at: w.now + d, what: what}) }

func (w *world) afterFor(d time.Duration, c *client, k kind) {
	w.agenda.add(event{at: w.now + d, client: c, kind: k, life: c.life})
}

// uniform draws a duration.
func (w *world) uniform(from, to time.Duration) time.Duration {
	return from + time.Duration(w.rng.Int64N(int64(to-from)))
}

// play lets the scenario happen.
func (w *world) play(name string, m model, sc scenario) result {
	w.model = m
	w.result = result{model: name}
	for i := range w.clients {
		w.afterFor(w.uniform(0, warmUp/2), &w.clients[i], arrives)
	}
	w.after(warmUp, func() { sc.begin(w) })
	w.after(warmUp, w.sample)
	w.every(time.Second, m.tick)
	for len(w.agenda) > 0 {
		e := w.agenda.next()
		if e.at > sc.length {
			break
		}
		w.now = e.at
		switch {
		case e.what != nil:
			e.what()
		case e.life == e.client.life:
			w.happens(e.client, e.kind)
		}
	}
	w.result.finish()
	return w.result
}

func (w *world) every(d time.Duration, what func()) {
	w.after(d, func() {
		what()
		w.every(d, what)
	})
}

// happens moves a client on.
func (w *world) happens(c *client, k kind) {
	switch k {
	case arrives:
		w.arrive(c)
	case connected:
		w.connect(c)
	case leaves:
		w.end(c)
	case departs:
		w.result.moved++
		w.end(c)
	}
}

// arrive begins a handshake.
func (w *world) arrive(c *client) {
	c.host = w.model.choose(c)
	if c.host == nil {
		w.afterFor(w.uniform(time.Second/2, 3*time.Second/2), c, arrives)
		return
	}
	w.countArrival(c.host)
	w.afterFor(w.latency, c, connected)
}

// connect ends a handshake. A host that went away meanwhile has the gateway try
// another.
func (w *world) connect(c *client) {
	if !c.host.takes() {
		w.model.release(c)
		w.arrive(c)
		return
	}
	c.on = true
	c.place = len(c.host.live)
	c.host.live = append(c.host.live, c)
	w.live++
	w.afterFor(time.Duration(w.rng.ExpFloat64()*float64(w.lifetime)), c, leaves)
}

// end ends a connection; its client comes back after a second, more or less, as
// client libraries do.
func (w *world) end(c *client) {
	live := c.host.live
	last := len(live) - 1
	live[c.place] = live[last]
	live[c.place].place = c.place
	c.host.live = live[:last]
	c.on = false
	c.life++
	w.live--
	w.model.release(c)
	w.afterFor(w.uniform(time.Second/2, 3*time.Second/2), c, arrives)
}

// cut ends all connections of a host at once.
func (w *world) cut(h *host) {
	for len(h.live) > 0 {
		w.happens(h.live[len(h.live)-1], departs)
	}
}

// stop takes a host down.
func (w *world) stop(h *host) {
	h.up = false
	w.cut(h)
}

func (w *world) countArrival(h *host) {
	if w.now < 0 {
		return
	}
	if second := int(w.now / time.Second); second != w.second {
		w.second = second
		clear(w.arrived)
	}
	w.arrived[h.index]++
	sum := 0
	for _, n := range w.arrived {
		sum += n
	}
	w.result.peakReconnects = max(w.result.peakReconnects, sum)
	w.result.peakAtOne = max(w.result.peakAtOne, w.arrived[h.index])
}

// sample notes the imbalance, every second: what the fullest host holds, and the
// emptiest of those that take connections, against what each of these would hold
// if all were even.
func (w *world) sample() {
	most, least, taking := 0, w.live, 0
	for _, h := range w.hosts {
		most = max(most, len(h.live))
		if h.takes() {
			taking++
			least = min(least, len(h.live))
		}
	}
	mean := max(1, float64(w.live)) / float64(max(1, taking))
	w.result.imbalance = append(w.result.imbalance, float64(most)/mean)
	w.result.emptiest = append(w.result.emptiest, float64(least)/mean)
	w.after(time.Second, w.sample)
}
