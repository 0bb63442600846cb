package live

import (
	"sync/atomic"
	"time"

	"github.com/wsgateway/caddy-ws-gateway/internal/admission"
	"github.com/wsgateway/caddy-ws-gateway/internal/balance"
	"github.com/wsgateway/caddy-ws-gateway/internal/panics"
	"github.com/wsgateway/caddy-ws-gateway/internal/relay"
	"github.com/wsgateway/caddy-ws-gateway/internal/revocation"
)

// Details are the properties of a connection that do not change once it is in a set.
// They hold nothing of the request that opened the connection nor of the configuration.
type Details struct {
	ID          string
	Gateway     string
	UserID      string
	RemoteIP    string
	Proto       string // of HTTP
	Protocol    string // spoken with the client: ProtocolWebSocket, or that of a stream
	Upstream    string // its address
	Subprotocol string
	OpenedAt    time.Time
	TooOld      time.Time // when the connection has to end because of its age; zero for never
	DrainPeriod time.Duration
	EarlyClose  EarlyClose
	Lease       *balance.Lease
	Seat        *admission.Seat // taken with RemoteIP and UserID
	Link        Link

	// Called when the connection is over; nil for nothing.
	AtEnd func()

	// The server of an HTTP/3 connection, which waits for its clients to hang up
	// when the process exits; nil over HTTP/1.1 and HTTP/2.
	Server Server
}

// Conn is a live connection: a WebSocket or a stream, which is a long answer to a request.
type Conn struct {
	Details

	set     *Set
	leaving atomic.Bool // the gateway is ending it

	// What sides are told that it ends of, where that is a deadline.
	deadline atomic.Uint32

	// Guarded by the set's lock.
	member     string // names its upstream
	authority  Authority
	departures *departures
	done       chan struct{} // closed when it is over; nil until gone is called
	waiting    bool          // its member is gone, and a source may yet name its upstream
	over       bool

	// Guarded by the lock of deadlines.
	dueNever bool  // it is over
	dueIndex int32 // in the queue, from 1; 0 for none
	due      int64 // in milliseconds since 1970
}

// Room is where a connection may come about. What it holds before that lies in the same
// piece of memory: a small piece that lives as long would keep the whole page that it
// lies in from being given back, together with what a storm of openings has left there.
type Room struct {
	Lease balance.Lease
	Seat  admission.Seat
	conn  Conn
}

// NewConn returns the connection that has come about, for the set. Its details may be
// completed until [Set.Add] makes it known. member names its upstream, and it lives by
// the authority.
func (r *Room) NewConn(s *Set, d Details, member string, by Authority) *Conn {
	r.conn = Conn{Details: d, set: s, member: member, authority: by}
	return &r.conn
}

// NewConn returns a connection that has held nothing before, or elsewhere.
func (s *Set) NewConn(d Details, member string, by Authority) *Conn {
	return &Conn{Details: d, set: s, member: member, authority: by}
}

// Authority returns what the connection lives by now.
func (c *Conn) Authority() Authority {
	c.set.mu.Lock()
	defer c.set.mu.Unlock()
	return c.authority
}

// credentialLocked is what a revocation may refuse of the connection.
func (c *Conn) credentialLocked() revocation.Credential {
	return c.authority.credentialOf(c.Gateway, c.UserID)
}

func (c *Conn) drainPeriod() time.Duration { return c.DrainPeriod }

// IsStream reports whether the connection is a stream, and no WebSocket.
func (c *Conn) IsStream() bool { return c.Protocol != ProtocolWebSocket }

// Finish reports the end of the connection and removes it from the set. A panic in one
// step does not keep the others from being done.
func (c *Conn) Finish(outcome relay.Outcome) {
	defer c.contain()
	defer c.set.Remove(c)
	defer c.reportClosed(outcome)
	defer c.set.journal.noteEnd(c, &outcome)
	if c.AtEnd != nil {
		defer c.AtEnd()
	}
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

// contain keeps a panic in the function that defers it from the process, and reports
// the panic for the connection.
func (c *Conn) contain() {
	if value := recover(); value != nil {
		c.reportPanic(panics.Caught(value))
	}
}

// end has the connection end, where neither side is left in the middle of something. It
// is false where the connection was ending already.
func (c *Conn) end(e Ending) bool {
	if !c.claimEnd() {
		return false
	}
	c.tell(e)
	return true
}

// claimEnd reports whether the caller is the first to end the connection, and so has
// to tell the sides. A claim under a lock is seen by a renewal that takes the lock
// later.
func (c *Conn) claimEnd() bool { return !c.leaving.Swap(true) }

// tell tells both sides that the connection ends.
func (c *Conn) tell(e Ending) {
	c.deadline.Store(uint32(e.deadline))
	c.Link.End(c.told(e.Client), e.Upstream)
}
