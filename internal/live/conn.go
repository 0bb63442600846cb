package live

import (
	"io"
	"sync/atomic"
	"time"

	"github.com/wsgateway/caddy-ws-gateway/internal/balance"
	"github.com/wsgateway/caddy-ws-gateway/internal/panics"
	"github.com/wsgateway/caddy-ws-gateway/internal/relay"
)

// Details are what does not change of a connection once it is in a set. They hold
// nothing of the request that opened the connection nor of the configuration.
type Details struct {
	ID          string
	Gateway     string
	UserID      string
	RemoteIP    string
	Proto       string
	Upstream    string // its address
	Subprotocol string
	OpenedAt    time.Time
	TooOld      time.Time // when the connection has to end because of its age; zero for never
	DrainPeriod time.Duration
	EarlyClose  EarlyClose
	Lease       *balance.Lease
	Relay       *relay.Relay

	// The server of an HTTP/3 connection, which waits for its clients to hang
	// up when the process exits; nil for others.
	Server io.Closer
}

// Conn is a live WebSocket connection.
type Conn struct {
	Details

	set     *Set
	leaving atomic.Bool // the gateway is ending it

	// Guarded by the set's lock.
	waiting   bool // its member is gone, and a source may yet name its upstream
	over      bool
	member    string // what names its upstream
	authority Authority
	done      chan struct{} // closed when it is over; nil until somebody waits for that

	// Guarded by the lock of deadlines.
	dueNever bool  // it is over
	due      int64 // in milliseconds since 1970
	dueIndex int   // in the queue, from 1; 0 for none
}

// NewConn returns a connection of the set, which [Set.Add] makes known. Its
// details may be completed until then. The member names its upstream.
func (s *Set) NewConn(d Details, member string, by Authority) *Conn {
	return &Conn{Details: d, set: s, member: member, authority: by}
}

// JTILocked returns the ID of the token that the connection stands on, which may
// be renewed. It is for the functions that [Set.End] calls under the set's lock.
func (c *Conn) JTILocked() string { return c.authority.jti }

// Start relays without keeping the caller. Nothing of the request may be held on
// to.
func (c *Conn) Start() { c.Relay.Start(c.Finish) }

// Run relays until the connection is over, as a stream needs it whose handler
// has to stay.
func (c *Conn) Run() { c.Finish(c.Relay.Run()) }

// Finish reports the end of the connection and removes it from the set. Nothing of
// the one keeps the rest from being done. Start and Run call it.
func (c *Conn) Finish(outcome relay.Outcome) {
	defer c.contain()
	defer c.set.Remove(c)
	defer c.reportClosed(outcome)
	if outcome.Panic != nil {
		c.reportPanic(outcome.Panic)
	}
	c.judge(outcome)
}

func (c *Conn) reportClosed(outcome relay.Outcome) {
	c.set.reports.Closed(c.set.Reporter(c.Gateway), c, outcome)
}

func (c *Conn) reportPanic(p *panics.Panic) {
	c.set.reports.Panicked(c.set.Reporter(c.Gateway), c, p)
}

// contain keeps a panic in what defers it, and is done for the connection, from
// the process.
func (c *Conn) contain() {
	if value := recover(); value != nil {
		c.reportPanic(panics.Caught(value))
	}
}

// end closes the connection from our side, at a frame boundary of each. It is
// false where that was done before.
func (c *Conn) end(e Ending) bool {
	if !c.claimEnd() {
		return false
	}
	c.tell(e)
	return true
}

// claimEnd reports whether it is the caller who ends the connection, and has to
// tell the sides. Where that is decided under a lock, a renewal that takes the
// lock later sees it.
func (c *Conn) claimEnd() bool { return !c.leaving.Swap(true) }

// tell tells both sides that the connection ends.
func (c *Conn) tell(e Ending) { c.Relay.End(e.Client, e.Upstream) }
