package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/wsgateway/caddy-ws-gateway/fleet"
	"github.com/wsgateway/caddy-ws-gateway/fleet/redis"
	"github.com/wsgateway/caddy-ws-gateway/internal/admission"
	"github.com/wsgateway/caddy-ws-gateway/internal/balance"
	"github.com/wsgateway/caddy-ws-gateway/internal/membership"
)

const gatewayName = "chat"

// node is what a Caddy has of a fleet, without Caddy.
type node struct {
	world  *world
	seats  *admission.Local
	member *membership.Member
	cut    atomic.Bool // from Redis, as a process is that was killed

	mu    sync.Mutex
	conns []*conn
	dead  bool
}

// conn is a connection that nobody is at the ends of.
type conn struct {
	seat admission.Seat
	user int
}

func newNode(w *world, name, url string) (*node, error) {
	n := &node{world: w, seats: admission.New()}
	module := &redis.Redis{ //nolint:gosec // the secret is none
		URLs: []string{url}, Node: name, Secret: "of the simulation",
		Heartbeat: caddy.Duration(w.settings.heartbeat), Timeout: caddy.Duration(w.settings.timeout),
	}
	ctx, cancel := caddy.NewContext(caddy.Context{Context: context.Background()})
	defer cancel()
	if err := module.Provision(ctx); err != nil {
		return nil, err
	}
	if err := module.Validate(); err != nil {
		return nil, err
	}
	n.seats.Track(gatewayName, w.caps, func(func(*admission.Seat, netip.Addr, string)) {})
	n.member = membership.New(membership.Config{
		ID:       name,
		Settings: module.Settings(),
		Engine:   "redis",
		Open: func(ctx context.Context) (fleet.Engine, error) {
			engine, err := module.Open(ctx)
			if err != nil {
				return nil, err
			}
			return &cuttable{engine, &n.cut}, nil
		},
		Seats:  n.seats,
		Conns:  balance.NewLedger(),
		Info:   func() membership.Info { return membership.Info{Name: name, State: "ready", Live: n.live()} },
		Logger: zap.NewNop(),
	})
	n.member.Start()
	return n, nil
}

// cuttable is an engine that can be cut off for good.
type cuttable struct {
	fleet.Engine
	cut *atomic.Bool
}

var errCut = errors.New("cut off")

// Exchange implements [fleet.Engine].
func (c *cuttable) Exchange(ctx context.Context, batch *fleet.Batch) (*fleet.Answer, error) {
	if c.cut.Load() {
		return nil, errCut
	}
	return c.Engine.Exchange(ctx, batch)
}

// Assert implements [fleet.Engine].
func (c *cuttable) Assert(ctx context.Context, share *fleet.Share) error {
	if c.cut.Load() {
		return errCut
	}
	return c.Engine.Assert(ctx, share)
}

// Leave implements [fleet.Engine].
func (c *cuttable) Leave(ctx context.Context, id string) error {
	if c.cut.Load() {
		return errCut
	}
	return c.Engine.Leave(ctx, id)
}

func (n *node) live() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return len(n.conns)
}

// mostAsks is as in the gateway.
const mostAsks = 8

// open does what a handshake does about caps. What the gateway does meanwhile, such as
// dialing the upstream, is left out, so that all the time it takes is added.
func (n *node) open(ctx context.Context, user int) {
	c := &conn{user: user}
	name, ip := fmt.Sprint("user-", user), addressOf(user)
	began := time.Now()
	limit := n.seats.Admit(&c.seat, gatewayName, n.world.caps, ip, name)
	for asks := 0; limit == admission.Connections && asks < mostAsks; asks++ {
		if !n.member.MoreSeats(ctx, gatewayName, n.world.caps.Connections) {
			break
		}
		limit = n.seats.Admit(&c.seat, gatewayName, n.world.caps, ip, name)
	}
	if limit == "" {
		verdict := n.member.Claim(&c.seat, gatewayName, n.world.caps, ip, name).Wait(ctx)
		limit = verdict.Limit
	}
	took := time.Since(began)
	if limit == "" && !n.hold(c) {
		limit = "dead"
	}
	if limit != "" {
		c.seat.Release()
	}
	n.world.note(limit, took)
}

func addressOf(user int) netip.Addr {
	return netip.AddrFrom4([4]byte{10, byte(user >> 16), byte(user >> 8), byte(user)})
}

func (n *node) hold(c *conn) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.dead {
		return false
	}
	n.conns = append(n.conns, c)
	n.world.users[c.user].Add(1)
	n.world.live.Add(1)
	c.seat.Settle()
	return true
}

// closeOne closes a connection at random.
func (n *node) closeOne() {
	if c := n.takeOne(); c != nil {
		n.world.forget(c)
		c.seat.Release()
	}
}

func (n *node) takeOne() *conn {
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.conns) == 0 {
		return nil
	}
	i, last := rand.IntN(len(n.conns)), len(n.conns)-1 //nolint:gosec // of a simulation
	c := n.conns[i]
	n.conns[i] = n.conns[last]
	n.conns = n.conns[:last]
	return c
}

// kill is the end of a process by kill -9: its connections are gone, and Redis is not told.
func (n *node) kill() {
	n.cut.Store(true)
	n.mu.Lock()
	n.dead = true
	conns := n.conns
	n.conns = nil
	n.mu.Unlock()
	for _, c := range conns {
		n.world.forget(c)
	}
	n.stop()
}

func (n *node) stop() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	n.member.Stop(ctx)
}
