package balance

import (
	"slices"
	"time"
)

// Source is what the caller knows of an upstream's health. Its methods are called
// under the ledger's lock, and must not wait.
type Source interface {
	Healthy() bool    // up, as far as its health checks know
	NumRequests() int // running requests, streams and those of other handlers included
	Fails() int       // recent failures of requests

	// Full reports whether the upstream takes no more requests, beside so many streams,
	// which do not count.
	Full(streams int) bool
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

	// Name says which balancers stand for the same gateway: a new balancer succeeds
	// the closed ones of its name, and lets the handshakes in their lines go first.
	Name string

	MaxConns     int           // live connections per address; 0 for no cap
	MaxFails     int           // recent failures that take an address out; 0 for never
	FailDuration time.Duration // how long a failure counts; 0 for not at all

	// EarlyCloses within FailDuration take an address out as MaxFails do; 0
	// for never.
	EarlyCloses int

	SlowStart      time.Duration // of an address that is new or recovered; 0 for none
	PanicThreshold float64       // share of healthy addresses below which health is ignored
	Queue          int           // handshakes that may wait for a slot
}

// Refusal says why no upstream could be chosen.
type Refusal uint8

// The reasons for choosing nothing.
const (
	None  Refusal = iota // an upstream was chosen
	Dead                 // no upstream is available
	Full                 // the available upstreams hold as many connections as they may, or earlier handshakes wait for them
	Short                // the policy has chosen an upstream that lacks an allowance alone
)

// Ask is what is wanted of a balancer.
type Ask struct {
	Use   Use
	Key   string                    // what a hash goes by
	Skip  func(address string) bool // reports whether the address was tried; nil if none was
	Place *Place                    // in the line, of a handshake that has waited
	Bound bool                      // to the upstream that is chosen, which may be in maintenance then, but must be healthy

	// Grows reports whether the allowance of the address may grow, so that the policy may
	// choose it where it lacks that alone; nil where none does.
	Grows func(address string) bool
}

// Balancer chooses among upstreams for one handler. It is safe for concurrent
// use; its state is guarded by the ledger's lock.
type Balancer struct {
	ledger   *Ledger
	settings Settings

	members  []Member // the static members; never changes
	backends []*backend
	states   []memberState
	useTree  bool
	tree     tree
	useTurns bool // a round robin of equal members
	last     int  // the member that the round robin chose last
	swept    time.Time
	panicked bool // too few members are healthy for health to count
	closed   bool

	dynamic map[string]*memberState // of members that come with each request
	pruned  time.Time               // when dynamic members that are gone were last forgotten
	scratch []Candidate
	aside   []int // members put aside while the least loaded one is looked for

	arrived bool // an upstream has become available since Arrived was called
	moved   int  // connections that Moved has told of and no WebSocket has replaced yet
	line    []*Place

	heard uint64         // of what the ledger was told when held was noted
	held  map[string]int // what the caller of Shares held then, by address
}

// memberState is what one balancer remembers of an upstream.
type memberState struct {
	down  bool
	since time.Time // when the upstream came up again, as this balancer saw it
	seen  time.Time // when a request last brought it along; of dynamic members
}

// New returns a balancer over static members. There may be none, where all members
// come with each request.
func (l *Ledger) New(settings Settings, members []Member) *Balancer {
	b := &Balancer{ledger: l, settings: settings, members: members, dynamic: make(map[string]*memberState)}
	_, b.useTree = settings.Policy.(LeastConn)
	_, inTurn := settings.Policy.(*RoundRobin)
	b.useTurns = inTurn && settings.SlowStart <= 0 && equallyWeighted(members)
	b.last = len(members) - 1
	b.tree = newTree(len(members))
	b.states = make([]memberState, len(members))
	now := l.now()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.open = append(l.open, b)
	for i, m := range members {
		be := l.backendLocked(m.Address, now)
		b.backends = append(b.backends, be)
		be.leaves = append(be.leaves, leaf{b, i})
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
		kept := be.leaves[:0]
		for _, s := range be.leaves {
			if s.balancer != b {
				kept = append(kept, s)
			}
		}
		be.leaves = kept
		b.ledger.forgetLocked(be, now)
	}
}
