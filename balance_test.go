package wsgateway

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
)

func newPool(n int) reverseproxy.UpstreamPool {
	pool := make(reverseproxy.UpstreamPool, n)
	for i := range pool {
		pool[i] = &reverseproxy.Upstream{Host: new(reverseproxy.Host), Dial: fmt.Sprintf("10.0.0.%d:80", i)}
	}
	return pool
}

func newTestBalancer(p policy) *balancer { return &balancer{ledger: newLedger(), policy: p} }

// take acquires n places and returns how many each upstream of the pool got.
func takeMany(t testing.TB, b *balancer, pool reverseproxy.UpstreamPool, n int) ([]int, []*lease) {
	t.Helper()
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	got := make([]int, len(pool))
	leases := make([]*lease, 0, n)
	for range n {
		l, up := b.acquire(forWebSocket, pool, nil, httptest.NewRecorder(), r)
		if l == nil {
			t.Fatal("no upstream although all are there")
		}
		got[slices.Index(pool, up)]++
		leases = append(leases, l)
	}
	return got, leases
}

func TestPoliciesSpreadExactlyOverWholePeriods(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		policy policy
		take   int
		want   []int
	}{
		"least_conn":                        {leastConn{}, 400, []int{100, 100, 100, 100}},
		"round_robin":                       {&roundRobin{last: -1}, 400, []int{100, 100, 100, 100}},
		"random_choose of all":              {&randomChoose{n: 4}, 400, []int{100, 100, 100, 100}},
		"weighted_round_robin":              {&weightedRoundRobin{weights: []int{5, 1, 0, 4}}, 100, []int{50, 10, 0, 40}},
		"weighted_round_robin, few weights": {&weightedRoundRobin{weights: []int{3, 1}}, 40, []int{30, 10, 0, 0}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, _ := takeMany(t, newTestBalancer(row.policy), newPool(4), row.take)
			if !slices.Equal(got, row.want) {
				t.Errorf("got %v, want %v", got, row.want)
			}
		})
	}
}

func TestWeightedRoundRobinDoesNotBunch(t *testing.T) {
	t.Parallel()
	b := newTestBalancer(&weightedRoundRobin{weights: []int{5, 1, 1}})
	pool := newPool(3)
	var order []int
	for range 7 {
		got, _ := takeMany(t, b, pool, 1)
		order = append(order, slices.Index(got, 1))
	}
	if want := []int{0, 0, 1, 0, 2, 0, 0}; !slices.Equal(order, want) {
		t.Errorf("got %v, want %v", order, want)
	}
}

func TestRandomChooseDrawsEveryCandidateAndPrefersTheIdler(t *testing.T) {
	t.Parallel()
	b := newTestBalancer(&randomChoose{n: 2})
	got, _ := takeMany(t, b, newPool(8), 8000)
	if slices.Max(got)-slices.Min(got) > 20 {
		t.Errorf("power of two choices left a wide spread: %v", got)
	}
}

func TestLeastConnBreaksTiesAtRandom(t *testing.T) {
	t.Parallel()
	first := make(map[int]bool)
	for range 200 {
		got, _ := takeMany(t, newTestBalancer(leastConn{}), newPool(4), 1)
		first[slices.Index(got, 1)] = true
	}
	if len(first) != 4 {
		t.Errorf("of four idle upstreams only %d were ever chosen first", len(first))
	}
}

func TestLeastConnCountsRequestsAndWebSocketsTogether(t *testing.T) {
	t.Parallel()
	b, pool := newTestBalancer(leastConn{}), newPool(2)
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	got := make(map[*reverseproxy.Upstream]int)
	for i := range 100 {
		u := use(i % 2)
		_, up := b.acquire(u, pool, nil, httptest.NewRecorder(), r)
		got[up]++
	}
	if got[pool[0]] != 50 || got[pool[1]] != 50 {
		t.Errorf("got %d and %d of 100", got[pool[0]], got[pool[1]])
	}
}

func TestConcurrentAcquiresSpreadEvenly(t *testing.T) {
	t.Parallel()
	b, pool := newTestBalancer(leastConn{}), newPool(4)
	var wg sync.WaitGroup
	for range 2000 {
		wg.Go(func() {
			r := httptest.NewRequest(http.MethodGet, "/", nil)
			b.acquire(forWebSocket, pool, nil, httptest.NewRecorder(), r)
		})
	}
	wg.Wait()
	for address, be := range b.ledger.backends {
		if be.live != 500 {
			t.Errorf("%s holds %d, want 500", address, be.live)
		}
	}
}

func TestCapIsNeverExceeded(t *testing.T) {
	t.Parallel()
	for name, set := range map[string]func(*balancer){
		"ours":    func(b *balancer) { b.policy = leastConn{} },
		"Caddy's": func(b *balancer) { b.selector = reverseproxy.RandomSelection{} },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b, pool := newTestBalancer(nil), newPool(3)
			b.maxConns = 10
			set(b)
			var mu sync.Mutex
			var wg sync.WaitGroup
			taken := 0
			for range 200 {
				wg.Go(func() {
					r := httptest.NewRequest(http.MethodGet, "/", nil)
					if l, _ := b.acquire(forWebSocket, pool, nil, httptest.NewRecorder(), r); l != nil {
						mu.Lock()
						taken++
						mu.Unlock()
					}
				})
			}
			wg.Wait()
			if taken != 30 {
				t.Errorf("%d places were taken of 30", taken)
			}
			r := httptest.NewRequest(http.MethodGet, "/", nil)
			if l, _ := b.acquire(forRequest, pool, nil, httptest.NewRecorder(), r); l == nil {
				t.Error("a plain request did not pass at the cap of WebSockets")
			}
		})
	}
}

func TestSkippedAndFailedUpstreamsAreLeftOut(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b, pool := newTestBalancer(leastConn{}), newPool(3)
		b.maxFails, b.failDuration = 2, 10*time.Second
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		skip := func(address string) bool { return address == pool[0].Dial }
		chosen := func() []int {
			got := make([]int, 3)
			for range 6 {
				l, up := b.acquire(forWebSocket, pool, skip, httptest.NewRecorder(), r)
				if l != nil {
					got[slices.Index(pool, up)]++
				}
			}
			return got
		}
		b.fail(pool[1].Dial)
		if got := chosen(); got[0] != 0 || got[1] == 0 {
			t.Errorf("after one failure of two: %v", got)
		}
		b.fail(pool[1].Dial)
		if got := chosen(); got[0] != 0 || got[1] != 0 || got[2] != 6 {
			t.Errorf("after two failures of two: %v", got)
		}
		elapse(11 * time.Second)
		if got := chosen(); got[1] == 0 {
			t.Errorf("after fail_duration: %v", got)
		}
	})
}

// Whatever the order of acquiring, failing and releasing, the ledger's sums
// are those of the leases, and nothing is left at the end.
func TestLedgerAlwaysAddsUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		rng := rand.New(rand.NewPCG(1, 2))
		b, pool := newTestBalancer(leastConn{}), newPool(5)
		b.maxConns, b.maxFails, b.failDuration = 7, 3, time.Second
		var held []*lease
		for range 20000 {
			switch op := rng.IntN(10); {
			case op < 5:
				r := httptest.NewRequest(http.MethodGet, "/", nil)
				if l, _ := b.acquire(use(rng.IntN(2)), pool, nil, httptest.NewRecorder(), r); l != nil {
					held = append(held, l)
				}
			case op < 9 && len(held) > 0:
				i := rng.IntN(len(held))
				held[i].release()
				held[i].release()
				held = slices.Delete(held, i, i+1)
			case op == 9:
				b.fail(pool[rng.IntN(len(pool))].Dial)
				elapse(100 * time.Millisecond)
			}
			sum := 0
			for address, be := range b.ledger.backends {
				if be.live < 0 || be.requests < 0 || be.live > b.maxConns {
					t.Fatalf("%s holds %d live and %d requests", address, be.live, be.requests)
				}
				sum += be.live + be.requests
			}
			if sum != len(held) {
				t.Fatalf("%d leases are held and %d counted", len(held), sum)
			}
		}
		for _, l := range held {
			l.release()
		}
		elapse(2 * time.Second)
		b.fail("sweep")
		if len(b.ledger.backends) != 1 {
			t.Errorf("the ledger still knows %d addresses", len(b.ledger.backends)-1)
		}
	})
}

func TestUnknownAddressesLeaveNoTrace(t *testing.T) {
	t.Parallel()
	b, pool := newTestBalancer(leastConn{}), newPool(50)
	_, leases := takeMany(t, b, pool, 1)
	if len(b.ledger.backends) != 1 {
		t.Errorf("one place was taken, and %d addresses are remembered", len(b.ledger.backends))
	}
	leases[0].release()
	if len(b.ledger.backends) != 0 {
		t.Errorf("nothing is held, and %d addresses are remembered", len(b.ledger.backends))
	}
}

func BenchmarkAcquire(b *testing.B) {
	for _, n := range []int{2, 16, 256, 4096} {
		bal, pool := newTestBalancer(leastConn{}), newPool(n)
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		b.Run(fmt.Sprintf("upstreams=%d", n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				l, _ := bal.acquire(forWebSocket, pool, nil, nil, r)
				l.release()
			}
		})
		b.Run(fmt.Sprintf("upstreams=%d/parallel", n), func(b *testing.B) {
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					l, _ := bal.acquire(forWebSocket, pool, nil, nil, r)
					l.release()
				}
			})
		})
	}
}
