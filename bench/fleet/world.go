package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/wsgateway/caddy-ws-gateway/internal/admission"
)

// world knows what is true, whatever the nodes think.
type world struct {
	settings settings
	caps     admission.Caps
	nodes    []*node // that live

	live  atomic.Int64
	users []atomic.Int32

	inFlight sync.WaitGroup
	flying   atomic.Int64

	mu      sync.Mutex // guards what follows
	took    []time.Duration
	refused map[admission.Limit]int
	samples []sample
	began   time.Time
}

// sample is how things were at a moment, and in the stretch before it.
type sample struct {
	at         float64 // seconds
	live       int
	over       int // connections above the cap on all
	overUsers  int // the most above the cap of a user
	handshakes int
	refused    int // by the cap on all connections
	p50, p99   time.Duration
	longest    time.Duration
}

// unused is the part of the cap that was not used although somebody was refused by it.
func (s sample) unused(limit int) float64 {
	if s.refused == 0 {
		return 0
	}
	return max(0, 1-float64(s.live)/float64(limit))
}

// mostFlying bounds the handshakes that are under way, where the machine cannot keep up.
const mostFlying = 20_000

func newWorld(s settings) *world {
	return &world{
		settings: s,
		caps:     admission.Caps{Connections: s.conns, PerUser: s.perUser, PerIP: s.perUser},
		users:    make([]atomic.Int32, max(10, s.conns/s.perUser*2)), // on average, each is at half of the own cap
		refused:  make(map[admission.Limit]int),
		began:    time.Now(),
	}
}

// join starts the nodes.
func (w *world) join(url string) error {
	for i := range w.settings.nodes {
		n, err := newNode(w, fmt.Sprint("node-", i), url)
		if err != nil {
			return err
		}
		w.nodes = append(w.nodes, n)
	}
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		if !slices.ContainsFunc(w.nodes, func(n *node) bool { return n.member.Out() || !n.member.View().Connected }) {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("the nodes do not come to be connected")
		}
	}
}

func (w *world) note(limit admission.Limit, took time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.took = append(w.took, took)
	w.refused[limit]++
}

func (w *world) forget(c *conn) {
	w.users[c.user].Add(-1)
	w.live.Add(-1)
}

// play opens at the rate, and closes at half of it, for as long as it says or until done.
func (w *world) play(ctx context.Context, closing bool, lasts time.Duration, done func() bool) {
	const tick, everySample = 2 * time.Millisecond, 100
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	began, opened, closed := time.Now(), 0, 0
	for ticks := 1; time.Since(began) < lasts && !done(); ticks++ {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		due := int(time.Since(began).Seconds() * float64(w.settings.rate))
		for ; opened < due && w.flying.Load() < mostFlying; opened++ {
			w.handshake(ctx, w.nodes[opened%len(w.nodes)])
		}
		opened = max(opened, due) // what could not be sent is not sent later
		if closing {
			for ; closed < due/2; closed++ {
				w.nodes[rand.IntN(len(w.nodes))].closeOne() //nolint:gosec // of a simulation
			}
		}
		if ticks%everySample == 0 {
			w.sample()
		}
	}
	w.sample()
}

func (w *world) handshake(ctx context.Context, n *node) {
	user := rand.IntN(len(w.users)) //nolint:gosec // of a simulation
	w.flying.Add(1)
	w.inFlight.Go(func() {
		defer w.flying.Add(-1)
		n.open(ctx, user)
	})
}

// sample looks at how things are.
func (w *world) sample() {
	s := sample{at: time.Since(w.began).Seconds(), live: int(w.live.Load())}
	s.over = max(0, s.live-w.caps.Connections)
	for i := range w.users {
		s.overUsers = max(s.overUsers, int(w.users[i].Load())-w.caps.PerUser)
	}
	took, refused := w.turn()
	s.handshakes, s.refused = len(took), refused[admission.Connections]
	s.p50, s.p99, s.longest = quantile(took, 0.5), quantile(took, 0.99), quantile(took, 1)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.samples = append(w.samples, s)
}

// turn begins a new stretch.
func (w *world) turn() (took []time.Duration, refused map[admission.Limit]int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	took, refused = w.took, w.refused
	w.took, w.refused = nil, make(map[admission.Limit]int)
	slices.Sort(took)
	return took, refused
}

// quantile is that of sorted durations.
func quantile(sorted []time.Duration, q float64) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[min(len(sorted)-1, int(q*float64(len(sorted))))]
}
