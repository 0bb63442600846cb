package relay

import (
	"io"
	"sync"
	"syscall"
	"time"

	"github.com/wsgateway/caddy-ws-gateway/internal/panics"
	"github.com/wsgateway/caddy-ws-gateway/internal/wsframe"
)

// Conn is one side of the connection. Close must end a Read and a Write that are
// in progress.
type Conn interface {
	io.Reader
	io.Writer
	io.Closer
	SetWriteDeadline(t time.Time) error
}

// Socket is a Conn that is a stream socket with nothing around it that may have
// read ahead, as those of the net package are.
type Socket interface {
	Conn
	syscall.Conn
	PlainSocket()
}

// Party is who ended a connection.
type Party uint8

// The parties to a connection.
const (
	Client Party = iota
	Upstream
	Gateway
)

// String returns the party's name in logs and metrics.
func (p Party) String() string {
	switch p {
	case Client:
		return "client"
	case Upstream:
		return "upstream"
	case Gateway:
		return "gateway"
	default:
		return "unknown"
	}
}

// Close is what a close frame says.
type Close struct {
	Code   int // 1005 for a frame that says nothing
	Reason string
}

// The close codes that the one side gets when the other went without one: an
// upstream the first, a client the second (RFC 6455, section 7.4.1, and the
// registry of IANA). The end is recorded under them as well.
const (
	codeInternalError  = 1011
	codeServiceRestart = 1012
)

// Defaults, and the bound on waiting for a stream that never falls quiet.
const (
	defaultCloseTimeout  = 5 * time.Second
	defaultLingerTimeout = 250 * time.Millisecond
	maxLinger            = 10 * time.Second
	maxPassing           = 2 * time.Minute // of what a close frame is the end of
)

// Config says what to relay.
type Config struct {
	// The two sides, after their handshakes. The relay owns and closes them
	// from Run on.
	Client, Upstream Conn

	// What was read from a side past its handshake. It is passed on first.
	EarlyFromClient, EarlyFromUpstream []byte

	// How long a side may take nothing of what is written to it before it counts
	// as gone; up to twice as long if it took something meanwhile. Where the
	// kernel does not tell what a peer has taken, what the kernel takes counts.
	// Default: 0, for ever.
	WriteTimeout time.Duration

	// How long the connection may take to close in order once its end has
	// begun, and a close frame has got through. Default: 5s.
	CloseTimeout time.Duration

	// How long a side must be quiet, after the other has half-closed, for
	// everything to count as delivered. Default: 250ms.
	LingerTimeout time.Duration
}

// Outcome is how a connection ended and what it carried.
type Outcome struct {
	By     Party
	Code   int // of the close frame, 1005 if it says nothing; where a side went without one, what the other was told
	Reason string
	Panic  *panics.Panic // what of ours panicked, if anything did

	FromClient, FromUpstream wsframe.Counts
}

// Relay is one connection. While it is quiet it costs, on the loop, nothing
// beyond this and what crypto/tls keeps; else the stacks of two goroutines, and on
// sides other than plain sockets also a small buffer each.
type Relay struct {
	client, upstream side

	writeTimeout, closeTimeout, lingerTimeout time.Duration

	// For the goroutine relay.
	buffers *bufferSource
	work    sync.WaitGroup // pumps, close frames being written, and the closing of the conns

	// For the loop.
	place place
	done  func(Outcome)

	mu         sync.Mutex // guards the rest, and the sides' fields that say so
	lastActive time.Time
	ending     *ending // nil until the first cause of the end
	running    bool
	finished   bool // both sides are closed, or about to be
	looped     bool // it is the loop that relays; does not change once it runs
}

// side is one peer and the outlet to it.
type side struct {
	conn   Conn
	early  []byte // not passed on yet; for who reads from this side
	socket socket // on the loop

	// Guarded by Relay.mu.
	scan   wsframe.Scanner
	party  Party
	masked bool // our frames to it must be
	ended  bool // nothing more is expected from it
	gone   bool // its stream has been read to the end

	// The outlet; guarded by Relay.mu.
	writing bool   // the baton: someone is in Write
	mid     bool   // the last byte written was not the last of a frame
	shut    bool   // nobody may take the baton again
	pending *Close // to be written at the next end of a frame
}

// New returns a relay that is ready to run.
func New(c Config) *Relay {
	forgetSettings(c.Client, tlsIsKnown)
	return &Relay{
		client:        side{party: Client, conn: c.Client, early: c.EarlyFromClient},
		upstream:      side{party: Upstream, conn: c.Upstream, early: c.EarlyFromUpstream, masked: true},
		writeTimeout:  c.WriteTimeout,
		closeTimeout:  positiveOr(c.CloseTimeout, defaultCloseTimeout),
		lingerTimeout: positiveOr(c.LingerTimeout, defaultLingerTimeout),
		buffers:       &sharedBuffers,
		lastActive:    time.Now(),
	}
}

func positiveOr(d, otherwise time.Duration) time.Duration {
	if d > 0 {
		return d
	}
	return otherwise
}

// Start begins to relay and returns at once. When the connection has ended and
// both sides are closed, done is called, in a goroutine of its own, where it must
// not panic. Where both sides are sockets, plain or under TLS, the event loop serves them; all others
// get the goroutines of [Relay.Run]. Either Start or Run must be called, once.
func (r *Relay) Start(done func(Outcome)) {
	if r.startOnLoop(done, tlsIsKnown) {
		return
	}
	go func() { done(r.Run()) }()
}

// Run relays until the connection has ended and both sides are closed. When it
// returns, nothing of the relay is running.
func (r *Relay) Run() Outcome {
	r.work.Add(2) // the other pump; the closing of the conns
	r.guarded(r.start)
	go r.pumpFromUpstream()
	r.guarded(r.pumpFromClient)
	r.work.Wait()
	return r.outcome()
}

func (r *Relay) outcome() Outcome {
	r.mu.Lock()
	defer r.mu.Unlock()
	return Outcome{
		By:           r.ending.by,
		Code:         r.ending.cause.Code,
		Reason:       r.ending.cause.Reason,
		Panic:        r.ending.panicked,
		FromClient:   r.client.scan.Counts(),
		FromUpstream: r.upstream.scan.Counts(),
	}
}

func (r *Relay) pumpFromClient() { r.pump(&r.client, &r.upstream) }

// pumpFromUpstream is the pump that is not Run's own goroutine.
func (r *Relay) pumpFromUpstream() {
	defer r.work.Done()
	defer r.contain()
	r.pump(&r.upstream, &r.client)
}

// End makes the gateway end the connection: each side gets the close frame meant
// for it as soon as it stands between two frames. Nothing happens if the
// connection is ending already. End does not block and may be called from
// anywhere, even before Run or Start, which then begins with the end.
func (r *Relay) End(client, upstream Close) {
	defer r.containEnd()
	if r.beginEnd(client, upstream) {
		r.callLoop()
	}
}

// beginEnd reports whether the loop has to be told.
func (r *Relay) beginEnd(client, upstream Close) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.decide(Gateway, client) && !r.overrule(Gateway, client) {
		return false
	}
	r.arm(r.closeTimeout)
	spring(r, "end")
	r.requestClose(&r.client, client)
	r.requestClose(&r.upstream, upstream)
	return r.looped
}

// LastActive returns when a byte last passed, in either direction; at first,
// when the relay was made.
func (r *Relay) LastActive() time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.lastActive
}

// Counts returns what has come from each side so far. It may lag behind by a
// chunk.
func (r *Relay) Counts() (fromClient, fromUpstream wsframe.Counts) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.client.scan.Counts(), r.upstream.scan.Counts()
}

func (r *Relay) other(s *side) *side {
	if s == &r.client {
		return &r.upstream
	}
	return &r.client
}
