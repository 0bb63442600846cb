// Package live holds the live connections of a process: what each connection stands
// on, and what ends it.
//
// A [Set] outlives configurations. A configuration tells the set its members, sources,
// credentials and gateways, and gets a release for each. When the last configuration
// releases one of them, the connections that no configuration names or accepts any
// more are drained or ended. A [Conn] is in the set from [Set.Add] until its [Link] is
// over.
//
// A member names an upstream in a configuration: it is the upstream's address, or a
// source of dynamic upstreams.
package live

import (
	cryptorand "crypto/rand"
	"encoding/hex"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/wsgateway/caddy-ws-gateway/internal/admission"
	"github.com/wsgateway/caddy-ws-gateway/internal/balance"
	"github.com/wsgateway/caddy-ws-gateway/internal/panics"
	"github.com/wsgateway/caddy-ws-gateway/internal/relay"
	"github.com/wsgateway/caddy-ws-gateway/internal/revocation"
)

// Set is the live connections of a process, and the members, sources, credentials and
// gateways of the loaded configurations. It is safe for concurrent use.
type Set struct {
	// ID is the process, at random. The field does not change.
	ID string

	// Ledger counts the leases on each upstream. The field does not change.
	Ledger *balance.Ledger

	// Revocations are the credentials that an operator has taken away. [Set.Revoke]
	// adds to them. The field does not change.
	Revocations *revocation.List

	// Seats counts the connections of each gateway, and the handshakes of addresses.
	// The field does not change.
	Seats *admission.Local

	reports   Reports
	exits     func() bool
	deadlines *deadlines // its lock comes after mu
	tls       tlsRelay
	journal   journal

	mu          sync.Mutex // guards what follows
	connections connections
	members     map[string]int           // loaded configurations that name each
	accesses    map[access]int           // loaded configurations that have each
	reporters   map[string][]*zap.Logger // by gateway, the newest last
	gateways    map[string][]*loaded     // by name
	sources     map[string]*source       // by member
	series      map[pair]*series
	departed    departed        // totals that are in series no more
	unfinished  map[string]bool // gateways whose rebalance ended with a configuration
	node        node
	servers     map[Server]bool // over which connections have come
	exiting     bool
	exitBy      time.Time     // how long an exit waits for connections
	emptied     chan struct{} // closed when the last connection is gone; nil until untilEmpty is called
}

// Reports are the functions that report on a connection. The logger is that of its
// gateway; nil where no loaded configuration has the gateway.
type Reports struct {
	Closed   func(*zap.Logger, *Conn, relay.Outcome)
	Panicked func(*zap.Logger, *Conn, *panics.Panic)
}

// NewSet returns an empty set. exits reports whether the process exits, of which the
// set may not have been told yet by Exit.
func NewSet(reports Reports, exits func() bool) *Set {
	s := &Set{
		ID:          NewID(),
		Ledger:      balance.NewLedger(),
		Revocations: revocation.NewList(),
		Seats:       admission.New(),
		reports:     reports,
		exits:       exits,
		deadlines:   &deadlines{end: (*Conn).endOnTime},
		tls:         tlsRelay{trouble: relay.TLSTrouble},
		journal:     journal{gateways: make(map[string]*pages)},
		members:     make(map[string]int),
		accesses:    make(map[access]int),
		reporters:   make(map[string][]*zap.Logger),
		gateways:    make(map[string][]*loaded),
		sources:     make(map[string]*source),
		series:      make(map[pair]*series),
		departed:    departed{kept: make(map[pair]*keptTotals)},
		unfinished:  make(map[string]bool),
		node:        node{since: time.Now(), waiters: make(map[chan struct{}]bool)},
		servers:     make(map[Server]bool),
	}
	s.journal.loaded = s.loaded
	return s
}

// Add makes the connection known. A connection that comes too late, because the process
// exits, the node drains, or its upstream or credential was removed meanwhile, is ended
// like all others.
func (s *Set) Add(c *Conn) {
	exiting, revoked, draining := s.enlist(c)
	c.Seat.Settle()
	switch {
	case exiting:
		c.end(endExit)
		return
	case revoked != nil:
		c.tell(*revoked)
		return
	case !s.stays(c):
		s.drain(func(other *Conn) bool { return other == c })
	}
	if draining != nil {
		s.schedule([]*Conn{c}, draining.plan())
	}
}

// enlist puts the connection into the set. It reports whether the process exits, and
// returns the end of the connection where that is claimed, because its credential was
// withdrawn or revoked, and the drain of the node; nil while that is ready.
func (s *Set) enlist(c *Conn) (exiting bool, revoked *Ending, draining *nodeDrain) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.countLocked(c, 1)
	s.connections.add(c)
	s.deadlines.set(c, c.endsBy(c.authority.expires))
	s.rehomeLocked(c)
	if c.Server != nil {
		s.rememberLocked(c.Server)
	}
	if !s.exiting {
		revoked = s.revokedLocked(c)
	}
	if revoked != nil && !c.claimEnd() {
		revoked = nil
	}
	return s.exiting, revoked, s.node.drain
}

// Remove releases the connection's lease and its seat first, and then forgets the
// connection, which need not have been added.
func (s *Set) Remove(c *Conn) {
	defer s.forget(c)
	defer s.deadlines.forget(c)
	defer c.Seat.Release()
	c.Lease.Release()
}

func (s *Set) forget(c *Conn) {
	all := c.totals()
	s.mu.Lock()
	defer s.mu.Unlock()
	c.over = true
	if c.done != nil {
		close(c.done)
	}
	if !s.connections.remove(c, all) {
		return // it was not added
	}
	s.countLocked(c, -1)
	if s.connections.count == 0 && s.emptied != nil {
		close(s.emptied)
		s.emptied = nil
	}
}

// Len counts the live connections.
func (s *Set) Len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.connections.count
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

// End ends the connections for which match, called under the set's lock, is true. It
// returns how many of them were not ending already.
func (s *Set) End(e Ending, match func(*Conn) bool) int {
	claimed := s.claimAll(match)
	for _, c := range claimed {
		c.tell(e)
	}
	return len(claimed)
}

// claimAll claims the end of the connections that match, each in the same step under the
// lock: a renewal comes either before, so that match sees the new authority, or fails.
// Likewise, a connection that is added meanwhile is seen, or its own look at what has
// changed comes later than the change.
func (s *Set) claimAll(match func(*Conn) bool) []*Conn {
	return s.list(func(c *Conn) bool { return match(c) && c.claimEnd() })
}

// NewID makes an ID of a connection that cannot be guessed.
func NewID() string {
	var id [8]byte
	_, _ = cryptorand.Read(id[:]) // never fails, says its documentation
	return hex.EncodeToString(id[:])
}

// IsID reports whether a text is what NewID could have made.
func IsID(text string) bool {
	id, err := hex.DecodeString(text)
	return err == nil && len(id) == 8 && text == strings.ToLower(text)
}
