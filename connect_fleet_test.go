package wsgateway

import (
	"context"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/wsgateway/caddy-ws-gateway/fleet"
	"github.com/wsgateway/caddy-ws-gateway/fleet/memory"
	"github.com/wsgateway/caddy-ws-gateway/internal/balance"
	"github.com/wsgateway/caddy-ws-gateway/internal/live"
	"github.com/wsgateway/caddy-ws-gateway/internal/membership"
)

// nodeWith is a process of its own, whose gateway has the policy first, in a fleet.
func nodeWith(t *testing.T, f *memory.Fleet, id string, most int) *Handler {
	t.Helper()
	set := live.NewSet(live.Reports{}, func() bool { return false })
	member := membership.New(membership.Config{
		ID: id, Settings: fleet.Settings{Node: id, Heartbeat: time.Second, Timeout: 50 * time.Millisecond},
		Open:  func(context.Context) (fleet.Engine, error) { return f.Engine(), nil },
		Seats: set.Seats, Conns: set.Ledger, Info: func() membership.Info { return membership.Info{} },
	})
	node := &fleetNode{set: set}
	node.present.Store(&inFleet{member: member, answer: 50 * time.Millisecond})
	h := &Handler{
		Proxy:   &reverseproxy.Handler{Upstreams: pool("a:80", "b:80"), LoadBalancing: new(reverseproxy.LoadBalancing)},
		running: &running{name: "chat", live: set, fleet: node},
	}
	h.MaxConns = most
	if err := h.provisionBalancer(new(reverseproxy.FirstSelection)); err != nil {
		t.Fatal(err)
	}
	member.Start()
	t.Cleanup(func() { member.Stop(context.Background()) })
	return h
}

func TestPolicyGoesByTheCapOfTheFleet(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := memory.New(time.Now)
		nodes := []*Handler{nodeWith(t, f, "a", 3), nodeWith(t, f, "b", 3)}
		synctest.Wait()
		for i, want := range []string{"a:80", "a:80", "a:80", "b:80", "b:80"} {
			h := nodes[i%2]
			r, tr := requestWith(nil), newTries(h.Proxy.LoadBalancing)
			lease := new(balance.Lease)
			if rf := acquireOf(h, lease, r, tr); rf != balance.None || lease.Address() != want {
				t.Errorf("handshake %d is at %q, refusal %d; want %s", i, lease.Address(), rf, want)
			}
		}
	})
}

// acquireOf takes a lease as connect does.
func acquireOf(h *Handler, lease *balance.Lease, r *http.Request, tr *tries) balance.Refusal {
	asked := new(errands)
	for {
		up, refusal := h.acquire(lease, nil, r, tr)
		switch {
		case refusal == balance.Short:
			h.moreAt(up.Dial, r, tr, asked)
		case refusal == balance.Full && h.moreRoom(r, tr, asked):
		default:
			return refusal
		}
	}
}
