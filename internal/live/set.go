// Package live holds the live connections of a process: what each of them stands
// on, and what ends it.
//
// A [Set] outlives configurations. A configuration tells the set what it names
// (members, sources, credentials, gateways), and gets a release for each: what is
// released last by the last configuration ends or drains the connections that
// nothing names or accepts any more. A [Conn] is in the set from [Set.Add] until
// its relay is over.
//
// A member is what names an upstream in a configuration: its address, or a source
// of dynamic upstreams.
package live

import (
	cryptorand "crypto/rand"
	"encoding/hex"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/wsgateway/caddy-ws-gateway/internal/balance"
	"github.com/wsgateway/caddy-ws-gateway/internal/panics"
	"github.com/wsgateway/caddy-ws-gateway/internal/relay"
)

// Set is the live connections of a process, and what the loaded configurations
// name. It is safe for concurrent use.
type Set struct {
	// Ledger counts what is held at each upstream, and does not change.
	Ledger *balance.Ledger

	reports   Reports
	deadlines *deadlines // its lock comes after mu
	tls       tlsRelay

	mu          sync.Mutex // guards what follows
	connections map[string]*Conn
	members     map[string]int           // loaded configurations that name each
	accesses    map[access]int           // loaded configurations that have each
	reporters   map[string][]*zap.Logger // by gateway, the newest last
	gateways    map[string][]*loaded     // by name
	sources     map[string]*source       // by member
	series      map[pair]*series
	departed    departed        // what was in series
	unfinished  map[string]bool // gateways whose rebalance ended with a configuration
	exiting     bool
	exitBy      time.Time     // how long an exit waits for connections
	emptied     chan struct{} // closed when the last connection is gone; nil while nobody waits
}

// Reports are called with what has to be reported of a connection. The logger is
// that of its gateway; nil where no loaded configuration has the gateway.
type Reports struct {
	Closed   func(*zap.Logger, *Conn, relay.Outcome)
	Panicked func(*zap.Logger, *Conn, *panics.Panic)
}

// NewSet returns an empty set.
func NewSet(reports Reports) *Set {
	return &Set{
		Ledger:      balance.NewLedger(),
		reports:     reports,
		deadlines:   &deadlines{end: (*Conn).endOnTime},
		tls:         tlsRelay{trouble: relay.TLSTrouble},
		connections: make(map[string]*Conn),
		members:     make(map[string]int),
		accesses:    make(map[access]int),
		reporters:   make(map[string][]*zap.Logger),
		gateways:    make(map[string][]*loaded),
		sources:     make(map[string]*source),
		series:      make(map[pair]*series),
		departed:    departed{kept: make(map[pair]*keptTotals)},
		unfinished:  make(map[string]bool),
	}
}

// Add makes the connection known. Where it came too late, because the process
// exits, or its upstream or credential was removed meanwhile, it is ended like
// the others.
func (s *Set) Add(c *Conn) {
	exiting, revoked := s.enlist(c)
	switch {
	case exiting:
		c.end(endExit)
	case revoked:
		c.tell(EndRevoked)
	case !s.stays(c):
		s.drain(func(other *Conn) bool { return other == c })
	}
}

// enlist reports, too, whether the end of the connection is claimed, because its
// credential was withdrawn.
func (s *Set) enlist(c *Conn) (exiting, revoked bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.countLocked(pair{c.Gateway, c.Upstream}, 1, 0)
	s.connections[c.ID] = c
	s.deadlines.set(c, c.endsBy(c.authority.expires))
	s.rehomeLocked(c)
	return s.exiting, !s.exiting && !s.stillAcceptedLocked(c) && c.claimEnd()
}

// Remove forgets the connection and gives its lease back, which is done first. It
// need not have been added.
func (s *Set) Remove(c *Conn) {
	defer s.forget(c)
	defer s.deadlines.forget(c)
	c.Lease.Release()
}

func (s *Set) forget(c *Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c.over = true
	if c.done != nil {
		close(c.done)
	}
	if s.connections[c.ID] != c {
		return // it did not get as far as that
	}
	delete(s.connections, c.ID)
	s.countLocked(pair{c.Gateway, c.Upstream}, -1, 0)
	if len(s.connections) == 0 && s.emptied != nil {
		close(s.emptied)
		s.emptied = nil
	}
}

// gone returns a channel that is closed when the connection is over.
func (s *Set) gone(c *Conn) <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c.done == nil {
		c.done = make(chan struct{})
		if c.over {
			close(c.done)
		}
	}
	return c.done
}

// list copies the connections that match, which is asked under the lock.
func (s *Set) list(match func(*Conn) bool) []*Conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	var found []*Conn
	for _, c := range s.connections {
		if match(c) {
			found = append(found, c)
		}
	}
	return found
}

// End ends the connections that match, which is asked under the set's lock, and
// returns how many of them were not ending already.
func (s *Set) End(e Ending, match func(*Conn) bool) int {
	claimed := s.claimAll(match)
	for _, c := range claimed {
		c.tell(e)
	}
	return len(claimed)
}

// claimAll claims the end of the connections that match, under the lock: each is
// renewed before, and does not match by what it stood on then, or not at all.
func (s *Set) claimAll(match func(*Conn) bool) []*Conn {
	return s.list(func(c *Conn) bool { return match(c) && c.claimEnd() })
}

// NewID makes an ID of a connection that cannot be guessed.
func NewID() string {
	var id [8]byte
	_, _ = cryptorand.Read(id[:]) // never fails, says its documentation
	return hex.EncodeToString(id[:])
}
