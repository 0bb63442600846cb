package membership

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wsgateway/caddy-ws-gateway/fleet/memory"
	"github.com/wsgateway/caddy-ws-gateway/internal/admission"
	"github.com/wsgateway/caddy-ws-gateway/internal/balance"
	"github.com/wsgateway/caddy-ws-gateway/internal/bubble"
)

func newNodes(t *testing.T, f *memory.Fleet, n int, caps admission.Caps, set func(*Config)) []*node {
	nodes := make([]*node, n)
	for i := range nodes {
		nodes[i] = newNode(t, f, fmt.Sprintf("node%d", i), caps, set)
	}
	return nodes
}

func TestCapsAreThoseOfAllNodes(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		caps  admission.Caps
		limit admission.Limit
		least int
	}{
		"of a user":    {admission.Caps{PerUser: 100}, admission.ConnectionsPerUser, 100},
		"of a network": {admission.Caps{PerIP: 100}, admission.ConnectionsPerIP, 100},
		"both":         {admission.Caps{PerIP: 150, PerUser: 100}, admission.ConnectionsPerUser, 100},
		"in all":       {admission.Caps{Connections: 100}, admission.Connections, 90},
		"small":        {admission.Caps{Connections: 2}, admission.Connections, 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				f := memory.New(time.Now)
				nodes := newNodes(t, f, 3, row.caps, nil)
				start(nodes...)
				got := rush(nodes, 1000, "alice")
				most := max(row.caps.PerUser, row.caps.Connections)
				if most == 0 {
					most = row.caps.PerIP
				}
				if n := total(got); n > most || n < row.least {
					t.Errorf("%d came in, want %d", n, most)
				}
				if _, v := nodes[0].try(alice, "alice"); total(got) == most && v.Limit != row.limit {
					t.Errorf("verdict %+v where there is no room", v)
				}
				for i, seats := range got {
					for _, seat := range seats {
						nodes[i].leave(seat)
					}
				}
				bubble.Elapse(2 * heartbeat)
				nodes[0].expect("alice", 0, 0)
				if n := total(rush(nodes, 1000, "alice")); n > most || n < row.least {
					t.Errorf("%d came in later, want %d", n, most)
				}
				stop(nodes...)
			})
		})
	}
}

func TestMaxConnsIsThatOfAllNodes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		nodes := newNodes(t, memory.New(time.Now), 3, admission.Caps{}, nil)
		balancers := make([]*balance.Balancer, len(nodes))
		members := []balance.Member{{Address: "a:1", Weight: 1, Source: up{}}, {Address: "b:1", Weight: 1, Source: up{}}}
		for i, n := range nodes {
			balancers[i] = n.conns.New(balance.Settings{Name: gateway, Policy: balance.LeastConn{}, MaxConns: 50}, members)
		}
		start(nodes...)
		leases := make(chan *balance.Lease, 1000)
		done := make(chan struct{}, 1000)
		for i := range 1000 {
			go func() {
				defer func() { done <- struct{}{} }()
				if lease := nodes[i%3].lease(balancers[i%3]); lease != nil {
					leases <- lease
				}
			}()
		}
		for range 1000 {
			<-done
		}
		if n := len(leases); n > 100 || n < 90 {
			t.Errorf("%d leases of 100", n)
		}
		stop(nodes...)
	})
}

// up is an upstream that is well.
type up struct{}

func (up) Healthy() bool    { return true }
func (up) Full(int) bool    { return false }
func (up) NumRequests() int { return 0 }
func (up) Fails() int       { return 0 }

// lease is nil where there is no room.
func (n *node) lease(b *balance.Balancer) *balance.Lease {
	ask := balance.Ask{Use: balance.WebSocket}
	for {
		lease := new(balance.Lease)
		if _, refusal := b.Acquire(lease, ask); refusal == balance.None {
			return lease
		}
		short := b.Short(ask, nil)
		if len(short) == 0 || !n.MoreConns(context.Background(), short, 50) {
			return nil
		}
	}
}

func TestLineIsWokenByAnotherNodesRelease(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		nodes := newNodes(t, memory.New(time.Now), 2, admission.Caps{}, nil)
		var balancers []*balance.Balancer
		members := []balance.Member{{Address: "a:1", Weight: 1, Source: up{}}}
		for _, n := range nodes {
			balancers = append(balancers, n.conns.New(balance.Settings{Name: gateway, Policy: balance.LeastConn{}, MaxConns: 1, Queue: 1}, members))
		}
		start(nodes...)
		held := nodes[0].lease(balancers[0])
		if held == nil || nodes[1].lease(balancers[1]) != nil {
			t.Fatal("the cap of one is not held by the first node")
		}
		place := balancers[1].Line([]string{"a:1"})
		<-place.Turn() // for who comes in between
		bubble.Elapse(3 * heartbeat)
		select {
		case <-place.Turn():
			t.Fatal("its turn has come while the address is full")
		default:
		}
		begun := time.Now()
		held.Release()
		<-place.Turn()
		if took := time.Since(begun); took > 2*heartbeat {
			t.Errorf("its turn came after %s", took)
		}
		if _, refusal := balancers[1].Acquire(new(balance.Lease), balance.Ask{Place: place}); refusal != balance.None {
			t.Errorf("refusal %d when its turn had come", refusal)
		}
		place.Leave()
		stop(nodes...)
	})
}

func TestRateIsThatOfAllNodes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		caps := admission.Caps{Handshakes: admission.Rate{Count: 10, Per: time.Minute}}
		nodes := newNodes(t, memory.New(time.Now), 3, caps, nil)
		start(nodes...)
		in := 0
		for i := range 30 {
			v := nodes[i%3].Knock(gateway, caps, alice).Wait(t.Context())
			if v == (Verdict{}) {
				in++
			} else if v.Limit != admission.HandshakesPerIP || v.Wait != 6*time.Second {
				t.Errorf("verdict %+v", v)
			}
		}
		if in != 10 {
			t.Errorf("%d handshakes came in, want 10", in)
		}
		stop(nodes...)
	})
}

func TestIdleNodeSaysLittle(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t, memory.New(time.Now), "a", admission.Caps{Connections: 10, PerUser: 3}, nil)
		start(n)
		seat, _ := n.try(alice, "alice")
		synctest.Wait()
		before := n.said.Load()
		bubble.Elapse(time.Minute)
		if said := n.said.Load() - before; said > 25 || said < 20 {
			t.Errorf("%d commands in a minute of 20 beats", said)
		}
		n.leave(seat)
		stop(n)
	})
}

func TestSliceNeedsNoCommands(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t, memory.New(time.Now), "a", admission.Caps{Connections: 100_000}, nil)
		start(n)
		for range 1000 {
			if seat, v := n.try(alice, ""); seat == nil {
				t.Fatalf("verdict %+v", v)
			}
		}
		if said := n.said.Load(); said > 20 {
			t.Errorf("%d commands for 1000 handshakes", said)
		}
		n.expect("", 0, n.seats.Shared()[0].Allowance)
		bubble.Elapse(2 * heartbeat)
		n.expect("", 0, 1000)
		stop(n)
	})
}

func TestWhatANodeKeepsIsNotGivenToOthers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		nodes := newNodes(t, memory.New(time.Now), 2, admission.Caps{Connections: 12}, nil)
		start(nodes...)
		got := rush(nodes[:1], 6, "")
		for _, seat := range got[0][:3] {
			nodes[0].leave(seat)
		}
		bubble.Elapse(heartbeat) // it keeps room for as many as came
		synctest.Wait()
		n := 3 + total(rush(nodes[1:], 20, "")) + total(rush(nodes[:1], 20, ""))
		if n > 12 || n < 11 {
			t.Errorf("%d connections, want 12", n)
		}
		stop(nodes...)
	})
}
