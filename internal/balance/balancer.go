package balance

import (
	"slices"
	"time"
)

// Source is what the caller knows of an upstream's health, without a lock of
// its own that could be held for long.
type Source interface {
	Healthy() bool    // up, as far as its health checks know
	Full() bool       // takes no more requests; WebSockets do not count here
	NumRequests() int // running requests of everyone
	Fails() int       // recent failures of requests
}

// Member is an upstream that a balancer may choose.
type Member struct {
	Address string
	Weight  float64 // its share; 0 or less is never chosen
	Source  Source
}

// Settings says how a balancer chooses.
type Settings struct {
	Policy Policy

	// Name tells which balancers stand for the same: a new one takes the place
	// of a closed one of its name, whose line it lets go first.
	Name string

	MaxConns     int           // WebSockets per address; 0 for no cap
	MaxFails     int           // recent failures that take an address out; 0 for never
	FailDuration time.Duration // how long a failure counts; 0 for not at all

	// EarlyCloses within FailDuration take an address out as MaxFails do; 0
	// for never.
	EarlyCloses int

	SlowStart      time.Duration // of an address that is new or recovered; 0 for none
	PanicThreshold float64       // share of healthy addresses below which health is ignored
	Queue          int           // handshakes that may wait for a place
}

// Refusal is why nothing could be chosen.
type Refusal uint8

// The reasons for choosing nothing.
const (
	None Refusal = iota // something was chosen
	Dead                // no upstream is available
	Full                // those that are available hold as many as they may, or others wait
)

// Ask is what is wanted of a balancer.
type Ask struct {
	Use   Use
	Key   string                    // what a hash goes by
	Skip  func(address string) bool // those that were tried; nil for none
	Place *Place                    // in the line, of who has waited
	Bound bool                      // to what is chosen: it may be in maintenance, but must be healthy
}

// Balancer chooses among upstreams for one handler. It is safe for concurrent
// use; its state is guarded by the ledger's lock.
type Balancer struct {
	ledger   *Ledger
	settings Settings

	members  []Member // the static ones
	backends []*backend
	states   []memberState
	useTree  bool
	tree     tree
	useTurns bool // a round robin of equal members
	turn     int  // the member that was chosen last
	swept    time.Time
	panicked bool // too few are healthy for health to count
	closed   bool

	dynamic map[string]*memberState // of members that come with each request
	pruned  time.Time               // when those that are gone were last forgotten
	scratch []Candidate
	aside   []int // members put aside while one is looked for

	arrived bool // an upstream has become available since Arrived was asked
	moved   int  // connections that were, and for whom nobody has come yet
	line    []*Place
}

// memberState is what one balancer remembers of an upstream.
type memberState struct {
	down  bool
	since time.Time // when it came up again, as this balancer saw it
	seen  time.Time
}

// sweepInterval is how old the tree's view of health may be.
const sweepInterval = 100 * time.Millisecond

// New returns a balancer over static members, which may be none where all come
// with each request.
func (l *Ledger) New(settings Settings, members []Member) *Balancer {
	b := &Balancer{ledger: l, settings: settings, members: members, dynamic: make(map[string]*memberState)}
	_, b.useTree = settings.Policy.(LeastConn)
	_, inTurn := settings.Policy.(*RoundRobin)
	b.useTurns = inTurn && settings.SlowStart <= 0 && equallyWeighted(members)
	b.turn = len(members) - 1
	b.tree = newTree(len(members))
	b.states = make([]memberState, len(members))
	now := l.now()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.open = append(l.open, b)
	for i, m := range members {
		be := l.backendLocked(m.Address, now)
		b.backends = append(b.backends, be)
		be.slots = append(be.slots, slot{b, i})
		if be.since.Equal(now) || now.Sub(be.since) < settings.SlowStart {
			b.arrived = true
		}
	}
	return b
}

// Close lets the ledger forget the balancer. Leases are not affected.
func (b *Balancer) Close() {
	now := b.ledger.now()
	b.ledger.mu.Lock()
	defer b.ledger.mu.Unlock()
	b.closed = true
	b.ledger.open = slices.DeleteFunc(b.ledger.open, func(other *Balancer) bool { return other == b })
	for _, be := range b.backends {
		kept := be.slots[:0]
		for _, s := range be.slots {
			if s.balancer != b {
				kept = append(kept, s)
			}
		}
		be.slots = kept
		b.ledger.forgetLocked(be, now)
	}
}

// Acquire chooses a static member and counts a place there, in one step. It
// returns the member's index.
func (b *Balancer) Acquire(into *Lease, ask Ask) (int, Refusal) {
	b.ledger.mu.Lock()
	defer b.ledger.mu.Unlock()
	now := b.ledger.now()
	b.ledger.sweepLocked(now)
	switch {
	case b.closed: // the ledger may have forgotten its backends
	case b.useTree:
		return b.acquireFromTree(into, ask, now)
	case b.useTurns && (b.moved == 0 || ask.Use != WebSocket):
		return b.acquireInTurn(into, ask, now)
	}
	return b.acquireFrom(into, ask, b.members, now)
}

// AcquireFrom is Acquire among members that come with the request. It returns
// the index in members.
func (b *Balancer) AcquireFrom(into *Lease, ask Ask, members []Member) (int, Refusal) {
	b.ledger.mu.Lock()
	defer b.ledger.mu.Unlock()
	now := b.ledger.now()
	b.ledger.sweepLocked(now)
	return b.acquireFrom(into, ask, members, now)
}

// acquireFrom looks at every member and lets the policy choose.
func (b *Balancer) acquireFrom(into *Lease, ask Ask, members []Member, now time.Time) (int, Refusal) {
	refusal := b.collect(ask, members, now)
	if len(b.scratch) == 0 {
		return 0, refusal
	}
	chosen := b.scratch[b.policyLocked(ask).choose(ask.Key, b.scratch)]
	b.ledger.countLocked(into, ask.Use, b.ledger.backendLocked(chosen.Address, now))
	return chosen.Index, None
}

// acquireInTurn takes the next member that is available: what a round robin comes
// to where all have the same weight.
func (b *Balancer) acquireInTurn(into *Lease, ask Ask, now time.Time) (int, Refusal) {
	b.panicked = b.tooFewHealthy(b.members, now)
	refusal := Dead
	i := b.turn
	for range b.members {
		if i++; i == len(b.members) {
			i = 0
		}
		if b.members[i].Weight <= 0 {
			continue
		}
		switch b.judge(ask, b.members[i], b.backends[i], &b.states[i], now) {
		case None:
			b.turn = i
			b.ledger.countLocked(into, ask.Use, b.backends[i])
			return i, None
		case Full:
			refusal = Full
		case Dead:
		}
	}
	return 0, refusal
}

// equallyWeighted tells whether all that are ever chosen have the same weight.
func equallyWeighted(members []Member) bool {
	weight := 0.0
	for _, m := range members {
		if m.Weight > 0 && weight > 0 && m.Weight != weight {
			return false
		}
		weight = max(weight, m.Weight)
	}
	return true
}

// acquireFromTree takes the least loaded members until one is available.
func (b *Balancer) acquireFromTree(into *Lease, ask Ask, now time.Time) (int, Refusal) {
	// Of the threshold nothing but a look at all can tell, which only those pay for
	// who set one.
	b.sweepLocked(now, b.settings.PanicThreshold > 0 && b.tooFewHealthy(b.members, now) != b.panicked)
	i, refusal := b.leastAvailable(ask, now)
	if refusal == Dead && !b.swept.Equal(now) {
		b.sweepLocked(now, true) // one may have recovered since
		i, refusal = b.leastAvailable(ask, now)
	}
	if refusal != None {
		return 0, refusal
	}
	b.ledger.countLocked(into, ask.Use, b.backends[i])
	return i, None
}

// leastAvailable puts aside members that cannot be had by this ask, and puts
// them back.
func (b *Balancer) leastAvailable(ask Ask, now time.Time) (int, Refusal) {
	aside := b.aside[:0]
	defer func() {
		for _, i := range aside {
			b.rekeyLocked(i)
		}
		b.aside = aside[:0]
	}()
	refusal := Dead
	for {
		i, ok := b.tree.least()
		if !ok {
			return 0, refusal
		}
		switch b.judge(ask, b.members[i], b.backends[i], &b.states[i], now) {
		case None:
			return i, None
		case Full:
			refusal = Full
		case Dead:
		}
		aside = append(aside, i)
		b.tree.update(i, never)
	}
}

// collect fills scratch with the members that can be had. Its refusal says why
// there is none.
func (b *Balancer) collect(ask Ask, members []Member, now time.Time) Refusal {
	b.scratch = b.scratch[:0]
	refusal := Dead
	b.panicked = b.tooFewHealthy(members, now)
	static := b.isStatic(members)
	for i := range members {
		m := &members[i]
		if m.Weight <= 0 {
			continue
		}
		be, state := b.lookLocked(static, i, m, now)
		switch b.judge(ask, *m, be, state, now) {
		case None:
			b.scratch = append(b.scratch, Candidate{
				Index: i, Address: m.Address, Load: loadOf(*m, be), Weight: m.Weight * b.ramp(be, state, now), hash: be.hash,
			})
		case Full:
			refusal = Full
		case Dead:
		}
	}
	return refusal
}

// isStatic tells whether these are the members that the balancer was made with.
func (b *Balancer) isStatic(members []Member) bool {
	return len(b.members) > 0 && len(members) > 0 && &members[0] == &b.members[0]
}

// lookLocked is what is known of the i-th member, by all and by this balancer.
func (b *Balancer) lookLocked(static bool, i int, m *Member, now time.Time) (*backend, *memberState) {
	switch {
	case static && !b.closed:
		return b.backends[i], &b.states[i]
	case static: // the ledger may have forgotten its backends
		return b.ledger.backendLocked(m.Address, now), &b.states[i]
	}
	state := b.dynamic[m.Address]
	if state == nil {
		state = new(memberState)
		b.dynamic[m.Address] = state
		b.arrived = true
	}
	state.seen = now
	if now.Sub(b.pruned) > time.Minute {
		b.pruned = now
		for address, other := range b.dynamic {
			if now.Sub(other.seen) > forgetAfter {
				delete(b.dynamic, address)
			}
		}
	}
	be := b.ledger.backendLocked(m.Address, now)
	be.lastUsed = now
	return be, state
}

// sweepLocked brings the tree up to date with what nobody tells it of: health,
// requests of others, and slow start.
func (b *Balancer) sweepLocked(now time.Time, force bool) {
	if !force && now.Sub(b.swept) < sweepInterval {
		return
	}
	b.swept = now
	b.panicked = b.tooFewHealthy(b.members, now)
	for i, m := range b.members {
		b.note(b.backends[i], &b.states[i], b.healthy(m, b.backends[i], now), now)
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
	c := Candidate{Load: loadOf(m, be), Weight: m.Weight * b.ramp(be, state, b.swept)}
	b.tree.update(i, c.pressure())
}

// loadOf is what the member holds: live WebSockets and running requests, of
// which the source knows those of others too.
func loadOf(m Member, be *backend) int {
	if be == nil {
		return m.Source.NumRequests()
	}
	return be.live + max(be.requests, m.Source.NumRequests())
}

// minRamp keeps a cold upstream from being starved.
const minRamp = 0.05

// ramp is the share of its weight that a member has while it starts slowly.
func (b *Balancer) ramp(be *backend, state *memberState, now time.Time) float64 {
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
