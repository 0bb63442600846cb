package relay

import (
	"errors"
	"io"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/wsgateway/caddy-ws-gateway/internal/pace"
	"github.com/wsgateway/caddy-ws-gateway/internal/panics"
	"github.com/wsgateway/caddy-ws-gateway/internal/wsframe"
)

// Conn is one side of a connection. Close must end a Read and a Write that are in
// progress.
type Conn interface {
	io.Reader
	io.Writer
	io.Closer
	SetWriteDeadline(t time.Time) error
}

// Socket is a Conn that is a stream socket with nothing around it that may have read
// ahead, such as those of the net package.
type Socket interface {
	Conn
	syscall.Conn
	PlainSocket() // does nothing
}

// ErrNoLoop says that there is no loop to wait on for a socket.
var ErrNoLoop = errors.New("no event loop waits for this")

// Party is a party to a connection, of which one ends it.
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

// The close codes that a side gets when the other side went without one: an upstream
// the first, a client the second (RFC 6455, section 7.4.1, and the registry of IANA).
// They are also the codes of the outcome.
const (
	codeInternalError  = 1011
	codeServiceRestart = 1012
)

// Defaults, and bounds on how long an end may take.
const (
	defaultCloseTimeout  = 5 * time.Second
	defaultLingerTimeout = 250 * time.Millisecond
	maxLinger            = 10 * time.Second // over a stream that never falls quiet
	maxPassing           = 2 * time.Minute  // of what a close frame ends
)

// Config says what to relay.
type Config struct {
	// The two sides, after their handshakes. The relay owns and closes them
	// from Run on.
	Client, Upstream Conn

	// What was read from a side behind its handshake, and is passed on first.
	EarlyFromClient, EarlyFromUpstream []byte

	// How long a side may take nothing of what is written to it before the side
	// counts as gone; up to twice as long if the side took something meanwhile.
	// Where the kernel does not tell what a peer has taken, what the kernel takes
	// counts. Default: 0, for ever.
	WriteTimeout time.Duration

	// How long the connection may take to close in order once its end has begun,
	// and a close frame has got through. Default: 5s.
	CloseTimeout time.Duration

	// How long a side must be quiet, after the other has half-closed, for
	// everything to count as delivered. Default: 250ms.
	LingerTimeout time.Duration

	// What the connection is held to; nil for what holds for all.
	Policy *Policy

	// What the extensions that the two sides have agreed on use of the reserved bits of
	// frames, as [wsframe.Discipline] takes it.
	ReservedBits byte

	// Whether Upstream is no upstream but brings messages together that come from one.
	// Frames are held to RFC 6455 then, whatever the policy says, for nothing else can be
	// done with others. Whether texts are UTF-8 is for Upstream to find out.
	Assembled bool
}

// Outcome is how a connection ended and what it carried.
type Outcome struct {
	By     Party
	Code   int // of the close frame, 1005 if it says nothing; where a side went without one, what the other side was told
	Reason string
	Limit  string        // the limit that has ended it; "" for none
	Idle   bool          // it has ended because it was idle for too long
	Torn   bool          // it was a long answer, and its upstream has broken it off; never of a relay
	RTT    time.Duration // the mean that [Relay.RTT] returns
	Panic  *panics.Panic // nil if nothing of ours panicked

	FromClient, FromUpstream wsframe.Counts
}

// Relay is one connection. A quiet connection costs, on the loop, nothing beyond its
// Relay and what crypto/tls keeps; else the stacks of two goroutines, and a small
// buffer for each side that is not a plain socket.
type Relay struct {
	client, upstream side

	policy *Policy
	guard  *guard      // guarded by mu; nil where the policy asks for nothing of the kind
	strict *strictness // guarded by mu; nil where frames are not held to RFC 6455

	writeTimeout, closeTimeout, lingerTimeout time.Duration

	// Where goroutines relay.
	pumps *pumps // nil on the loop; set once, under mu

	// Where the loop relays.
	place place
	done  func(Outcome)

	mu         sync.Mutex // guards the rest, and the fields of the sides that say so
	lastActive int64      // when data last passed
	marks      pace.Marks
	ending     *ending // nil until the first cause of the end
	running    bool
	finished   bool // both sides are closed, or about to be
	looped     bool // the loop relays; does not change once running

	pulse pulse  // of the client
	taken uint32 // how much the client had taken, when last looked at; the lower half
}

// pumps is what a connection needs where goroutines relay.
type pumps struct {
	buffers *bufferSource
	keeper  *keeper
	entry   int32 // with the keeper, if the relay has a guard

	work sync.WaitGroup // pumps, frames of ours being written, and the closing of the conns

	// Guarded by Relay.mu.
	handback chan struct{} // closed when a ping is written; nil if none is being written
	wake     chan struct{} // closed when the end begins; nil if nobody waits for that
}

// kept is what came from a side and could not be passed on at once.
type kept struct {
	data  []byte
	short bool // is to be judged together with what follows; only on the loop
}

func keep(data []byte) *kept {
	if len(data) == 0 {
		return nil
	}
	return &kept{data: data}
}

// side is one peer and the outlet to the peer.
type side struct {
	conn   Conn
	kept   *kept  // what came and is not passed on yet; nil for nothing. Belongs to the reader of this side
	socket socket // on the loop

	// Guarded by Relay.mu.
	scan     wsframe.Scanner
	controls bucket // of pings and pongs
	party    Party
	masked   bool // our frames to the peer must be masked
	complete bool // nothing more is expected from the peer
	gone     bool // the peer's stream has been read to the end
	barred   bool // the peer has broken a rule, and nothing more of it is passed on
	metered  bool // the frame in progress passes piece by piece
	waits    bool // what came from the peer is held back by a rate
	slowed   bool // the peer was held back, and is not well within its rates again
	carries  bool // the piece being written has data

	// The outlet; guarded by Relay.mu.
	writing bool         // the baton is taken
	mid     bool         // the last byte written was not the last of a frame
	shut    bool         // the baton may not be taken again
	held    atomic.Int32 // how much is held that neither the peer nor the kernel has taken
	pending *Close       // to be written at the next end of a frame
}

// New returns a relay that is ready to run.
func New(c Config) *Relay {
	forgetSettings(c.Client, tlsIsKnown)
	now := monotonic(time.Now())
	r, guard := allocate(c.Policy)
	*r = Relay{
		client:        side{party: Client, conn: c.Client, kept: keep(c.EarlyFromClient)},
		upstream:      side{party: Upstream, conn: c.Upstream, kept: keep(c.EarlyFromUpstream), masked: true},
		writeTimeout:  c.WriteTimeout,
		closeTimeout:  positiveOr(c.CloseTimeout, defaultCloseTimeout),
		lingerTimeout: positiveOr(c.LingerTimeout, defaultLingerTimeout),
		policy:        c.Policy,
		lastActive:    now,
		marks:         pace.Since(now),
	}
	if r.policy == nil {
		r.policy = &noPolicy
	}
	if guard != nil {
		*guard = newGuard(now, r.policy)
		r.guard = guard
	}
	if r.policy.Strict || c.Assembled {
		r.strict = &strictness{reserved: c.ReservedBits, assembled: c.Assembled}
	}
	r.client.controls, r.upstream.controls = now, now
	return r
}

// allocate makes room for a relay and, where its policy asks for one, its guard, in one
// piece: a small piece that lives long keeps the whole page that it lies in from being
// given back.
func allocate(p *Policy) (*Relay, *guard) {
	if p == nil || !p.guards() {
		return new(Relay), nil
	}
	both := new(struct {
		Relay
		guard
	})
	return &both.Relay, &both.guard
}

func positiveOr(d, otherwise time.Duration) time.Duration {
	if d > 0 {
		return d
	}
	return otherwise
}

// Start begins to relay and returns at once. When the connection has ended and both
// sides are closed, done is called in a goroutine of its own, where it must not panic.
// The event loop relays if both sides are sockets, plain or under TLS, and else the
// goroutines of [Relay.Run]. Either Start or Run must be called, once.
func (r *Relay) Start(done func(Outcome)) {
	if r.startOnLoop(done, tlsIsKnown) {
		return
	}
	go func() { done(r.Run()) }()
}

// Run relays until the connection has ended and both sides are closed. When it
// returns, nothing of the relay is running.
func (r *Relay) Run() Outcome { return r.run(sharedKeeper, &sharedBuffers) }

func (r *Relay) run(k *keeper, buffers *bufferSource) Outcome {
	p := &pumps{buffers: buffers, keeper: k}
	p.work.Add(2) // the other pump; the closing of the conns
	if r.guard != nil {
		p.entry = k.enter(r)
		defer k.leave(p.entry)
	}
	r.setPumps(p)
	r.guarded(r.setRunning)
	if r.guard != nil {
		k.set(p.entry, r.wakesAt())
	}
	go r.pumpFromUpstream()
	r.guarded(r.pumpFromClient)
	r.pumps.work.Wait()
	return r.outcome()
}

func (r *Relay) setPumps(p *pumps) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.pumps = p
}

func (r *Relay) outcome() Outcome {
	r.mu.Lock()
	defer r.mu.Unlock()
	return Outcome{
		By:           r.ending.by,
		Code:         r.ending.cause.Code,
		Reason:       r.ending.cause.Reason,
		Limit:        r.ending.limit,
		Idle:         r.ending.idle,
		RTT:          r.guard.meanRTT(),
		Panic:        r.ending.panicked,
		FromClient:   r.client.scan.Counts(),
		FromUpstream: r.upstream.scan.Counts(),
	}
}

func (r *Relay) pumpFromClient() { r.pump(&r.client, &r.upstream) }

// pumpFromUpstream runs in a goroutine of its own, unlike pumpFromClient.
func (r *Relay) pumpFromUpstream() {
	defer r.pumps.work.Done()
	defer r.contain()
	r.pump(&r.upstream, &r.client)
}

// End makes the gateway end the connection: each side gets its close frame as soon as
// the stream to it stands between two frames. Nothing happens if the connection is
// ending already. End does not block and may be called from anywhere, even before Run
// or Start, which then begins with the end.
func (r *Relay) End(client, upstream Close) {
	defer r.containEnd()
	if r.beginEnd(client, upstream) {
		r.callLoop()
	}
}

// beginEnd decides the end, and reports whether the loop has to be called.
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

// LastActive returns when data last passed, in either direction; at first, when the
// relay was made. Pings, pongs and close frames are no data.
func (r *Relay) LastActive() time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	return moment(r.lastActive)
}

// Counts returns what has come from each side so far, perhaps without the latest
// chunk.
func (r *Relay) Counts() (fromClient, fromUpstream wsframe.Counts) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.client.scan.Counts(), r.upstream.scan.Counts()
}

// Pending returns how many bytes are held back that a side has not taken yet, those
// that the kernel holds aside.
func (r *Relay) Pending() (toClient, toUpstream int) {
	return int(r.client.held.Load()), int(r.upstream.held.Load())
}

// other returns the side that s is not.
func (r *Relay) other(s *side) *side {
	if s == &r.client {
		return &r.upstream
	}
	return &r.client
}
