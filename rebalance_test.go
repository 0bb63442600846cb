package wsgateway

import (
	"context"
	"fmt"
	"io"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/wsgateway/caddy-ws-gateway/internal/balance"
	"github.com/wsgateway/caddy-ws-gateway/internal/bubble"
)

func TestScaleUpIsRebalancedAtThePaceAndEnds(t *testing.T) {
	t.Parallel()
	for name, policy := range map[string]reverseproxy.Selector{
		"least_conn":    new(reverseproxy.LeastConnSelection),
		"round_robin":   new(reverseproxy.RoundRobinSelection),
		"random_choose": &reverseproxy.RandomChoiceSelection{Choose: 2},
		"random":        new(reverseproxy.RandomSelection),
	} {
		t.Run(name, func(t *testing.T) {
			f := rig{name: "rebalance-scale-up-" + name, policy: policy, set: at(10, time.Minute), hosts: 5, loaded: 4}
			f.play(t, scaleUp)
		})
	}
}

func scaleUp(t *testing.T, f *rig) {
	const clients = 400
	f.rebalance()
	elapse(time.Minute) // that they are new is over
	f.join(clients)
	f.expectRest(time.Minute)
	f.pause()
	surplus := 0
	for _, n := range f.held() {
		surplus += max(0, n-clients/5)
	}
	unload(t, f.load(5))
	f.rebalance()
	start := time.Now()
	elapse(time.Hour)
	expectEven(t, f.held())
	moved := f.expectMoved(0, surplus)
	if code := f.clients.codes[1012]; code != moved {
		t.Errorf("closed with %v, want 1012", f.clients.codes)
	}
	perMinute := make(map[int]int)
	for _, when := range f.clients.moved {
		perMinute[int(when.Sub(start)/time.Minute)]++
	}
	for minute, n := range perMinute {
		if n > clients/10+1 {
			t.Errorf("in minute %d, %d were moved, want 10 %% of %d", minute, n, clients)
		}
	}
	f.expectRest(24 * time.Hour)
}

func TestRecoveredUpstreamIsRebalanced(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		policy  reverseproxy.Selector
		weights []float64
		slow    time.Duration
	}{
		"least_conn":                   {new(reverseproxy.LeastConnSelection), nil, 0},
		"weighted_least_conn":          {&WeightedLeastConn{Weights: []int{2, 1, 1}}, []float64{2, 1, 1}, 0},
		"least_conn with a slow start": {new(reverseproxy.LeastConnSelection), nil, 2 * time.Minute},
		"round_robin":                  {new(reverseproxy.RoundRobinSelection), nil, 0},
		"weighted_round_robin":         {&reverseproxy.WeightedRoundRobinSelection{Weights: []int{2, 1, 1}}, []float64{2, 1, 1}, 0},
		"round_robin with slow start":  {new(reverseproxy.RoundRobinSelection), nil, 2 * time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			rig{name: "rebalance " + name, policy: row.policy, hosts: 3, set: func(h *Handler) {
				at(50, time.Minute)(h)
				failing(0, 0, time.Minute)(h)
				h.SlowStart = caddy.Duration(row.slow)
			}}.play(t, func(t *testing.T, f *rig) {
				f.rebalance()
				elapse(time.Hour) // they are warm
				f.gateway.balancer.Fail(f.addresses[2])
				f.join(300)
				if held := f.held(); held[2] != 0 {
					t.Fatalf("one that is down got some: %v", held)
				}
				elapse(time.Hour)
				expectEven(t, f.held(), row.weights...)
				f.expectMoved(0, 100) // of 300, to one of three
				f.expectRest(24 * time.Hour)
			})
		})
	}
}

// Clients who stay away, and come back later all at once, must not make it swing.
func TestRebalanceMovesNoMoreThanTheSurplusWhoeverComesBack(t *testing.T) {
	rig{name: "rebalance-away", set: at(100, time.Second), hosts: 4}.play(t, func(t *testing.T, f *rig) { // faster than connections can close
		f.put(balance.Maintenance, 2, 3)
		f.join(200)
		elapse(time.Minute)
		f.rebalance()
		elapse(time.Minute)
		f.clients.stayAway(true)
		f.put(balance.Ready, 2, 3)
		elapse(time.Hour)
		moved := f.expectMoved(1, 100)
		f.clients.stayAway(false)
		for range moved {
			f.clients.join()
		}
		expectEven(t, f.held())
		f.expectRest(time.Hour)
	})
}

// Those who are moved may come back long after the last was told to, and others
// come and go meanwhile.
func TestRebalanceWithoutRegardToLoadsIsEvenUnderChurn(t *testing.T) {
	t.Parallel()
	for name, policy := range map[string]reverseproxy.Selector{
		"round_robin": new(reverseproxy.RoundRobinSelection),
		"random":      new(reverseproxy.RandomSelection),
	} {
		t.Run(name, func(t *testing.T) {
			f := rig{name: "rebalance-churn-" + name, policy: policy, set: at(100, 10*time.Second), hosts: 4}
			f.play(t, func(t *testing.T, f *rig) {
				f.rebalance()
				elapse(time.Minute)
				f.put(balance.Maintenance, 3)
				f.join(400)
				f.clients.pause = 20 * time.Second
				f.put(balance.Ready, 3)
				for range 50 { // by themselves
					f.clients.drop()
					elapse(time.Second)
				}
				elapse(time.Minute)
				expectWithin(t, 0.2, f.held()) // within 10 % at the end of it, and then some came back anywhere
				f.expectMoved(1, 200)          // of 400, to one of four
				f.expectRest(24 * time.Hour)
			})
		})
	}
}

// A configuration that is loaded while connections are moved has the same upstreams,
// so that nothing arrives by it.
func TestRebalanceGoesOnAfterAReload(t *testing.T) {
	rig{name: "rebalance-reload", set: at(10, time.Minute), hosts: 2}.play(t, func(t *testing.T, f *rig) {
		f.rebalance()
		elapse(time.Minute)
		f.put(balance.Maintenance, 1)
		f.join(100)
		f.put(balance.Ready, 1)
		for range 10 { // each ends before it is done
			elapse(20 * time.Second)
			old := f.load(2)
			f.pause()
			unload(t, old)
			f.rebalance()
		}
		elapse(time.Hour)
		expectEven(t, f.held())
		f.expectMoved(0, 50)
	})
}

// What is new is told once, and may be told while the old configuration with fewer
// upstreams is there still.
func TestRebalanceWaitsForTheOldConfigurationToGo(t *testing.T) {
	rig{name: "rebalance-overlap", set: at(100, time.Minute), hosts: 3, loaded: 2}.play(t, func(t *testing.T, f *rig) {
		f.join(90)
		old := f.load(3)
		f.rebalance()
		f.expectRest(time.Minute) // nobody knows whose they are
		unload(t, old)
		elapse(time.Hour)
		expectEven(t, f.held())
	})
}

// noSource is a dynamic source that nobody asks.
type noSource struct{ reverseproxy.UpstreamSource }

func TestDynamicUpstreamThatIsGoneHasNoShare(t *testing.T) {
	dynamic := func(h *Handler) {
		h.Proxy.DynamicUpstreams = noSource{}
		at(100, time.Minute)(h)
	}
	rig{name: "rebalance-gone", set: dynamic, hosts: 4}.play(t, func(t *testing.T, f *rig) {
		f.gateway.Proxy.Upstreams = pool(f.addresses[:3]...)
		f.gateway.noteDynamic(f.gateway.Proxy.Upstreams)
		f.rebalance()
		f.join(90)
		elapse(time.Minute)
		f.gateway.Proxy.Upstreams = pool(f.addresses[1:]...)
		f.gateway.noteDynamic(f.gateway.Proxy.Upstreams)
		client, _, _, _ := connectTo(f.gateway) // what makes the new one known
		elapse(time.Hour)
		held := f.held()
		if held[0] != 30 {
			t.Errorf("%v are held, want the 30 at the first as they were", held)
		}
		expectEven(t, held[1:])
		_ = client.Close()
	})
}

// dawdle reads a close frame and answers it two seconds later.
func dawdle(p *bubble.Peer) {
	buf := make([]byte, 256)
	n, err := p.Read(buf)
	if err != nil || n < 4 {
		p.Code <- 0
		return
	}
	go func() { _, _ = io.Copy(io.Discard, p) }()
	elapse(2 * time.Second)
	_, _ = p.Write([]byte{0x88, 0x80, 0, 0, 0, 0})
	p.Code <- int(buf[2])<<8 | int(buf[3])
}

// Who was told to go is not over yet, but must not be counted as if they stayed:
// all would be taken from one upstream.
func TestRebalanceIsEvenWhereClientsTakeTheirTimeToClose(t *testing.T) {
	rig{name: "rebalance-dawdlers", set: at(100, 2*time.Second), hosts: 3}.play(t, func(t *testing.T, f *rig) {
		f.put(balance.Maintenance, 2)
		f.join(0)
		f.clients.does = dawdle
		for range 300 {
			f.clients.join()
		}
		elapse(time.Minute)
		f.rebalance()
		f.put(balance.Ready, 2)
		elapse(time.Hour)
		expectEven(t, f.held())
		f.expectMoved(0, 100)
	})
}

// An upstream that goes and comes back, again and again, may cost a move each
// time, but no storm.
func TestFlappingUpstreamDoesNotMakeItSwing(t *testing.T) {
	rig{name: "rebalance-flapping", set: at(20, time.Minute), hosts: 4}.play(t, func(t *testing.T, f *rig) {
		f.rebalance()
		f.join(200)
		for range 20 {
			f.put(balance.Maintenance, 3)
			elapse(2 * time.Minute)
			f.put(balance.Ready, 3)
			elapse(2 * time.Minute)
		}
		f.expectMoved(0, 0) // none had to leave
	})
}

func TestIdleConnectionsAreMovedFirst(t *testing.T) {
	rig{name: "rebalance-idle", hosts: 1}.play(t, func(t *testing.T, f *rig) {
		var clients []*bubble.Peer
		for range 10 {
			client, _, _, _ := connectTo(f.gateway)
			clients = append(clients, client)
			elapse(time.Second)
		}
		for _, i := range []int{0, 1, 2, 3, 4} { // the oldest are the busiest
			_, _ = clients[i].Write([]byte{0x81, 0x80, 1, 2, 3, 4})
			elapse(time.Second)
		}
		for i, want := range []int{5, 6, 7, 8, 9, 0, 1} {
			if !process.MoveIdlest(f.name, f.addresses[0]) {
				t.Fatal("there is none to move")
			}
			if code := <-clients[want].Code; code != 1012 {
				t.Errorf("number %d: the client %d got %d", i, want, code)
			}
		}
		for _, client := range clients {
			_ = client.Close()
		}
		elapse(time.Minute)
		if process.MoveIdlest(f.name, f.addresses[0]) {
			t.Error("ended one although none is there")
		}
	})
}

func TestUnhealthyUpstreamIsDrainedWhereAskedFor(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		recovers bool
		left     int
	}{{false, 0}, {true, 10}} {
		t.Run(fmt.Sprintf("recovers %t", row.recovers), func(t *testing.T) {
			period := caddy.Duration(20 * time.Second)
			failDuration := time.Hour
			if row.recovers {
				failDuration = 10500 * time.Millisecond // half the drain, and the time until it is seen
			}
			rig{name: fmt.Sprintf("drain-unhealthy-%t", row.recovers), policy: new(reverseproxy.FirstSelection), hosts: 2, set: func(h *Handler) {
				h.DrainPeriod = &period
				failing(0, 0, failDuration)(h)
			}}.play(t, func(t *testing.T, f *rig) {
				f.join(0)
				f.clients.stayAway(true)
				for range 20 {
					f.clients.join()
				}
				ctx, cancel := context.WithCancel(t.Context())
				watched := make(chan struct{})
				go func() {
					defer close(watched)
					f.gateway.watchHealth(ctx)
				}()
				elapse(time.Minute)
				if held := f.held(); held[0] != 20 {
					t.Fatalf("while it is healthy, %v are left", held)
				}
				elapse(time.Second / 2)
				f.gateway.balancer.Fail(f.addresses[0])
				elapse(time.Minute)
				if held := f.held(); held[0] != row.left {
					t.Errorf("%v are left, want %d", held, row.left)
				}
				cancel()
				<-watched
			})
		})
	}
}
