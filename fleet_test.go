package wsgateway

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/wsgateway/caddy-ws-gateway/fleet"
	"github.com/wsgateway/caddy-ws-gateway/fleet/memory"
	"github.com/wsgateway/caddy-ws-gateway/internal/admission"
	"github.com/wsgateway/caddy-ws-gateway/internal/balance"
	"github.com/wsgateway/caddy-ws-gateway/internal/bubble"
	"github.com/wsgateway/caddy-ws-gateway/internal/live"
	"github.com/wsgateway/caddy-ws-gateway/internal/revocation"
)

// inMemory is an engine that the nodes of a test share.
type inMemory struct {
	engine *memory.Fleet
	closed bool
}

// Settings implements fleet.Module.
func (m inMemory) Settings() fleet.Settings {
	return fleet.Settings{Node: "a", Heartbeat: time.Second, Timeout: 50 * time.Millisecond, Secret: []byte("secret"), Closed: m.closed}
}

// Open implements fleet.Module.
func (m inMemory) Open(context.Context) (fleet.Engine, error) { return m.engine.Engine(), nil }

// asked is a configuration that asks for the fleet.
func (m inMemory) asked(said string) *fleetOfConfig {
	return &fleetOfConfig{engine: "memory", module: m, said: []byte(said), logger: zap.NewNop()}
}

// newNode returns a node in no fleet yet, with connections and records of its own.
func newNode() *fleetNode {
	set := live.NewSet(live.Reports{}, func() bool { return false })
	return &fleetNode{set: set, kept: newRecords(set), answers: func(kind string, question []byte) []byte { return answerNode(set, kind, question) }}
}

// inFleets runs a test with so many nodes that have joined one fleet.
func inFleets(t *testing.T, nodes int, m inMemory, test func(t *testing.T, m inMemory, nodes []*fleetNode)) {
	synctest.Test(t, func(t *testing.T) {
		m.engine = memory.New(time.Now)
		all := make([]*fleetNode, nodes)
		for i := range all {
			all[i] = newNode()
			all[i].join(m.asked(""))
			defer all[i].exit()
		}
		bubble.Elapse(3 * time.Second)
		test(t, m, all)
	})
}

// capped is a handler of the node.
func capped(n *fleetNode, caps admission.Caps) *Handler {
	h := &Handler{Proxy: new(reverseproxy.Handler), running: &running{name: "chat", logger: zap.NewNop(), live: n.set, fleet: n, caps: caps, hasCap: true}}
	h.taken.add(n.set.Hold(h.name, caps))
	return h
}

// enter takes a seat, and hears what the fleet says. The status is that of a refusal.
func enter(h *Handler, user string) (seat *admission.Seat, status int) {
	w, r := httptest.NewRecorder(), handshakeFrom("192.0.2.1", user)
	e := new(errands)
	if rf := h.letKnock(w, r, e); rf != nil {
		return nil, rf.status
	}
	seat, rf := h.takeSeat(w, r, e)
	if rf == nil {
		rf = h.hear(w, r, e)
	}
	if rf != nil {
		seat.Release()
		return nil, rf.status
	}
	return seat, 0
}

func TestCapsAreThoseOfAllNodes(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		caps   admission.Caps
		status int
	}{
		"connections":          {admission.Caps{Connections: 2}, http.StatusServiceUnavailable},
		"connections per user": {admission.Caps{PerUser: 2}, http.StatusTooManyRequests},
		"connections per ip":   {admission.Caps{PerIP: 2}, http.StatusTooManyRequests},
		"handshakes per ip":    {admission.Caps{Handshakes: admission.Rate{Count: 2, Per: time.Hour}}, http.StatusTooManyRequests},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inFleets(t, 3, inMemory{}, func(t *testing.T, _ inMemory, nodes []*fleetNode) {
				var seats []*admission.Seat
				for i, want := range []int{0, 0, row.status} {
					h := capped(nodes[i], row.caps)
					defer func() { _ = h.taken.giveBack() }()
					seat, status := enter(h, "alice")
					if status != want {
						t.Errorf("node %d answers %d, want %d", i, status, want)
					}
					seats = append(seats, seat)
				}
				for _, seat := range seats {
					seat.Release()
				}
			})
		})
	}
}

func TestHandshakesAreRefusedInAnOutageWhereThatIsWanted(t *testing.T) {
	t.Parallel()
	for _, closed := range []bool{true, false} {
		inFleets(t, 1, inMemory{closed: closed}, func(t *testing.T, m inMemory, nodes []*fleetNode) {
			m.engine.Fail(context.DeadlineExceeded)
			bubble.Elapse(10 * time.Second)
			h := capped(nodes[0], admission.Caps{PerUser: 1})
			defer func() { _ = h.taken.giveBack() }()
			want := 0
			if closed {
				want = http.StatusServiceUnavailable
			}
			seat, status := enter(h, "alice")
			if status != want {
				t.Errorf("closed %t: it answers %d, want %d", closed, status, want)
			}
			seat.Release()
			h.hasCap = false
			if rf := h.turnAwayCutOff(httptest.NewRecorder()); rf != nil {
				t.Errorf("closed %t: without a cap it answers %d", closed, rf.status)
			}
			m.engine.Fail(nil)
		})
	}
}

func TestWhatOperatorsSayReachesAllNodes(t *testing.T) {
	t.Parallel()
	inFleets(t, 2, inMemory{}, func(t *testing.T, _ inMemory, nodes []*fleetNode) {
		r := revocation.Revocation{User: "alice", IssuedBefore: time.Now(), Created: time.Now(), Until: time.Now().Add(time.Hour), Code: 3000}
		r = r.Identify()
		_, _, _ = nodes[0].kept.revoke(t.Context(), r) // there is no storage, of which the error is
		_ = nodes[0].kept.setState(t.Context(), "a:1", balance.Drain)
		bubble.Elapse(3 * time.Second)
		if nodes[1].set.Revocations.Get(r.ID) == nil {
			t.Error("the other node does not know the revocation")
		}
		if state := nodes[1].set.Ledger.Look("a:1").State; state != balance.Drain {
			t.Errorf("at the other node the upstream is %s", state)
		}
	})
}

// TestWhatIsSaidInAnOutageOutlivesTheReloadThatEndsIt on the node where it was said, and
// reaches the others.
func TestWhatIsSaidInAnOutageOutlivesTheReloadThatEndsIt(t *testing.T) {
	t.Parallel()
	inFleets(t, 2, inMemory{}, func(t *testing.T, m inMemory, nodes []*fleetNode) {
		_ = nodes[1].kept.setState(t.Context(), "a:1", balance.Maintenance) // there is no storage, of which the error is
		bubble.Elapse(3 * time.Second)
		m.engine.Fail(context.DeadlineExceeded)
		bubble.Elapse(10 * time.Second)
		_ = nodes[0].kept.setState(t.Context(), "a:1", balance.Drain)
		_ = nodes[0].kept.setState(t.Context(), "b:1", balance.Drain)
		nodes[0].join(m.asked("another address"))
		m.engine.Fail(nil)
		bubble.Elapse(10 * time.Second)
		for i, n := range nodes {
			for _, address := range []string{"a:1", "b:1"} {
				if state := n.set.Ledger.Look(address).State; state != balance.Drain {
					t.Errorf("at node %d %s is %s", i, address, state)
				}
			}
		}
	})
}

func TestFleetIsLoggedWhereTheNewestConfigurationHasItsLog(t *testing.T) {
	t.Parallel()
	inFleets(t, 1, inMemory{}, func(t *testing.T, m inMemory, nodes []*fleetNode) {
		core, lines := observer.New(zap.ErrorLevel)
		next := m.asked("")
		next.logger = zap.New(core)
		nodes[0].join(next)
		m.engine.Fail(context.DeadlineExceeded)
		bubble.Elapse(10 * time.Second)
		if n := lines.FilterField(zap.String("engine", "memory")).Len(); n != 1 || lines.All()[0].LoggerName != "ws_gateway" {
			t.Errorf("it has %d lines, want one about the outage: %v", n, lines.All())
		}
		logTo(&nodes[0].latest, "ws_gateway").With(zap.String("a", "b")).Info("below the level")
		if lines.Len() != 1 {
			t.Error("a line below the level was written")
		}
		m.engine.Fail(nil)
	})
}

func TestReloadStaysInItsFleet(t *testing.T) {
	t.Parallel()
	inFleets(t, 1, inMemory{}, func(t *testing.T, m inMemory, nodes []*fleetNode) {
		n := nodes[0]
		first := n.member()
		same, other := m.asked(""), m.asked("another timeout")
		n.join(same)
		n.leave(n.wanted[0])
		if n.member() != first {
			t.Error("the same configuration made another member")
		}
		n.join(other)
		second := n.member()
		if second == first || second == nil {
			t.Error("another configuration did not make another member")
		}
		n.leave(other) // it failed to load
		if n.member() == second || n.member() == nil {
			t.Error("the configuration before does not hold again")
		}
		n.leave(same)
		if n.member() != nil {
			t.Error("the fleet was not left")
		}
	})
}

func TestNothingIsKeptForAFleetThatThereIsNot(t *testing.T) {
	t.Parallel()
	h := capped(newNode(), admission.Caps{PerUser: 1})
	defer func() { _ = h.taken.giveBack() }()
	if e := h.newErrands(); e != nil {
		t.Error("a handshake has errands")
	}
	if _, rf := h.takeSeat(httptest.NewRecorder(), handshakeFrom("192.0.2.1", "alice"), nil); rf != nil {
		t.Error(rf)
	}
}
