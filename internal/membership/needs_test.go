package membership

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wsgateway/caddy-ws-gateway/fleet"
	"github.com/wsgateway/caddy-ws-gateway/fleet/memory"
	"github.com/wsgateway/caddy-ws-gateway/internal/admission"
	"github.com/wsgateway/caddy-ws-gateway/internal/balance"
	"github.com/wsgateway/caddy-ws-gateway/internal/bubble"
)

func TestNobodyWaitsForMoreOfWhatHasNoCap(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t, memory.New(time.Now), "a", admission.Caps{}, nil)
		start(n)
		begun := time.Now()
		if n.MoreSeats(t.Context(), gateway, 10) {
			t.Error("there is more of no cap")
		}
		if took := time.Since(begun); took > 0 {
			t.Errorf("it took %v to say so", took)
		}
		stop(n)
	})
}

// Otherwise clients that come and go at once would have a node take more than its part.
func TestAllowanceIsNotRaisedForWhoDoesNotWait(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		wait func(ctx context.Context) (context.Context, context.CancelFunc)
		want int
	}{
		"left": {func(ctx context.Context) (context.Context, context.CancelFunc) {
			ctx, cancel := context.WithCancel(ctx)
			cancel()
			return ctx, cancel
		}, 0},
		"had waited before": {func(ctx context.Context) (context.Context, context.CancelFunc) {
			return context.WithTimeout(ctx, timeout/10)
		}, 0},
		"waits": {func(ctx context.Context) (context.Context, context.CancelFunc) {
			return context.WithTimeout(ctx, timeout)
		}, 5},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				f := memory.New(time.Now)
				nodes := newNodes(t, f, 2, admission.Caps{Connections: 10}, nil)
				start(nodes...)
				rush(nodes[:1], 10, "")
				bubble.Elapse(2 * heartbeat)
				f.Stall()
				ctx, cancel := row.wait(t.Context())
				defer cancel()
				again := nodes[1].MoreSeats(ctx, gateway, 10)
				if got := nodes[1].seats.Shared()[0].Allowance; got != row.want || again != (row.want > 0) {
					t.Errorf("an allowance of %d, want %d; again: %v", got, row.want, again)
				}
				f.Resume()
				stop(nodes...)
			})
		})
	}
}

// A node that was stopped for a while has nothing to spare any more.
func TestNodeWhoseShareWasVoidHoldsWhatItHasConnectionsFor(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := memory.New(time.Now)
		held := make(chan int, 10)
		n := newNode(t, f, "a", admission.Caps{Connections: 10}, func(c *Config) {
			open := c.Open
			c.Open = func(ctx context.Context) (fleet.Engine, error) {
				engine, err := open(ctx)
				return asserting{engine, held}, err
			}
		})
		start(n)
		rush([]*node{n}, 4, "")
		bubble.Elapse(heartbeat) // which expects as many more
		if s := n.seats.Shared()[0]; s.Allowance <= s.Live {
			t.Fatalf("an allowance of %d for %d, which leaves nothing to spare", s.Allowance, s.Live)
		}
		<-held
		f.Flush()
		n.Beat()
		synctest.Wait()
		if got := <-held; got != 4 {
			t.Errorf("it holds %d, want 4", got)
		}
		stop(n)
	})
}

// asserting notes what is held of the cap on connections.
type asserting struct {
	fleet.Engine
	held chan int
}

func (a asserting) Assert(ctx context.Context, share *fleet.Share) error {
	a.held <- share.Held[slot{name: gateway}.key()]
	return a.Engine.Assert(ctx, share)
}

// A reload forgets which dynamic upstreams there were, until handshakes name them again.
func TestConnectionsToADynamicUpstreamCountAfterAReload(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := memory.New(time.Now)
		nodes := newNodes(t, f, 2, admission.Caps{}, nil)
		settings := balance.Settings{Name: gateway, Policy: balance.LeastConn{}, MaxConns: 10}
		members := []balance.Member{{Address: "a:1", Weight: 1, Source: up{}}}
		var leases []*balance.Lease
		rush := func(n *node, b *balance.Balancer) (got int) {
			for range 12 {
				lease := new(balance.Lease)
				b.AcquireFrom(lease, balance.Ask{}, members)
				if lease.Address() == "" && n.MoreConns(t.Context(), []string{"a:1"}, 10) {
					b.AcquireFrom(lease, balance.Ask{}, members)
				}
				if lease.Address() != "" {
					leases = append(leases, lease)
					got++
				}
			}
			return got
		}
		start(nodes...)
		old := nodes[0].conns.New(settings, nil)
		if got := rush(nodes[0], old); got != 10 {
			t.Fatalf("%d came in, want 10", got)
		}
		nodes[0].conns.New(settings, nil)
		old.Close()
		bubble.Elapse(2 * heartbeat)
		f.Flush()
		bubble.Elapse(2 * heartbeat)
		other := nodes[1].conns.New(settings, nil)
		if got := rush(nodes[1], other); got != 0 {
			t.Errorf("%d came in above the cap", got)
		}
		for _, lease := range leases[:3] {
			lease.Release()
		}
		bubble.Elapse(2 * heartbeat)
		if got := rush(nodes[1], other); got != 3 {
			t.Errorf("%d came in after as many had gone, want 3", got)
		}
		stop(nodes...)
	})
}
