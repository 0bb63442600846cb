// Package membership makes a process a node of a fleet: the caps of its gateways are
// those of all nodes together, it knows the other nodes, and they know of it.
//
// A node counts its own connections. One goroutine, the courier, tells the engine of
// them, one batch after the other, so that batches carry absolute numbers and a batch
// that got lost does no lasting harm. Handshakes wait for the verdict of the engine no
// longer than the timeout, and are decided by the node after that.
//
// What is held to a cap for each client is claimed connection by connection. What is
// held to a cap as a whole, the connections of a gateway or of an upstream, is handed
// out by the ledgers of the process within an allowance, which is a part of the cap that
// the engine has given to the node. Unless there is an outage it always holds that
//
//	live, of the node <= part, as the engine knows it
//	sum of all parts  <= cap, or nobody is admitted by any node
//
// since an allowance grows only after the engine has said so, and shrinks before the
// engine is told; and since what the engine is told of is never less than the allowance
// and the connections that there are.
//
// An outage begins with the third failure in a row, and a node that has no answer for
// three times the timeout has failed three times. It ends when the engine has taken the
// share of the node.
package membership

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/wsgateway/caddy-ws-gateway/fleet"
	"github.com/wsgateway/caddy-ws-gateway/internal/admission"
	"github.com/wsgateway/caddy-ws-gateway/internal/balance"
)

// Config is what a node is made of.
type Config struct {
	ID       string // of the incarnation
	Settings fleet.Settings
	Engine   string // its name, such as "redis"
	Open     func(ctx context.Context) (fleet.Engine, error)

	Seats *admission.Local // the ledgers of the process
	Conns *balance.Ledger

	Info    func() Info // asked at each beat and for each View
	Logger  *zap.Logger
	Observe func(operation string, took time.Duration) // nil for nobody
	News    News                                       // nil for nobody
}

// Info is what the other nodes are to know of a node.
type Info struct {
	Name      string         `json:"name"`
	Version   string         `json:"version,omitempty"`
	State     string         `json:"state,omitempty"`
	Live      int            `json:"live"`
	Upstreams map[string]int `json:"upstreams,omitempty"` // connections by address
}

// News is who follows what the engine says of records.
type News interface {
	// Joined is called when the engine answers, for the first time or again after an
	// outage, before any handshake is decided by it.
	Joined(ctx context.Context, engine fleet.Engine)

	// Heard is called after each beat with its answer. It must not wait for long.
	Heard(ctx context.Context, engine fleet.Engine, answer *fleet.Answer)

	// Position is up to where in the log the node knows the records.
	Position() string

	// Left is called when an outage begins, and when the member leaves, if Joined was
	// called before.
	Left()
}

// Member is a node of a fleet. A nil Member is that of no fleet.
//
// A member is made known to who calls Claim before it is started, and Claim is called
// after the seat was admitted: so a connection is claimed, or there when the member
// starts, or both.
type Member struct {
	config Config
	keys   keys

	ending   context.Context // is done when the courier has to end
	leave    context.CancelFunc
	politely atomic.Bool // it gives the share back then
	started  atomic.Bool
	over     chan struct{} // closed when the courier has ended
	wake     chan struct{} // has room for one; there may be something to say

	out   atomic.Bool // there is an outage; changes under mu
	parts parts

	mu      sync.Mutex
	ended   bool // nothing counts any more
	books   books
	claims  []*Pending // for the next batch
	knocks  []*Pending
	needs   map[slot]*need
	beatNow bool
	breaker breaker
	nodes   []fleet.Node // as of the last beat
	engine  fleet.Engine // nil until it has had the node's share
}

// New returns a member that does nothing until Start.
func New(c Config) *Member {
	if c.Logger == nil {
		c.Logger = zap.NewNop()
	}
	m := &Member{config: c, over: make(chan struct{}), wake: make(chan struct{}, 1), needs: make(map[slot]*need)}
	m.ending, m.leave = context.WithCancel(context.Background())
	m.keys.init(c.Settings.Secret)
	m.books.init()
	m.parts.init()
	return m
}

// Start joins the fleet. It returns at once.
func (m *Member) Start() {
	if m == nil || m.started.Swap(true) {
		return
	}
	m.bind()
	m.config.Seats.OnTrack(m.track)
	go m.run()
}

// Stop leaves the fleet and gives the share of the node back. The caps are the node's own
// from then on.
func (m *Member) Stop(ctx context.Context) {
	if m == nil {
		return
	}
	m.politely.Store(true)
	bound := m.started.Load()
	m.Retire(ctx)
	if bound {
		m.config.Seats.OnTrack(nil)
		m.unbind()
	}
}

// Retire ends the member like Stop, but the share stays for the next member of the same
// ID, which asserts it anew.
func (m *Member) Retire(ctx context.Context) {
	if m == nil {
		return
	}
	m.leave()
	if m.started.Swap(true) {
		select {
		case <-m.over:
		case <-ctx.Done():
		}
	}
	m.end()
}

// end has nothing count any more.
func (m *Member) end() {
	m.endParts()
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.ended {
		return
	}
	m.decideAllLocked()
	m.out.Store(false)
	m.ended = true
	m.engine = nil
}

func (m *Member) setEngine(e fleet.Engine) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.engine = e
}

// Beat has the node give a sign of life now.
func (m *Member) Beat() {
	if m == nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.beatNow = true
	m.rouse()
}

// Out reports whether there is an outage.
func (m *Member) Out() bool { return m != nil && m.out.Load() }

// Refuses reports whether gateways with a cap refuse handshakes, as there is an outage.
func (m *Member) Refuses() bool { return m.Out() && m.config.Settings.Closed }
