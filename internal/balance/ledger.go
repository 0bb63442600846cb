// Package balance chooses upstreams for long-lived connections and counts what
// each of them holds. Choosing and counting are one step, under one lock, so
// that any number of clients that come at the same moment spread evenly and a
// cap is never exceeded.
//
// A [Ledger] is what is known of addresses, over everyone who connects to them.
// A [Balancer] chooses among some of them by a [Policy]; what it chose is a
// [Lease] until it is released.
package balance

import (
	"slices"
	"sync"
	"time"
)

// Use is what a place at an upstream is taken for.
type Use uint8

// The uses of a place.
const (
	WebSocket Use = iota
	Request
)

// State is what an operator has set for an address.
type State uint8

// The states of an address.
const (
	Ready       State = iota
	Drain             // takes nothing new; live connections are ended
	Maintenance       // takes what is bound to it and nothing else; live connections stay
)

// String returns the state's name in the admin API and in metrics.
func (s State) String() string {
	switch s {
	case Ready:
		return "ready"
	case Drain:
		return "drain"
	case Maintenance:
		return "maintenance"
	}
	return "unknown"
}

// forgetAfter is how long an address is remembered that nobody holds, names or
// asks for, as those of dynamic upstreams that come and go.
const forgetAfter = 10 * time.Minute

// Ledger knows what every address holds. It is safe for concurrent use.
type Ledger struct {
	now func() time.Time

	// mu guards the ledger, its backends and the state of its balancers. It is
	// held over each choice together with its count, never over I/O.
	mu       sync.Mutex
	backends map[string]*backend
	open     []*Balancer // those that are not closed
	waiting  []*Balancer // those with a line
	tickets  uint64      // how many places in lines were given out
	swept    time.Time
}

// backend is the running state of one address.
type backend struct {
	address  string
	hash     uint64 // of the address
	live     int
	requests int
	state    State
	wanted   int // configurations that name it
	lastUsed time.Time

	since time.Time // when it became available: new, recovered or set ready

	fails []time.Time // when each recent failure is forgotten
	early []time.Time // when each recent early close is forgotten
	slots []slot      // its places in the trees of balancers
}

// slot is a leaf of a balancer's tree.
type slot struct {
	balancer *Balancer
	index    int
}

// NewLedger returns an empty ledger.
func NewLedger() *Ledger { return NewLedgerAt(time.Now) }

// NewLedgerAt returns an empty ledger that goes by another clock than the
// system's, such as that of a simulation.
func NewLedgerAt(now func() time.Time) *Ledger {
	return &Ledger{now: now, backends: make(map[string]*backend)}
}

// Lease is a counted place at an upstream. Its zero value holds nothing. It
// must not be copied while it holds a place.
type Lease struct {
	ledger  *Ledger
	backend *backend
	use     Use
}

// Address returns where the place is; "" if there is none.
func (l *Lease) Address() string {
	if l.backend == nil {
		return ""
	}
	return l.backend.address
}

// Release gives the place back, if there is one.
func (l *Lease) Release() {
	if l == nil || l.ledger == nil {
		return
	}
	l.ledger.mu.Lock()
	defer l.ledger.mu.Unlock()
	be := l.backend
	if be == nil {
		return // someone else was first
	}
	l.backend = nil
	switch l.use {
	case WebSocket:
		be.live--
	case Request:
		be.requests--
	}
	l.ledger.changedLocked(be)
	l.ledger.wakeLocked(be.address)
	l.ledger.forgetLocked(be, l.ledger.now())
}

// countLocked fills in the lease with a place at the address.
func (l *Ledger) countLocked(into *Lease, u Use, be *backend) {
	switch u {
	case WebSocket:
		be.live++
	case Request:
		be.requests++
	}
	into.ledger, into.backend, into.use = l, be, u
	l.changedLocked(be)
}

// changedLocked lets the trees know that the load of an address changed.
func (l *Ledger) changedLocked(be *backend) {
	for _, s := range be.slots {
		s.balancer.rekeyLocked(s.index)
	}
}

func (l *Ledger) backendLocked(address string, now time.Time) *backend {
	be := l.backends[address]
	if be == nil {
		be = &backend{address: address, hash: hashOf(address), since: now}
		l.backends[address] = be
	}
	return be
}

// forgetLocked drops the state of an address that nothing is known of.
func (l *Ledger) forgetLocked(be *backend, now time.Time) {
	if be.live == 0 && be.requests == 0 && be.wanted == 0 && len(be.slots) == 0 && be.state == Ready &&
		recent(&be.fails, now)+recent(&be.early, now) == 0 && now.Sub(be.lastUsed) >= forgetAfter {
		delete(l.backends, be.address)
	}
}

// sweepLocked forgets, now and then, what is not needed any more.
func (l *Ledger) sweepLocked(now time.Time) {
	if now.Sub(l.swept) < forgetAfter {
		return
	}
	l.swept = now
	for _, be := range l.backends {
		l.forgetLocked(be, now)
	}
}

// Want tells that a configuration names the address (+1), or no longer (-1).
// One that was named by none before counts as new.
func (l *Ledger) Want(address string, delta int) {
	now := l.now()
	l.mu.Lock()
	defer l.mu.Unlock()
	be := l.backendLocked(address, now)
	if be.wanted == 0 && delta > 0 && be.live == 0 {
		be.since = now
	}
	be.wanted += delta
	if be.wanted == 0 {
		be.lastUsed = time.Time{}
		l.forgetLocked(be, now)
	}
}

// Addresses lists, in order, those that a configuration names, where something is
// held, or that were among the dynamic ones lately.
func (l *Ledger) Addresses() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.now()
	known := make([]string, 0, len(l.backends))
	for address, be := range l.backends {
		if be.wanted > 0 || be.live > 0 || now.Sub(be.lastUsed) < forgetAfter {
			known = append(known, address)
		}
	}
	slices.Sort(known)
	return known
}

// SetState sets what an operator wants of the address. It is remembered until
// it is set again.
func (l *Ledger) SetState(address string, s State) {
	now := l.now()
	l.mu.Lock()
	defer l.mu.Unlock()
	be := l.backendLocked(address, now)
	if s == Ready && be.state != Ready {
		be.since = now
		l.announceLocked(be)
	}
	be.state = s
	l.changedLocked(be)
	l.wakeLocked(address)
}

// announceLocked tells the balancers that an address has become available.
func (l *Ledger) announceLocked(be *backend) {
	for _, s := range be.slots {
		s.balancer.arrived = true
	}
}

// Snapshot is what is known of an address.
type Snapshot struct {
	Address        string
	State          State
	Live, Requests int
}

// Look returns what is known of the address.
func (l *Ledger) Look(address string) Snapshot {
	l.mu.Lock()
	defer l.mu.Unlock()
	be := l.backends[address]
	if be == nil {
		return Snapshot{Address: address}
	}
	return Snapshot{Address: be.address, State: be.state, Live: be.live, Requests: be.requests}
}

// Held returns how many places are held in all.
func (l *Ledger) Held() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := 0
	for _, be := range l.backends {
		n += be.live + be.requests
	}
	return n
}

// recent drops the times that are over and counts the others.
func recent(until *[]time.Time, now time.Time) int {
	if len(*until) == 0 {
		return 0
	}
	*until = slices.DeleteFunc(*until, func(t time.Time) bool { return !t.After(now) })
	return len(*until)
}
