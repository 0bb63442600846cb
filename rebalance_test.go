package wsgateway

import (
	"context"
	"fmt"
	"io"
	"math"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/wsgateway/caddy-ws-gateway/internal/balance"
)

// rebalancing runs the rebalancer of a gateway until stop is called.
func rebalancing(t *testing.T, h *Handler) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		h.rebalance(ctx)
	}()
	return func() {
		cancel()
		<-done
	}
}

func at(percent float64, per time.Duration) func(*Handler) {
	return func(h *Handler) { h.Rebalance = &Rebalance{Percent: percent, Per: caddy.Duration(per)} }
}

// expectEven fails the test unless all hold their share, within 10 % or one.
func expectEven(t *testing.T, held []int, weights ...float64) {
	t.Helper()
	total, sum := 0, 0.0
	for i, n := range held {
		total += n
		if i >= len(weights) {
			weights = append(weights, 1)
		}
		sum += weights[i]
	}
	for i, n := range held {
		if due := float64(total) * weights[i] / sum; math.Abs(float64(n)-due) > max(0.1*due, 1) {
			t.Errorf("the upstreams hold %v, and not each its share", held)
			return
		}
	}
}

func TestScaleUpIsRebalancedAtThePaceAndEnds(t *testing.T) {
	t.Parallel()
	for name, policy := range map[string]reverseproxy.Selector{
		"least_conn":    new(reverseproxy.LeastConnSelection),
		"round_robin":   new(reverseproxy.RoundRobinSelection),
		"random_choose": &reverseproxy.RandomChoiceSelection{Choose: 2},
		"random":        new(reverseproxy.RandomSelection),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			scaleUp(t, "rebalance-scale-up-"+name, policy)
		})
	}
}

func scaleUp(t *testing.T, gateway string, policy reverseproxy.Selector) {
	synctest.Test(t, func(t *testing.T) {
		const clients = 400
		addresses := addressesOf(t, 5)
		loaded := load(t, gateway, policy, addresses[:4], at(10, time.Minute))
		stop := rebalancing(t, loaded)
		elapse(time.Minute) // that they are new is over
		c := newCrowd(func() *Handler { return loaded }, clients)
		elapse(time.Minute)
		if n := c.movedSoFar(); n != 0 {
			t.Fatalf("%d were moved where all was even", n)
		}

		stop()
		surplus := 0
		for _, n := range loads(gateway, addresses[:4]) {
			surplus += max(0, n-clients/5)
		}
		old := loaded
		loaded = load(t, gateway, policy, addresses, at(10, time.Minute))
		unload(t, old)
		stop = rebalancing(t, loaded)
		start := time.Now()
		elapse(time.Hour)
		held := loads(gateway, addresses)
		expectEven(t, held)
		moved := c.movedSoFar()
		if moved > surplus {
			t.Errorf("%d were moved, more than the %d that were over", moved, surplus)
		}
		if code := c.codes[1012]; code != moved {
			t.Errorf("closed with %v, want 1012", c.codes)
		}
		perMinute := make(map[int]int)
		for _, when := range c.moved {
			perMinute[int(when.Sub(start)/time.Minute)]++
		}
		for minute, n := range perMinute {
			if n > clients/10+1 {
				t.Errorf("in minute %d, %d were moved, want 10 %% of %d", minute, n, clients)
			}
		}
		elapse(24 * time.Hour)
		if more := c.movedSoFar() - moved; more != 0 {
			t.Errorf("%d more were moved when all was even", more)
		}
		stop()
		c.leave()
		unload(t, loaded)
	})
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
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				gateway := "rebalance " + name
				addresses := addressesOf(t, 3)
				h := load(t, gateway, row.policy, addresses, func(h *Handler) {
					at(50, time.Minute)(h)
					failing(0, 0, time.Minute)(h)
					h.SlowStart = caddy.Duration(row.slow)
				})
				stop := rebalancing(t, h)
				elapse(time.Hour) // they are warm
				h.balancer.Fail(addresses[2])
				c := newCrowd(func() *Handler { return h }, 300)
				if held := loads(gateway, addresses); held[2] != 0 {
					t.Fatalf("one that is down got some: %v", held)
				}
				elapse(time.Hour)
				held, moved := loads(gateway, addresses), c.movedSoFar()
				expectEven(t, held, row.weights...)
				if moved > 100 {
					t.Errorf("%d of 300 were moved to one of three", moved)
				}
				elapse(24 * time.Hour)
				if more := c.movedSoFar() - moved; more != 0 {
					t.Errorf("%d more were moved when all was even", more)
				}
				stop()
				c.leave()
				unload(t, h)
			})
		})
	}
}

// Clients who stay away, and come back later all at once, must not make it swing.
func TestRebalanceMovesNoMoreThanTheSurplusWhoeverComesBack(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const gateway = "rebalance-away"
		addresses := addressesOf(t, 4)
		h := load(t, gateway, new(reverseproxy.LeastConnSelection), addresses, func(h *Handler) {
			at(100, time.Second)(h) // faster than connections can close
		})
		for _, address := range addresses[2:] {
			process.setState(address, balance.Maintenance)
		}
		c := newCrowd(func() *Handler { return h }, 200)
		elapse(time.Minute)
		stop := rebalancing(t, h)
		elapse(time.Minute)
		c.mu.Lock()
		c.gone = true
		c.mu.Unlock()
		for _, address := range addresses[2:] {
			process.setState(address, balance.Ready)
		}
		elapse(time.Hour)
		if n := c.movedSoFar(); n > 100 || n == 0 {
			t.Errorf("%d were moved, want some, and no more than the 100 that were over", n)
		}
		c.mu.Lock()
		c.gone = false
		c.mu.Unlock()
		before := c.movedSoFar()
		for range before {
			c.join()
		}
		expectEven(t, loads(gateway, addresses))
		elapse(time.Hour)
		if more := c.movedSoFar() - before; more != 0 {
			t.Errorf("%d more were moved when they came back", more)
		}
		stop()
		c.leave()
		unload(t, h)
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
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				gateway := "rebalance-churn-" + name
				addresses := addressesOf(t, 4)
				h := load(t, gateway, policy, addresses, at(100, 10*time.Second))
				stop := rebalancing(t, h)
				elapse(time.Minute)
				process.setState(addresses[3], balance.Maintenance)
				c := newCrowd(func() *Handler { return h }, 400)
				c.pause = 20 * time.Second
				process.setState(addresses[3], balance.Ready)
				for range 50 { // by themselves
					c.drop()
					elapse(time.Second)
				}
				elapse(time.Minute)
				expectEven(t, loads(gateway, addresses))
				moved := c.movedSoFar()
				if moved == 0 || moved > 200 {
					t.Errorf("%d were moved of 400 to one of four", moved)
				}
				elapse(24 * time.Hour)
				if more := c.movedSoFar() - moved; more != 0 {
					t.Errorf("%d more were moved when all was even", more)
				}
				stop()
				c.leave()
				unload(t, h)
			})
		})
	}
}

// A configuration that is loaded while connections are moved has the same upstreams,
// so that nothing arrives by it.
func TestRebalanceGoesOnAfterAReload(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const gateway = "rebalance-reload"
		addresses := addressesOf(t, 2)
		policy := new(reverseproxy.LeastConnSelection)
		loaded := load(t, gateway, policy, addresses, at(10, time.Minute))
		stop := rebalancing(t, loaded)
		elapse(time.Minute)
		process.setState(addresses[1], balance.Maintenance)
		c := newCrowd(func() *Handler { return loaded }, 100)
		process.setState(addresses[1], balance.Ready)
		for range 10 { // each ends before it is done
			elapse(20 * time.Second)
			old := loaded
			loaded = load(t, gateway, policy, addresses, at(10, time.Minute))
			stop()
			unload(t, old)
			stop = rebalancing(t, loaded)
		}
		elapse(time.Hour)
		expectEven(t, loads(gateway, addresses))
		if n := c.movedSoFar(); n > 50 {
			t.Errorf("%d were moved, more than the 50 that were over", n)
		}
		stop()
		c.leave()
		unload(t, loaded)
	})
}

// What is new is told once, and may be told while the old configuration with fewer
// upstreams is there still.
func TestRebalanceWaitsForTheOldConfigurationToGo(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const gateway = "rebalance-overlap"
		addresses := addressesOf(t, 3)
		policy := new(reverseproxy.LeastConnSelection)
		old := load(t, gateway, policy, addresses[:2], at(100, time.Minute))
		loaded := old
		c := newCrowd(func() *Handler { return loaded }, 90)
		loaded = load(t, gateway, policy, addresses, at(100, time.Minute))
		stop := rebalancing(t, loaded)
		elapse(time.Minute)
		if n := c.movedSoFar(); n != 0 {
			t.Errorf("%d were moved while nobody knew whose they are", n)
		}
		unload(t, old)
		elapse(time.Hour)
		expectEven(t, loads(gateway, addresses))
		stop()
		c.leave()
		unload(t, loaded)
	})
}

// noSource is a dynamic source that nobody asks.
type noSource struct{ reverseproxy.UpstreamSource }

func TestDynamicUpstreamThatIsGoneHasNoShare(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const gateway = "rebalance-gone"
		addresses := addressesOf(t, 4)
		h := load(t, gateway, new(reverseproxy.LeastConnSelection), addresses, func(h *Handler) {
			h.Proxy.DynamicUpstreams = noSource{}
			at(100, time.Minute)(h)
		})
		h.Proxy.Upstreams = pool(addresses[:3]...)
		h.noteDynamic(h.Proxy.Upstreams)
		stop := rebalancing(t, h)
		c := newCrowd(func() *Handler { return h }, 90)
		elapse(time.Minute)
		h.Proxy.Upstreams = pool(addresses[1:]...)
		h.noteDynamic(h.Proxy.Upstreams)
		client, _, _, _ := connectTo(h) // what makes the new one known
		elapse(time.Hour)
		held := loads(gateway, addresses)
		if held[0] != 30 {
			t.Errorf("%v are held, want the 30 at the first as they were", held)
		}
		expectEven(t, held[1:])
		stop()
		_ = client.Close()
		c.leave()
		unload(t, h)
	})
}

// dawdle reads a close frame and answers it two seconds later.
func dawdle(p *peer) {
	buf := make([]byte, 256)
	n, err := p.Read(buf)
	if err != nil || n < 4 {
		p.code <- 0
		return
	}
	go func() { _, _ = io.Copy(io.Discard, p) }()
	elapse(2 * time.Second)
	_, _ = p.Write([]byte{0x88, 0x80, 0, 0, 0, 0})
	p.code <- int(buf[2])<<8 | int(buf[3])
}

// Who was told to go is not over yet, but must not be counted as if they stayed:
// all would be taken from one upstream.
func TestRebalanceIsEvenWhereClientsTakeTheirTimeToClose(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const gateway = "rebalance-dawdlers"
		addresses := addressesOf(t, 3)
		h := load(t, gateway, new(reverseproxy.LeastConnSelection), addresses, at(100, 2*time.Second))
		process.setState(addresses[2], balance.Maintenance)
		c := &crowd{gateway: func() *Handler { return h }, codes: make(map[int]int), does: dawdle}
		for range 300 {
			c.join()
		}
		elapse(time.Minute)
		stop := rebalancing(t, h)
		process.setState(addresses[2], balance.Ready)
		elapse(time.Hour)
		expectEven(t, loads(gateway, addresses))
		if n := c.movedSoFar(); n > 100 {
			t.Errorf("%d were moved, more than the 100 that were over", n)
		}
		stop()
		c.leave()
		unload(t, h)
	})
}

// An upstream that goes and comes back, again and again, may cost a move each
// time, but no storm.
func TestFlappingUpstreamDoesNotMakeItSwing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const gateway = "rebalance-flapping"
		addresses := addressesOf(t, 4)
		h := load(t, gateway, new(reverseproxy.LeastConnSelection), addresses, at(20, time.Minute))
		stop := rebalancing(t, h)
		c := newCrowd(func() *Handler { return h }, 200)
		for range 20 {
			process.setState(addresses[3], balance.Maintenance)
			elapse(2 * time.Minute)
			process.setState(addresses[3], balance.Ready)
			elapse(2 * time.Minute)
		}
		if n := c.movedSoFar(); n != 0 {
			t.Errorf("%d were moved although none had to leave", n)
		}
		stop()
		c.leave()
		unload(t, h)
	})
}

func TestIdleConnectionsAreMovedFirst(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const gateway = "rebalance-idle"
		addresses := addressesOf(t, 1)
		h := load(t, gateway, new(reverseproxy.LeastConnSelection), addresses, nil)
		var clients []*peer
		for range 10 {
			client, _, _, _ := connectTo(h)
			clients = append(clients, client)
			elapse(time.Second)
		}
		for _, i := range []int{0, 1, 2, 3, 4} { // the oldest are the busiest
			_, _ = clients[i].Write([]byte{0x89, 0x80, 1, 2, 3, 4})
			elapse(time.Second)
		}
		for i, want := range []int{5, 6, 7, 8, 9, 0, 1} {
			if !process.endIdlest(gateway, addresses[0], endRebalance) {
				t.Fatal("there is none to move")
			}
			if code := <-clients[want].code; code != 1012 {
				t.Errorf("number %d: the client %d got %d", i, want, code)
			}
		}
		for _, client := range clients {
			_ = client.Close()
		}
		elapse(time.Minute)
		if process.endIdlest(gateway, addresses[0], endRebalance) {
			t.Error("ended one although none is there")
		}
		unload(t, h)
	})
}

func TestUnhealthyUpstreamIsDrainedWhereAskedFor(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		recovers bool
		left     int
	}{{false, 0}, {true, 10}} {
		t.Run(fmt.Sprintf("recovers %t", row.recovers), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				gateway := fmt.Sprintf("drain-unhealthy-%t", row.recovers)
				addresses := addressesOf(t, 2)
				period := caddy.Duration(20 * time.Second)
				failDuration := time.Hour
				if row.recovers {
					failDuration = 10500 * time.Millisecond // half the drain, and the time until it is seen
				}
				h := load(t, gateway, new(reverseproxy.FirstSelection), addresses, func(h *Handler) {
					h.DrainPeriod = &period
					failing(0, 0, failDuration)(h)
				})
				var clients []*peer
				for range 20 {
					client, _, _, _ := connectTo(h)
					clients = append(clients, client)
				}
				ctx, cancel := context.WithCancel(t.Context())
				watched := make(chan struct{})
				go func() {
					defer close(watched)
					h.watchHealth(ctx)
				}()
				elapse(time.Minute)
				if held := loads(gateway, addresses); held[0] != 20 {
					t.Fatalf("while it is healthy, %v are left", held)
				}
				elapse(time.Second / 2)
				h.balancer.Fail(addresses[0])
				elapse(time.Minute)
				if held := loads(gateway, addresses); held[0] != row.left {
					t.Errorf("%v are left, want %d", held, row.left)
				}
				cancel()
				<-watched
				for _, client := range clients {
					_ = client.Close()
				}
				elapse(time.Minute)
				unload(t, h)
			})
		})
	}
}
