// Package balance chooses upstreams for long-lived connections and counts what
// each of them holds. Choosing and counting are one step, under one lock, so
// that any number of clients that come at the same moment spread evenly and a
// cap is never exceeded.
//
// A [Ledger] counts what every address holds, whichever handler connects to it. A
// [Balancer] chooses among some addresses by a [Policy]; what the balancer chose is
// counted as a [Lease] until that is released. Where all are full, handshakes wait
// for their turn at a [Place] in the balancer's line.
package balance

import (
	"slices"
	"sync"
	"time"
)

// State is what an operator has set for an address.
type State uint8

// The states of an address.
const (
	Ready       State = iota
	Drain             // takes nothing new; live connections are ended
	Maintenance       // takes only what is bound to it; live connections stay
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

// forgetAfter is how long an address is remembered that holds nothing, is named by no
// configuration and not asked for, such as that of a dynamic upstream that has gone.
const forgetAfter = 10 * time.Minute

// Ledger knows what every address holds. It is safe for concurrent use.
type Ledger struct {
	now func() time.Time

	// mu guards the ledger, its backends and the state of its balancers. It is
	// held over each choice together with its count, never over I/O.
	mu       sync.Mutex
	backends map[string]*backend
	open     []*Balancer // not closed
	waiting  []*Balancer // with handshakes in their lines
	tickets  uint64      // how many places in lines were given out
	tidied   time.Time   // when idle addresses were last forgotten

	bound     bool           // allowances hold
	elsewhere map[string]int // WebSockets of other nodes, by address; nil where there are no other nodes
	heard     uint64         // how often that was said
}

// backend is the running state of one address.
type backend struct {
	address  string
	hash     uint64 // of the address
	live     int
	streams  int // of those that are live
	requests int
	state    State
	wanted   int       // configurations that name the address
	opened   uint64    // connections that were counted so far
	lastUsed time.Time // when a request last brought the address along

	allowance int // of connections, while the ledger is bound
	elsewhere int // connections of other nodes

	since time.Time // when the address became available: new, recovered or set ready

	fails  []time.Time // when each recent failure is forgotten
	early  []time.Time // when each recent early close is forgotten
	leaves []leaf      // of the address, in the trees of balancers
}

// NewLedger returns an empty ledger.
func NewLedger() *Ledger { return NewLedgerAt(time.Now) }

// NewLedgerAt returns an empty ledger that goes by another clock than the
// system's, such as that of a simulation.
func NewLedgerAt(now func() time.Time) *Ledger {
	return &Ledger{now: now, backends: make(map[string]*backend)}
}

func (l *Ledger) backendLocked(address string, now time.Time) *backend {
	be := l.backends[address]
	if be == nil {
		be = &backend{address: address, hash: hashOf(address), since: now, elsewhere: l.elsewhere[address]}
		l.backends[address] = be
	}
	return be
}

// forgetLocked drops the state of an address of which there is nothing to remember.
func (l *Ledger) forgetLocked(be *backend, now time.Time) {
	if be.live == 0 && be.requests == 0 && be.wanted == 0 && len(be.leaves) == 0 && be.state == Ready &&
		recent(&be.fails, now)+recent(&be.early, now) == 0 && now.Sub(be.lastUsed) >= forgetAfter {
		delete(l.backends, be.address)
	}
}

// forgetIdleLocked forgets, now and then, the addresses of which there is nothing to
// remember.
func (l *Ledger) forgetIdleLocked(now time.Time) {
	if now.Sub(l.tidied) < forgetAfter {
		return
	}
	l.tidied = now
	for _, be := range l.backends {
		l.forgetLocked(be, now)
	}
}

// Want notes that a configuration names the address (+1), or no longer does (-1). An
// address that was named by none before counts as new.
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

// Addresses returns, sorted, the addresses that a configuration names, that hold
// connections, that an operator wants other than ready, or that were among the dynamic
// upstreams lately.
func (l *Ledger) Addresses() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.now()
	known := make([]string, 0, len(l.backends))
	for address, be := range l.backends {
		if be.wanted > 0 || be.live > 0 || be.state != Ready || now.Sub(be.lastUsed) < forgetAfter {
			known = append(known, address)
		}
	}
	slices.Sort(known)
	return known
}

// SetState sets what an operator wants of the address. The state is remembered until
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

// announceLocked notes at the balancers that an address has become available.
func (l *Ledger) announceLocked(be *backend) {
	for _, s := range be.leaves {
		s.balancer.arrived = true
	}
}

// Snapshot is what is known of an address.
type Snapshot struct {
	Address        string
	State          State
	Live, Requests int
	Streams        int // of those that are live
	Elsewhere      int // live at other nodes, as far as is known
}

// Look returns what is known of the address.
func (l *Ledger) Look(address string) Snapshot {
	l.mu.Lock()
	defer l.mu.Unlock()
	be := l.backends[address]
	if be == nil {
		return Snapshot{Address: address}
	}
	return Snapshot{Address: be.address, State: be.state, Live: be.live, Streams: be.streams, Requests: be.requests, Elsewhere: be.elsewhere}
}

// Held returns how many slots are held in all.
func (l *Ledger) Held() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := 0
	for _, be := range l.backends {
		n += be.live + be.requests
	}
	return n
}
