package balance

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wsgateway/caddy-ws-gateway/internal/bubble"
)

// elapse lets the fake time of a synctest bubble pass.
var elapse = bubble.Elapse

// host is a Source that a test sets.
type host struct {
	down, full      atomic.Bool
	requests, fails atomic.Int64
}

func (h *host) Healthy() bool    { return !h.down.Load() }
func (h *host) Full(int) bool    { return h.full.Load() }
func (h *host) NumRequests() int { return int(h.requests.Load()) }
func (h *host) Fails() int       { return int(h.fails.Load()) }

// addresses are those of members.
func addresses(members []Member) []string {
	var list []string
	for _, m := range members {
		list = append(list, m.Address)
	}
	return list
}

func newMembers(n int, weights ...float64) ([]Member, []*host) {
	members, hosts := make([]Member, n), make([]*host, n)
	for i := range members {
		hosts[i] = new(host)
		members[i] = Member{Address: fmt.Sprintf("10.0.0.%d:80", i), Weight: 1, Source: hosts[i]}
		if i < len(weights) {
			members[i].Weight = weights[i]
		}
	}
	return members, hosts
}

// take acquires n places and returns how many each member got.
func take(t testing.TB, b *Balancer, members []Member, n int) ([]int, []*Lease) {
	t.Helper()
	got := make([]int, len(members))
	leases := make([]*Lease, n)
	for k := range leases {
		leases[k] = new(Lease)
		i, refusal := b.Acquire(leases[k], Ask{})
		if refusal != None {
			t.Fatalf("refused with %d although all are there", refusal)
		}
		got[i]++
	}
	return got, leases
}

func TestConcurrentAcquiresSpreadEvenlyAndKeepTheCap(t *testing.T) {
	t.Parallel()
	for name, policy := range map[string]Policy{"least_conn": LeastConn{}, "round_robin": new(RoundRobin), "random_choose": RandomChoose{2}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			members, _ := newMembers(4)
			b := NewLedger().New(Settings{Policy: policy, MaxConns: 100}, members)
			var taken atomic.Int64
			var wg sync.WaitGroup
			for range 2000 {
				wg.Go(func() {
					if _, refusal := b.Acquire(new(Lease), Ask{}); refusal == None {
						taken.Add(1)
					} else if refusal != Full {
						t.Errorf("refused with %d", refusal)
					}
				})
			}
			wg.Wait()
			for _, m := range members {
				if live := b.ledger.Look(m.Address).Live; live != 100 {
					t.Errorf("%s holds %d of 100", m.Address, live)
				}
			}
			if taken.Load() != 400 {
				t.Errorf("%d places were taken of 400", taken.Load())
			}
			if _, refusal := b.Acquire(new(Lease), Ask{Use: Request}); refusal != None {
				t.Error("a plain request did not pass at the cap of WebSockets")
			}
		})
	}
}

// Whatever happens in whatever order, the sums are those of the leases, no cap
// is exceeded, and nothing is left at the end.
func TestLedgerAlwaysAddsUp(t *testing.T) {
	t.Parallel()
	for name, policy := range map[string]Policy{"tree": LeastConn{}, "turns": new(RoundRobin), "scan": new(RoundRobin), "hash": BoundedHash{1.25}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				rng := rand.New(rand.NewPCG(1, 2))
				members, hosts := newMembers(5, 3, 1, 1, 2, 1)
				settings := Settings{Policy: policy, MaxConns: 7, MaxFails: 3, FailDuration: time.Second, SlowStart: 5 * time.Second}
				if name == "turns" {
					members, hosts = newMembers(5)
					settings.SlowStart = 0
				}
				l := NewLedger()
				b := l.New(settings, members)
				var held []*Lease
				for range 20000 {
					switch op := rng.IntN(12); {
					case op < 6:
						lease := new(Lease)
						if _, refusal := b.Acquire(lease, Ask{Use: Use(rng.IntN(2)), Key: fmt.Sprint(rng.IntN(50))}); refusal == None {
							held = append(held, lease)
						}
					case op < 10 && len(held) > 0:
						i := rng.IntN(len(held))
						held[i].Release()
						held[i].Release()
						held = slices.Delete(held, i, i+1)
					case op == 10:
						b.Fail(members[rng.IntN(5)].Address)
						hosts[rng.IntN(5)].down.Store(rng.IntN(4) == 0)
						elapse(100 * time.Millisecond)
					case op == 11 && rng.IntN(10) == 0: // a reload
						before := b
						b = l.New(settings, members)
						before.Close()
					case op == 11:
						b.Moved()
						l.SetState(members[rng.IntN(5)].Address, State(rng.IntN(3)))
					}
					for _, m := range members {
						if s := l.Look(m.Address); s.Live < 0 || s.Requests < 0 || s.Live > 7 {
							t.Fatalf("%s holds %d live and %d requests", m.Address, s.Live, s.Requests)
						}
					}
					if sum := l.Held(); sum != len(held) {
						t.Fatalf("%d leases are held and %d counted", len(held), sum)
					}
				}
				for _, lease := range held {
					lease.Release()
				}
				for _, m := range members {
					l.SetState(m.Address, Ready)
				}
				elapse(time.Hour)
				b.Close()
				if n := len(l.backends); l.Held() != 0 || n != 0 {
					t.Errorf("%d are held, %d addresses are known", l.Held(), n)
				}
			})
		})
	}
}

func TestDynamicMembersComeAndGoAndAreForgotten(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := NewLedger()
		b := l.New(Settings{Policy: LeastConn{}}, nil)
		for round := range 1000 {
			members := []Member{
				{Address: "stays:80", Weight: 1, Source: new(host)},
				{Address: fmt.Sprintf("pod-%d:80", round), Weight: 1, Source: new(host)},
			}
			lease := new(Lease)
			if _, refusal := b.AcquireFrom(lease, Ask{}, members); refusal != None {
				t.Fatal("none of them could be had")
			}
			lease.Release()
			elapse(time.Minute)
		}
		if n := len(l.backends) + len(b.dynamic); n > 60 {
			t.Errorf("of 1000 addresses that came and went, %d are remembered", n)
		}
	})
}

func TestAcquireDoesNotAllocate(t *testing.T) {
	members, _ := newMembers(16)
	for name, policy := range map[string]Policy{"tree": LeastConn{}, "turns": new(RoundRobin), "scan": RandomChoose{16}} {
		b := NewLedger().New(Settings{Policy: policy}, members)
		var lease Lease
		if n := testing.AllocsPerRun(1000, func() {
			b.Acquire(&lease, Ask{})
			lease.Release()
		}); n != 0 {
			t.Errorf("%s: %.1f allocations", name, n)
		}
	}
}

func BenchmarkAcquire(b *testing.B) {
	for _, policy := range []struct {
		name string
		p    Policy
	}{{"least_conn", LeastConn{}}, {"round_robin", new(RoundRobin)}, {"bounded_hash", BoundedHash{1.25}}} {
		for _, n := range []int{2, 16, 256, 4096} {
			members, _ := newMembers(n)
			bal := NewLedger().New(Settings{Policy: policy.p}, members)
			name := fmt.Sprintf("%s/upstreams=%d", policy.name, n)
			b.Run(name, func(b *testing.B) {
				b.ReportAllocs()
				var lease Lease
				for b.Loop() {
					bal.Acquire(&lease, Ask{Key: "key"})
					lease.Release()
				}
			})
			b.Run(name+"/parallel", func(b *testing.B) {
				b.ReportAllocs()
				b.RunParallel(func(pb *testing.PB) {
					var lease Lease
					for pb.Next() {
						bal.Acquire(&lease, Ask{Key: "key"})
						lease.Release()
					}
				})
			})
		}
	}
}
