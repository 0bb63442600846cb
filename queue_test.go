package wsgateway

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/wsgateway/caddy-ws-gateway/internal/balance"
	"github.com/wsgateway/caddy-ws-gateway/internal/dial"
)

func TestTriesKeepToRetriesAndDuration(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		seconds := func(n int) caddy.Duration { return caddy.Duration(n) * caddy.Duration(time.Second) }
		for name, row := range map[string]struct {
			settings      reverseproxy.LoadBalancing
			count         int
			after         time.Duration
			more, another bool
		}{
			"each upstream once":         {reverseproxy.LoadBalancing{}, 3, time.Hour, true, false},
			"retries are left":           {reverseproxy.LoadBalancing{Retries: 2}, 2, 0, true, false},
			"more retries are left":      {reverseproxy.LoadBalancing{Retries: 3}, 1, time.Hour, true, true},
			"no retries are left":        {reverseproxy.LoadBalancing{Retries: 2}, 3, 0, false, false},
			"time is left":               {reverseproxy.LoadBalancing{TryDuration: seconds(5)}, 9, 4 * time.Second, true, true},
			"no time is left":            {reverseproxy.LoadBalancing{TryDuration: seconds(5)}, 0, 5 * time.Second, false, false},
			"time is left, not retries":  {reverseproxy.LoadBalancing{TryDuration: seconds(5), Retries: 1}, 2, 0, false, false},
			"less time than an interval": {reverseproxy.LoadBalancing{TryDuration: seconds(5), TryInterval: seconds(10)}, 0, 0, true, false},
		} {
			tr := newTries(&row.settings)
			tr.count, tr.tried = row.count, []string{"a:1"}
			elapse(row.after)
			if got := tr.more(); got != row.more {
				t.Errorf("%s: more is %t", name, got)
			}
			if got := tr.anotherRound(t.Context(), nil); got != row.another {
				t.Errorf("%s: another round is %t", name, got)
			}
			if row.another && tr.wasTried("a:1") {
				t.Errorf("%s: what was tried in the last round is left out of this one", name)
			}
		}
	})
}

func TestAnotherRoundEndsWhenTheClientLeaves(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		hour := caddy.Duration(time.Hour)
		start := time.Now()
		if newTries(&reverseproxy.LoadBalancing{TryDuration: hour, TryInterval: hour}).anotherRound(ctx, nil) {
			t.Error("another round for a client who is gone")
		}
		if took := time.Since(start); took != time.Second {
			t.Errorf("it took %s to notice", took)
		}
	})
}

func TestExhaustedSaysWhy(t *testing.T) {
	t.Parallel()
	left, leave := context.WithCancel(t.Context())
	leave()
	for name, row := range map[string]struct {
		ctx    context.Context
		tries  tries
		why    balance.Refusal
		status int
		retry  bool
	}{
		"all dead":            {t.Context(), tries{}, balance.Dead, 503, true},
		"all full":            {t.Context(), tries{}, balance.Full, 503, true},
		"the line is full":    {t.Context(), tries{last: errLineFull}, balance.Full, 503, true},
		"waited in vain":      {t.Context(), tries{last: errWaitedTooLong}, balance.Full, 503, true},
		"the last one failed": {t.Context(), tries{last: errors.New("x")}, balance.Dead, 503, true},
		"an upstream refused": {t.Context(), tries{last: errors.New("x"), lastStatus: 418}, balance.Dead, 418, false},
		"the client left":     {left, tries{last: errWaitedTooLong}, balance.Full, 499, false},
	} {
		w := httptest.NewRecorder()
		refusal := row.tries.exhausted(w, httptest.NewRequest("GET", "/", nil).WithContext(row.ctx), row.why)
		if refusal.status != row.status || refusal.reason == "" {
			t.Errorf("%s: answered %d %q, want %d", name, refusal.status, refusal.reason, row.status)
		}
		if (w.Header().Get("Retry-After") != "") != row.retry {
			t.Errorf("%s: Retry-After is %q", name, w.Header().Get("Retry-After"))
		}
	}
}

// patient is what a handshake does that waits in line: it returns when it was
// served and where, or not at all.
func patient(ctx context.Context, h *Handler) (lease *balance.Lease, waited time.Duration, why error) {
	lease = new(balance.Lease)
	start := time.Now()
	tr := newTries(h.Proxy.LoadBalancing)
	for _, up := range h.Proxy.Upstreams {
		tr.pool = append(tr.pool, up.Dial)
	}
	defer tr.leaveLine()
	for {
		ask := balance.Ask{Skip: tr.wasTried, Place: tr.place}
		up, refusal := h.balancer.choose(lease, ask, h.Proxy.Upstreams, nil, nil)
		if up != nil {
			return lease, time.Since(start), nil
		}
		if refusal != balance.Full || !h.waitInLine(ctx, tr) {
			return nil, time.Since(start), tr.last
		}
	}
}

func queueing(size int, timeout time.Duration) func(*Handler) {
	return func(h *Handler) {
		h.MaxConns, h.Queue = 1, &Queue{Size: size, Timeout: caddy.Duration(timeout)}
	}
}

// The line of the process is woken by everything that happens in it, which a
// bubble allows to nobody outside: these tests of it run alone.

func TestHandshakesWaitInOrderAndNoLongerThanTheTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := load(t, "queue", new(reverseproxy.LeastConnSelection), addressesOf(t, 1), queueing(3, time.Minute))
		defer unload(t, h)
		held, _, _ := patient(t.Context(), h)
		type result struct {
			lease  *balance.Lease
			waited time.Duration
			why    error
		}
		results := make([]chan result, 4)
		for i := range results {
			results[i] = make(chan result, 1)
			go func() {
				lease, waited, why := patient(t.Context(), h)
				results[i] <- result{lease, waited, why}
			}()
			elapse(time.Second)
		}
		if got := <-results[3]; !errors.Is(got.why, errLineFull) || got.waited != 0 {
			t.Errorf("the fourth waited %s, then: %v; want that the line is full at once", got.waited, got.why)
		}
		if n := h.balancer.Queued(); n != 3 {
			t.Errorf("%d are waiting, want 3", n)
		}
		elapse(20 * time.Second)
		held.Release()
		first := <-results[0]
		if first.lease == nil || first.waited != 24*time.Second {
			t.Fatalf("the first waited %s, want the 24s until there was room", first.waited)
		}
		for i, result := range results[1:3] {
			if got := <-result; !errors.Is(got.why, errWaitedTooLong) || got.waited != time.Minute {
				t.Errorf("number %d waited %s, then: %v; want 1m and that it was too long", i+2, got.waited, got.why)
			}
		}
		first.lease.Release()
		if n := h.balancer.Queued(); n != 0 {
			t.Errorf("%d are still waiting", n)
		}
	})
}

// Whoever came before a reload waits at the old handler, and whoever comes after it
// at the new one, for the same upstream.
func TestLineIsServedInOrderThroughAReload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		addresses := addressesOf(t, 1)
		h := load(t, "queue-reload", new(reverseproxy.LeastConnSelection), addresses, queueing(6, time.Hour))
		held, _, _ := patient(t.Context(), h)
		served := make(chan int, 6)
		for i := range 6 {
			go func() {
				lease, _, why := patient(t.Context(), h)
				if lease == nil {
					t.Errorf("number %d was not served: %v", i, why)
				}
				served <- i
				elapse(time.Second)
				if live := process.Ledger.Look(addresses[0]).Live; live != 1 {
					t.Errorf("%d are live, above the cap of 1", live)
				}
				lease.Release()
			}()
			elapse(time.Second)
			if i%2 == 1 { // two wait at each
				old := h
				h = load(t, "queue-reload", new(reverseproxy.LeastConnSelection), addresses, queueing(6, time.Hour))
				unload(t, old)
			}
		}
		if _, _, why := patient(t.Context(), h); !errors.Is(why, errLineFull) {
			t.Errorf("a seventh got into a line of six: %v", why)
		}
		if queued := viewedAs(t, "queue-reload")["queued"]; queued != 6.0 {
			t.Errorf("shown as %v who wait, want 6", queued)
		}
		held.Release()
		for want := range 6 {
			if got := <-served; got != want {
				t.Errorf("number %d was served, want %d", got, want)
			}
		}
		elapse(time.Minute)
		unload(t, h)
	})
}

func TestLeavingClientFreesItsPlaceInLine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := load(t, "queue-leave", new(reverseproxy.LeastConnSelection), addressesOf(t, 1), queueing(1, time.Hour))
		defer unload(t, h)
		held, _, _ := patient(t.Context(), h)
		ctx, leave := context.WithCancel(t.Context())
		left := make(chan *balance.Lease)
		go func() {
			lease, _, _ := patient(ctx, h)
			left <- lease
		}()
		synctest.Wait()
		if _, _, why := patient(t.Context(), h); !errors.Is(why, errLineFull) {
			t.Fatalf("the line is not full: %v", why)
		}
		start := time.Now()
		leave()
		if lease := <-left; lease != nil || time.Since(start) != 0 {
			t.Errorf("who left got %v after %s", lease, time.Since(start))
		}
		served := make(chan *balance.Lease)
		go func() {
			lease, _, _ := patient(t.Context(), h)
			served <- lease
		}()
		synctest.Wait()
		held.Release()
		lease := <-served
		if lease == nil {
			t.Fatal("who took the place in line was not served")
		}
		lease.Release()
	})
}

// Nobody tells the line of an upstream that is healthy again.
func TestFirstInLineNoticesAnUpstreamThatRecovers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		addresses := addressesOf(t, 2)
		h := load(t, "queue-recovers", new(reverseproxy.LeastConnSelection), addresses, func(h *Handler) {
			queueing(5, time.Minute)(h)
			failing(0, 0, 10*time.Second)(h)
		})
		defer unload(t, h)
		h.balancer.Fail(addresses[1])
		held, _, _ := patient(t.Context(), h)
		lease, waited, why := patient(t.Context(), h)
		if lease == nil || lease.Address() != addresses[1] {
			t.Fatalf("not served: %v", why)
		}
		if waited < 10*time.Second || waited > 10*time.Second+2*lineTick {
			t.Errorf("waited %s for an upstream that was back after 10s", waited)
		}
		lease.Release()
		held.Release()
	})
}

func TestNobodyWaitsForUpstreamsThatAreAllDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		addresses := addressesOf(t, 2)
		h := load(t, "queue-down", new(reverseproxy.LeastConnSelection), addresses, func(h *Handler) {
			queueing(5, time.Minute)(h)
			failing(0, 0, time.Hour)(h)
		})
		defer unload(t, h)
		for _, address := range addresses {
			h.balancer.Fail(address)
		}
		if lease, waited, _ := patient(t.Context(), h); lease != nil || waited != 0 {
			t.Errorf("waited %s, and got %v", waited, lease)
		}
	})
}

// faultyBreaker is a circuit breaker of someone else's.
type faultyBreaker struct{}

func (faultyBreaker) OK() bool                        { return true }
func (faultyBreaker) RecordMetric(int, time.Duration) { panic("in a module") }

func TestPanicAfterTheUpstreamAnsweredLeavesNothingOpen(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := load(t, "try-panic", new(reverseproxy.LeastConnSelection), addressesOf(t, 1), func(h *Handler) {
			h.Proxy.CB = faultyBreaker{}
		})
		defer unload(t, h)
		upstream, closed := &scripted{answer: switching}, make(chan struct{})
		h.dialer = dial.New(&reverseproxy.HTTPTransport{Transport: &http.Transport{
			DialContext: func(context.Context, string, string) (net.Conn, error) {
				near, far := net.Pipe()
				go func() {
					upstream.serve(far) // until it is hung up on
					close(closed)
				}()
				return near, nil
			},
		}}, time.Minute, clientIP)
		lease := new(balance.Lease)
		up, _ := h.balancer.choose(lease, balance.Ask{}, h.Proxy.Upstreams, nil, nil)
		address := lease.Address()
		r := requestWith(nil)
		r = r.WithContext(context.WithValue(r.Context(), caddyhttp.VarsCtxKey, make(map[string]any)))
		func() {
			defer func() {
				if recover() == nil {
					t.Error("it did not come to a panic")
				}
			}()
			_, _ = h.try(r, up, lease, newTries(h.Proxy.LoadBalancing), nil)
		}()
		<-closed
		if live := process.Ledger.Look(address).Live; live != 0 {
			t.Errorf("%d places are taken", live)
		}
	})
}
