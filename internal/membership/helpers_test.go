package membership

import (
	"context"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/wsgateway/caddy-ws-gateway/fleet"
	"github.com/wsgateway/caddy-ws-gateway/fleet/memory"
	"github.com/wsgateway/caddy-ws-gateway/internal/admission"
	"github.com/wsgateway/caddy-ws-gateway/internal/balance"
)

const (
	heartbeat = 3 * time.Second
	timeout   = 50 * time.Millisecond
	gateway   = "chat"
)

var alice = netip.MustParseAddr("192.0.2.1")

// node is a process with a member.
type node struct {
	*Member
	t     *testing.T
	id    string
	fleet *memory.Fleet
	caps  admission.Caps
	seats *admission.Local
	conns *balance.Ledger
	lines *observer.ObservedLogs
	said  atomic.Int64 // commands
	live  atomic.Int64
	set   func(*Config)
}

// counting counts the commands of a node.
type counting struct {
	fleet.Engine
	said *atomic.Int64
}

func (c counting) Exchange(ctx context.Context, b *fleet.Batch) (*fleet.Answer, error) {
	c.said.Add(1)
	return c.Engine.Exchange(ctx, b)
}

func (c counting) Assert(ctx context.Context, s *fleet.Share) error {
	c.said.Add(1)
	return c.Engine.Assert(ctx, s)
}

// newNode returns a node whose member was not started, and whose gateway has the caps.
func newNode(t *testing.T, f *memory.Fleet, id string, caps admission.Caps, set func(*Config)) *node {
	n := &node{t: t, id: id, fleet: f, caps: caps, seats: admission.New(), conns: balance.NewLedger(), set: set}
	t.Cleanup(n.seats.Track(gateway, caps, nil))
	core, lines := observer.New(zapcore.InfoLevel)
	n.lines = lines
	n.renew(zap.New(core))
	return n
}

// renew gives the node another member.
func (n *node) renew(logger *zap.Logger) {
	c := Config{
		ID: n.id, Settings: fleet.Settings{Node: n.id, Heartbeat: heartbeat, Timeout: timeout, Secret: []byte("secret")},
		Engine: "memory", Seats: n.seats, Conns: n.conns, Logger: logger,
		Open: func(context.Context) (fleet.Engine, error) { return counting{n.fleet.Engine(), &n.said}, nil },
		Info: func() Info { return Info{Name: n.id, State: "ready", Live: int(n.live.Load())} },
	}
	if n.set != nil {
		n.set(&c)
	}
	n.Member = New(c)
}

// start starts nodes, which are there when it returns.
func start(nodes ...*node) {
	for _, n := range nodes {
		n.Start()
	}
	synctest.Wait()
}

func stop(nodes ...*node) {
	for _, n := range nodes {
		n.Stop(context.Background())
	}
}

// try has a client try to connect, as the handler does.
func (n *node) try(ip netip.Addr, user string) (*admission.Seat, Verdict) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout) // for all that it waits for
	defer cancel()
	seat := new(admission.Seat)
	for {
		limit := n.seats.Admit(seat, gateway, n.caps, ip, user)
		if limit == "" {
			break
		}
		if n.Refuses() {
			return nil, Verdict{Closed: true}
		}
		if limit == admission.Connections && n.seats.Short(gateway, n.caps.Connections) &&
			n.MoreSeats(ctx, gateway, n.caps.Connections) {
			continue
		}
		return nil, Verdict{Limit: limit}
	}
	if v := n.Claim(seat, gateway, n.caps, ip, user).Wait(ctx); v != (Verdict{}) {
		seat.Release()
		return nil, v
	}
	n.live.Add(1)
	return seat, Verdict{}
}

func (n *node) leave(seat *admission.Seat) {
	n.live.Add(-1)
	seat.Release()
}

// rush has so many clients try at once, spread over the nodes, and returns the seats of
// those that came in, by node.
func rush(nodes []*node, clients int, user string) [][]*admission.Seat {
	got := make([][]*admission.Seat, len(nodes))
	var mu sync.Mutex
	var all sync.WaitGroup
	for i := range clients {
		all.Go(func() {
			at := i % len(nodes)
			seat, _ := nodes[at].try(alice, user)
			if seat == nil {
				return
			}
			mu.Lock()
			defer mu.Unlock()
			got[at] = append(got[at], seat)
		})
	}
	all.Wait()
	return got
}

func total(got [][]*admission.Seat) int {
	n := 0
	for _, seats := range got {
		n += len(seats)
	}
	return n
}

// look asks the engine what all nodes have of a key and of a part.
func look(t *testing.T, f *memory.Fleet, key, part string) (connections, parts int) {
	t.Helper()
	e := f.Engine()
	defer e.Close()
	ctx := context.Background()
	share := &fleet.Share{Node: "onlooker", Seq: sequence.Add(1), Counts: map[string]int{"full": 1}}
	share.Beat.Void = time.Second
	if err := e.Assert(ctx, share); err != nil {
		t.Fatal(err)
	}
	a, err := e.Exchange(ctx, &fleet.Batch{
		Node: "onlooker", Seq: sequence.Add(1), Last: share.Seq,
		Claims: []fleet.Claim{{Keys: []fleet.Capped{{Key: key}, {Key: "full", Cap: 1}}}},
		Slices: []fleet.Slice{{Key: part}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Leave(ctx, "onlooker"); err != nil {
		t.Fatal(err)
	}
	return a.Claims[0].Others[0], a.Slices[0].Others
}

func (n *node) userKey(user string) string {
	k := n.keys.user(gateway, user)
	return string(k[:])
}

// expect checks what the engine has of a user, and of the gateway's cap.
func (n *node) expect(user string, connections, parts int) {
	n.t.Helper()
	c, p := look(n.t, n.fleet, n.userKey(user), slot{name: gateway}.key())
	if c != connections || p != parts {
		n.t.Errorf("the engine has %d connections and parts of %d, want %d and %d", c, p, connections, parts)
	}
}

func (n *node) levels() (errs, infos int) {
	for _, line := range n.lines.All() {
		switch line.Level {
		case zapcore.ErrorLevel:
			errs++
		case zapcore.InfoLevel:
			infos++
		default:
			n.t.Errorf("line %q of level %s", line.Message, line.Level)
		}
	}
	return errs, infos
}
