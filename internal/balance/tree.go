package balance

import (
	"math"
	"math/rand/v2"
	"time"
)

// never is the key of an upstream that cannot be chosen.
var never = math.Inf(1)

// tree finds the upstream with the least key. It is a tournament: every inner
// node names the winner of the two below it, so that a change of one key costs
// one path to the root.
type tree struct {
	keys    []treeKey
	winners []int32 // the root is at 1; the leaves are implied, from leaves on
	leaves  int
}

type treeKey struct {
	load float64
	tie  uint32 // drawn anew at each change, so that ties fall at random
}

func newTree(n int) tree {
	leaves := 1
	for leaves < n {
		leaves *= 2
	}
	t := tree{keys: make([]treeKey, leaves), winners: make([]int32, leaves), leaves: leaves}
	for i := range t.keys {
		t.keys[i].load = never
	}
	for node := leaves - 1; node >= 1; node-- {
		t.play(node)
	}
	return t
}

// update sets the key of the i-th upstream.
func (t *tree) update(i int, load float64) {
	t.keys[i] = treeKey{load, rand.Uint32()} //nolint:gosec // spreading load needs no secrecy
	for node := (i + t.leaves) / 2; node >= 1; node /= 2 {
		t.play(node)
	}
}

// least returns the upstream with the least key; ok is false if that key is never.
func (t *tree) least() (i int, ok bool) {
	w := t.winner(1)
	return int(w), t.keys[w].load < never
}

func (t *tree) play(node int) {
	a, b := t.winner(2*node), t.winner(2*node+1)
	if t.less(b, a) {
		a = b
	}
	t.winners[node] = a
}

func (t *tree) winner(node int) int32 {
	if node >= t.leaves {
		return int32(node - t.leaves)
	}
	return t.winners[node]
}

func (t *tree) less(a, b int32) bool {
	x, y := t.keys[a], t.keys[b]
	return x.load < y.load || x.load == y.load && x.tie < y.tie
}

// sweepInterval is how old the tree's view of health may be.
const sweepInterval = 100 * time.Millisecond

// sweepLocked brings the tree up to date with what changes without a call: health,
// requests of other handlers, and slow start.
func (b *Balancer) sweepLocked(now time.Time, force bool) {
	if !force && now.Sub(b.swept) < sweepInterval {
		return
	}
	b.swept = now
	b.panicked = b.tooFewHealthyLocked(b.members, now)
	for i, m := range b.members {
		b.noteLocked(b.backends[i], &b.states[i], b.healthyLocked(m, b.backends[i], now), now)
		b.rekeyLocked(i)
	}
}

// rekeyLocked sets the member's key in the tree.
func (b *Balancer) rekeyLocked(i int) {
	if !b.useTree {
		return
	}
	m, be, state := b.members[i], b.backends[i], &b.states[i]
	if m.Weight <= 0 || be.state != Ready || state.down && !b.panicked {
		b.tree.update(i, never)
		return
	}
	c := Candidate{Load: loadLocked(m, be), Weight: m.Weight * b.rampLocked(be, state, b.swept)}
	b.tree.update(i, c.pressure())
}

// loadLocked returns what the member holds: live connections, those of other nodes among
// them, and running requests, of which the source also knows those of other handlers.
func loadLocked(m Member, be *backend) int {
	if be == nil {
		return m.Source.NumRequests()
	}
	return be.live + be.elsewhere + max(be.requests, m.Source.NumRequests()-be.streams)
}

// streamsLocked counts the streams of the process at an address, of which nothing may be
// known.
func streamsLocked(be *backend) int {
	if be == nil {
		return 0
	}
	return be.streams
}

// minRamp keeps a cold upstream from being starved.
const minRamp = 0.05

// rampLocked returns the share of its weight that a member has while it starts
// slowly.
func (b *Balancer) rampLocked(be *backend, state *memberState, now time.Time) float64 {
	if b.settings.SlowStart <= 0 {
		return 1
	}
	since := state.since
	if be != nil && be.since.After(since) {
		since = be.since
	}
	part := float64(now.Sub(since)) / float64(b.settings.SlowStart)
	return min(1, max(minRamp, part))
}

// leaf is where an address is in a balancer's tree.
type leaf struct {
	balancer *Balancer
	index    int
}

// changedLocked brings the trees of balancers up to date with the load of an address.
func (l *Ledger) changedLocked(be *backend) {
	for _, s := range be.leaves {
		s.balancer.rekeyLocked(s.index)
	}
}
