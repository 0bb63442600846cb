package wsgateway

import (
	"context"
	"math"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/wsgateway/caddy-ws-gateway/internal/balance"
)

// rig is a gateway before upstreams, its rebalancer, and the clients, all in
// virtual time. A test starts what it needs, and the rest is play's.
type rig struct {
	name   string                // of the gateway; no other test may have it
	policy reverseproxy.Selector // least_conn if nil
	set    func(*Handler)
	hosts  int
	loaded int // how many of them are configured at first; all if 0

	t         *testing.T
	addresses []string
	gateway   *Handler // what is loaded
	clients   *crowd
	stop      func() // ends the rebalancer, if it runs
}

// play runs a test with the gateway loaded. Afterwards, nothing of it is left.
func (f rig) play(t *testing.T, test func(t *testing.T, f *rig)) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f.t = t
		f.addresses = addressesOf(t, f.hosts)
		if f.policy == nil {
			f.policy = new(reverseproxy.LeastConnSelection)
		}
		if f.loaded == 0 {
			f.loaded = f.hosts
		}
		f.load(f.loaded)
		t.Cleanup(f.end)
		test(t, &f)
	})
}

func (f *rig) end() {
	f.pause()
	if f.clients != nil {
		f.clients.leave()
	}
	unload(f.t, f.gateway)
}

// load makes a configuration with the first so many hosts the one that is
// loaded, and returns the one before.
func (f *rig) load(hosts int) (old *Handler) {
	f.t.Helper()
	old = f.gateway
	f.gateway = load(f.t, f.name, f.policy, f.addresses[:hosts], f.set)
	return old
}

// join has so many clients connect. They come back when they are told to go.
func (f *rig) join(n int) {
	f.clients = newCrowd(func() *Handler { return f.gateway }, n)
}

// rebalance runs the rebalancer of what is loaded, until pause. It never looks at a
// moment at which the test does something: elapse ends between two looks.
func (f *rig) rebalance() {
	elapse(watchInterval / 2)
	ctx, cancel := context.WithCancel(f.t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		f.gateway.rebalance(ctx)
	}()
	f.stop = func() {
		cancel()
		<-done
	}
}

func (f *rig) pause() {
	if f.stop != nil {
		f.stop()
		f.stop = nil
	}
}

// put sets the state of some hosts.
func (f *rig) put(state balance.State, hosts ...int) {
	for _, i := range hosts {
		process.SetState(f.addresses[i], state)
	}
}

func (f *rig) held() []int { return loads(f.name, f.addresses) }

// expectMoved fails the test unless so many were moved so far.
func (f *rig) expectMoved(least, most int) (moved int) {
	f.t.Helper()
	if moved = f.clients.movedSoFar(); moved < least || moved > most {
		f.t.Errorf("%d were moved, want %d to %d", moved, least, most)
	}
	return moved
}

// expectRest fails the test if anyone is moved in the time to come.
func (f *rig) expectRest(d time.Duration) {
	f.t.Helper()
	moved := f.clients.movedSoFar()
	elapse(d)
	if more := f.clients.movedSoFar() - moved; more != 0 {
		f.t.Errorf("%d more were moved when all was even", more)
	}
}

// at is the pace of a rebalancer.
func at(percent float64, per time.Duration) func(*Handler) {
	return func(h *Handler) { h.Rebalance = &Rebalance{Percent: percent, Per: caddy.Duration(per)} }
}

// expectEven fails the test unless all hold their share, within 10 % or one.
func expectEven(t *testing.T, held []int, weights ...float64) {
	t.Helper()
	expectWithin(t, 0.1, held, weights...)
}

// expectWithin fails the test unless all hold their share within a part of it, or one.
func expectWithin(t *testing.T, part float64, held []int, weights ...float64) {
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
		if due := float64(total) * weights[i] / sum; math.Abs(float64(n)-due) > max(part*due, 1) {
			t.Errorf("the upstreams hold %v, and not each its share", held)
			return
		}
	}
}
