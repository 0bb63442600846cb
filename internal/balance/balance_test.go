package balance

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// elapse lets the fake time of a synctest bubble pass.
func elapse(d time.Duration) { <-time.After(d) }

// host is a Source that a test sets.
type host struct {
	down, full      atomic.Bool
	requests, fails atomic.Int64
}

func (h *host) Healthy() bool    { return !h.down.Load() }
func (h *host) Full() bool       { return h.full.Load() }
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

func TestPoliciesSpreadExactlyOverWholePeriods(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		policy  Policy
		weights []float64
		take    int
		want    []int
	}{
		"least_conn":             {LeastConn{}, nil, 400, []int{100, 100, 100, 100}},
		"weighted_least_conn":    {LeastConn{}, []float64{5, 1, 0, 4}, 100, []int{50, 10, 0, 40}},
		"round_robin":            {new(RoundRobin), nil, 400, []int{100, 100, 100, 100}},
		"round_robin of some":    {new(RoundRobin), []float64{3, 0, 3, 3}, 99, []int{33, 0, 33, 33}},
		"weighted_round_robin":   {new(RoundRobin), []float64{5, 1, 0, 4}, 100, []int{50, 10, 0, 40}},
		"random_choose of all":   {RandomChoose{4}, nil, 400, []int{100, 100, 100, 100}},
		"bounded_hash, factor 1": {BoundedHash{1}, nil, 400, []int{100, 100, 100, 100}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			members, _ := newMembers(4, row.weights...)
			got, _ := take(t, NewLedger().New(Settings{Policy: row.policy}, members), members, row.take)
			if !slices.Equal(got, row.want) {
				t.Errorf("got %v, want %v", got, row.want)
			}
		})
	}
}

func TestWeightedRoundRobinDoesNotBunch(t *testing.T) {
	t.Parallel()
	members, _ := newMembers(3, 5, 1, 1)
	b := NewLedger().New(Settings{Policy: new(RoundRobin)}, members)
	var order []int
	for range 7 {
		got, _ := take(t, b, members, 1)
		order = append(order, slices.Index(got, 1))
	}
	if want := []int{0, 0, 1, 0, 2, 0, 0}; !slices.Equal(order, want) {
		t.Errorf("got %v, want %v", order, want)
	}
}

func TestRoundRobinPassesOverWhoIsDownAndGivesNothingBack(t *testing.T) {
	t.Parallel()
	members, hosts := newMembers(4)
	b := NewLedger().New(Settings{Policy: new(RoundRobin)}, members)
	hosts[1].down.Store(true)
	if got, _ := take(t, b, members, 30); !slices.Equal(got, []int{10, 0, 10, 10}) {
		t.Errorf("while one is down: %v", got)
	}
	hosts[1].down.Store(false)
	if got, _ := take(t, b, members, 40); !slices.Equal(got, []int{10, 10, 10, 10}) {
		t.Errorf("when it is back: %v", got)
	}
}

func TestLeastConnBreaksTiesAtRandom(t *testing.T) {
	t.Parallel()
	first := make(map[int]int)
	for range 400 {
		members, _ := newMembers(4)
		got, _ := take(t, NewLedger().New(Settings{Policy: LeastConn{}}, members), members, 1)
		first[slices.Index(got, 1)]++
	}
	for i := range 4 {
		if first[i] < 50 {
			t.Errorf("of 400 times, upstream %d was first %d times", i, first[i])
		}
	}
}

func TestRequestsAndWebSocketsAreComparedTogether(t *testing.T) {
	t.Parallel()
	members, hosts := newMembers(2)
	b := NewLedger().New(Settings{Policy: LeastConn{}}, members)
	got := make([]int, 2)
	for k := range 100 {
		i, _ := b.Acquire(new(Lease), Ask{Use: Use(k % 2)})
		got[i]++
	}
	if got[0] != 50 {
		t.Errorf("got %v", got)
	}
	hosts[0].requests.Store(1000) // of others
	b.ledger.mu.Lock()
	b.sweepLocked(time.Now(), true)
	b.ledger.mu.Unlock()
	if got, _ := take(t, b, members, 100); got[1] != 100 {
		t.Errorf("beside 1000 requests of others: %v", got)
	}
}

func TestBoundedHashKeepsAKeyAndBoundsTheLoad(t *testing.T) {
	t.Parallel()
	members, _ := newMembers(5)
	b := NewLedger().New(Settings{Policy: BoundedHash{1.25}}, members)
	home := make(map[string]int)
	moved, loads := 0, make([]int, 5)
	const keys = 1000
	for k := range keys {
		key := fmt.Sprint("user-", k)
		i, _ := b.Acquire(new(Lease), Ask{Key: key})
		home[key] = i
		loads[i]++
		mean := float64(k+1) / 5
		if float64(loads[i]) > math.Ceil(1.25*mean) {
			t.Fatalf("after %d keys upstream %d holds %d", k+1, i, loads[i])
		}
	}
	again := NewLedger().New(Settings{Policy: BoundedHash{1.25}}, members)
	for k := range keys {
		key := fmt.Sprint("user-", k)
		if i, _ := again.Acquire(new(Lease), Ask{Key: key}); i != home[key] {
			moved++
		}
	}
	if moved != 0 {
		t.Errorf("%d of %d keys are elsewhere the second time", moved, keys)
	}
}

func TestBoundIsOfTheMembersThatAreThere(t *testing.T) {
	t.Parallel()
	members, _ := newMembers(3)
	b := NewLedger().New(Settings{Policy: BoundedHash{1}}, nil)
	for range 90 {
		b.AcquireFrom(new(Lease), Ask{Key: "one"}, members)
	}
	got := make([]int, 2)
	for range 20 { // the third is gone, and whoever is there still
		i, _ := b.AcquireFrom(new(Lease), Ask{Key: "one"}, members[:2])
		got[i]++
	}
	if !slices.Equal(got, []int{10, 10}) {
		t.Errorf("got %v, want each as many", got)
	}
}

func TestRemovingAnUpstreamMovesOnlyItsOwnKeys(t *testing.T) {
	t.Parallel()
	members, _ := newMembers(5)
	policy := BoundedHash{1e9}
	all := NewLedger().New(Settings{Policy: policy}, members)
	fewer := NewLedger().New(Settings{Policy: policy}, members[:4])
	for k := range 500 {
		key := fmt.Sprint("user-", k)
		before, _ := all.Acquire(new(Lease), Ask{Key: key})
		after, _ := fewer.Acquire(new(Lease), Ask{Key: key})
		if before != 4 && before != after {
			t.Fatalf("%s went from %d to %d", key, before, after)
		}
	}
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

func TestUnavailableUpstreamsAreLeftOut(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		set     func(*Ledger, *Balancer, []Member, []*host)
		ask     Ask
		back    func(*Ledger, []*host)
		refusal Refusal
	}{
		"unhealthy": {
			func(_ *Ledger, _ *Balancer, _ []Member, h []*host) { h[0].down.Store(true) }, Ask{},
			func(_ *Ledger, h []*host) { h[0].down.Store(false) }, Dead,
		},
		"failed": {
			func(_ *Ledger, b *Balancer, m []Member, _ []*host) { b.Fail(m[0].Address); b.Fail(m[0].Address) }, Ask{},
			func(*Ledger, []*host) { elapse(11 * time.Second) }, Dead,
		},
		"failed as a request too": {
			func(_ *Ledger, b *Balancer, m []Member, h []*host) { b.Fail(m[0].Address); h[0].fails.Store(1) }, Ask{},
			func(*Ledger, []*host) { elapse(11 * time.Second) }, Dead,
		},
		"closes early": {
			func(l *Ledger, _ *Balancer, m []Member, _ []*host) {
				for range 3 {
					l.EarlyClose(m[0].Address, 10*time.Second)
				}
			}, Ask{},
			func(*Ledger, []*host) { elapse(11 * time.Second) }, Dead,
		},
		"draining": {
			func(l *Ledger, _ *Balancer, m []Member, _ []*host) { l.SetState(m[0].Address, Drain) }, Ask{},
			func(l *Ledger, _ []*host) { l.SetState("10.0.0.0:80", Ready) }, Dead,
		},
		"in maintenance, for requests": {
			func(l *Ledger, _ *Balancer, m []Member, _ []*host) { l.SetState(m[0].Address, Maintenance) }, Ask{Use: Request},
			func(l *Ledger, _ []*host) { l.SetState("10.0.0.0:80", Ready) }, Dead,
		},
		"full of requests": {
			func(_ *Ledger, _ *Balancer, _ []Member, h []*host) { h[0].full.Store(true) }, Ask{Use: Request},
			func(_ *Ledger, h []*host) { h[0].full.Store(false) }, Dead,
		},
	} {
		for policy, p := range map[string]Policy{"tree": LeastConn{}, "turns": new(RoundRobin), "scan": RandomChoose{16}} {
			t.Run(name+"/"+policy, func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					members, hosts := newMembers(2)
					l := NewLedger()
					b := l.New(Settings{Policy: p, MaxFails: 2, FailDuration: 10 * time.Second, EarlyCloses: 3}, members)
					row.set(l, b, members, hosts)
					elapse(sweepInterval)
					for range 10 {
						if i, refusal := b.Acquire(new(Lease), row.ask); refusal != None || i != 1 {
							t.Fatalf("got upstream %d, refusal %d", i, refusal)
						}
					}
					hosts[1].down.Store(true)
					elapse(sweepInterval)
					if _, refusal := b.Acquire(new(Lease), row.ask); refusal != row.refusal {
						t.Errorf("with none left: refusal %d, want %d", refusal, row.refusal)
					}
					row.back(l, hosts)
					elapse(time.Millisecond)
					if i, refusal := b.Acquire(new(Lease), row.ask); refusal != None || i != 0 {
						t.Errorf("when it is back: got upstream %d, refusal %d", i, refusal)
					}
				})
			})
		}
	}
}

func TestMaintenanceIsForThoseWhoAreBound(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		state State
		set   func(b *Balancer, m []Member, h []*host)
		ask   Ask
		found bool
	}{
		"a request":              {Maintenance, nil, Ask{Use: Request}, true},
		"a WebSocket":            {Maintenance, nil, Ask{}, true},
		"ready, which is no one": {Ready, nil, Ask{}, false},
		"in drain":               {Drain, nil, Ask{Use: Request}, false},
		"down":                   {Maintenance, func(_ *Balancer, _ []Member, h []*host) { h[0].down.Store(true) }, Ask{Use: Request}, false},
		"failed":                 {Maintenance, func(b *Balancer, m []Member, _ []*host) { b.Fail(m[0].Address) }, Ask{}, false},
		"down, and all others too": {Maintenance, func(_ *Balancer, _ []Member, h []*host) {
			h[0].down.Store(true)
			h[1].down.Store(true)
		}, Ask{Use: Request}, false},
		"full of requests":           {Maintenance, func(_ *Balancer, _ []Member, h []*host) { h[0].full.Store(true) }, Ask{Use: Request}, false},
		"full of requests, no one's": {Maintenance, func(_ *Balancer, _ []Member, h []*host) { h[0].full.Store(true) }, Ask{}, true},
		"tried":                      {Maintenance, nil, Ask{Skip: func(string) bool { return true }}, false},
		"wanted by who waits": {Maintenance, func(b *Balancer, m []Member, _ []*host) {
			b.Line(addresses(m))
		}, Ask{}, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			members, hosts := newMembers(2)
			l := NewLedger()
			b := l.New(Settings{Policy: LeastConn{}, MaxFails: 1, FailDuration: time.Hour, PanicThreshold: 0.5, MaxConns: 1, Queue: 1}, members)
			l.SetState(members[0].Address, row.state)
			if row.set != nil {
				row.set(b, members, hosts)
			}
			got := b.InMaintenance(row.ask, members)
			if found := slices.Equal(got, []int{0}); found != row.found || !found && len(got) != 0 {
				t.Errorf("found %v, want it %t", got, row.found)
			}
			if row.state == Ready {
				return
			}
			var unbound, lease Lease
			if b.Take(&unbound, row.ask, members[0]) {
				t.Error("one who is not bound got a place")
			}
			row.ask.Bound = true
			if took := b.Take(&lease, row.ask, members[0]); took != row.found {
				t.Errorf("a place was taken: %t, want %t", took, row.found)
			}
			if row.found && row.ask.Use == WebSocket {
				if b.Take(new(Lease), row.ask, members[0]) {
					t.Error("who is bound exceeds max_conns")
				}
			}
			lease.Release()
			if n := l.Held(); n != 0 {
				t.Errorf("%d places are held at the end", n)
			}
		})
	}
}

func TestTriedUpstreamsAreSkippedAndNotForgotten(t *testing.T) {
	t.Parallel()
	members, _ := newMembers(3)
	b := NewLedger().New(Settings{Policy: LeastConn{}}, members)
	skip := func(address string) bool { return address != members[2].Address }
	if i, refusal := b.Acquire(new(Lease), Ask{Skip: skip}); refusal != None || i != 2 {
		t.Fatalf("got upstream %d, refusal %d", i, refusal)
	}
	if got, _ := take(t, b, members, 5); !slices.Equal(got, []int{2, 2, 1}) {
		t.Errorf("after that: %v", got)
	}
}

func TestPanicThresholdIgnoresHealth(t *testing.T) {
	t.Parallel()
	for policy, p := range map[string]Policy{"tree": LeastConn{}, "turns": new(RoundRobin), "scan": RandomChoose{16}} {
		t.Run(policy, func(t *testing.T) {
			t.Parallel()
			members, hosts := newMembers(4)
			l := NewLedger()
			b := l.New(Settings{Policy: p, PanicThreshold: 0.5}, members)
			l.SetState(members[3].Address, Maintenance)
			hosts[0].down.Store(true)
			if got, _ := take(t, b, members, 8); got[0] != 0 || got[3] != 0 {
				t.Errorf("two of three are healthy: %v", got)
			}
			hosts[1].down.Store(true)
			if got, _ := take(t, b, members, 90); got[0] == 0 || got[1] == 0 || got[3] != 0 {
				t.Errorf("one of three is healthy: %v", got)
			}
			hosts[0].down.Store(false)
			if got, _ := take(t, b, members, 90); got[1] != 0 {
				t.Errorf("two of three are healthy again: %v", got)
			}
		})
	}
}

// A cold upstream takes a share that grows with time, while the others hold
// much: never a burst, and its full share at the end.
func TestSlowStartRampsTheShareOfANewUpstream(t *testing.T) {
	t.Parallel()
	for policy, p := range map[string]Policy{"tree": LeastConn{}, "scan": new(RoundRobin)} {
		t.Run(policy, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				const ramp = 100 * time.Second
				members, hosts := newMembers(5)
				b := NewLedger().New(Settings{Policy: p, SlowStart: ramp}, members)
				hosts[4].down.Store(true)
				elapse(time.Hour)
				take(t, b, members, 4000)
				hosts[4].down.Store(false)
				b.Arrived()
				last := 0
				for tenth := 1; tenth <= 10; tenth++ {
					elapse(ramp / 10)
					got, _ := take(t, b, members, 100)
					if policy == "tree" {
						live := b.ledger.Look(members[4].Address).Live
						share := float64(live) / float64(b.ledger.Look(members[0].Address).Live)
						if want := float64(tenth) / 10; math.Abs(share-want) > 0.15 && live-last < 100 {
							t.Errorf("after %d0 %% of the time its share is %.2f", tenth, share)
						}
						last = live
					} else if want := 100 * (float64(tenth) / 10) / (4 + float64(tenth)/10); math.Abs(float64(got[4])-want) > 3 {
						t.Errorf("after %d0 %% of the time it took %d of 100, want %.0f", tenth, got[4], want)
					}
				}
			})
		})
	}
}

func TestLineIsServedInOrderAndNobodyOvertakes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		members, _ := newMembers(1)
		b := NewLedger().New(Settings{Policy: LeastConn{}, MaxConns: 1, Queue: 3}, members)
		held := new(Lease)
		b.Acquire(held, Ask{})
		var order []int
		leases := make([]Lease, 3)
		for k := range 3 {
			if _, refusal := b.Acquire(&leases[k], Ask{}); refusal != Full {
				t.Fatalf("refusal %d where it is full", refusal)
			}
			place := b.Line(addresses(members))
			go func() {
				defer place.Leave()
				for range place.Turn() {
					if _, refusal := b.Acquire(&leases[k], Ask{Place: place}); refusal == None {
						order = append(order, k)
						return
					}
				}
			}()
			synctest.Wait()
		}
		if b.Line(addresses(members)) != nil {
			t.Error("a fourth got into a line of three")
		}
		held.Release()
		synctest.Wait()
		if _, refusal := b.Acquire(new(Lease), Ask{}); refusal != Full {
			t.Error("someone overtook those who wait")
		}
		for k := range 3 {
			leases[k].Release()
			synctest.Wait()
		}
		if !slices.Equal(order, []int{0, 1, 2}) || b.Queued() != 0 {
			t.Errorf("served in order %v, %d still wait", order, b.Queued())
		}
	})
}

func TestLeavingTheLineLetsTheNextOneAsk(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		members, _ := newMembers(1)
		b := NewLedger().New(Settings{Policy: LeastConn{}, MaxConns: 1, Queue: 2}, members)
		held := new(Lease)
		b.Acquire(held, Ask{})
		first, second := b.Line(addresses(members)), b.Line(addresses(members))
		<-first.Turn()
		held.Release()
		first.Leave() // its client left just now
		<-second.Turn()
		if _, refusal := b.Acquire(new(Lease), Ask{Place: second}); refusal != None {
			t.Errorf("refusal %d for the one who is next", refusal)
		}
		second.Leave()
		second.Leave()
	})
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

func TestFailuresOfAddressesThatAreGoneAreForgotten(t *testing.T) {
	t.Parallel()
	for name, policy := range map[string]Policy{"tree": LeastConn{}, "scan": RandomChoose{1}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				members, _ := newMembers(1)
				l := NewLedger()
				b := l.New(Settings{Policy: policy, FailDuration: time.Hour}, members)
				for i := range 3 * mostFailures {
					b.Fail(fmt.Sprintf("tenant-%d:80", i%100))
					l.EarlyClose(fmt.Sprintf("tenant-%d:80", i%100), time.Hour)
					b.Fail("tenant-0:80")
				}
				if n := len(l.backends["tenant-0:80"].fails); n > mostFailures {
					t.Errorf("%d failures of one are remembered", n)
				}
				elapse(30 * time.Minute)
				take(t, b, members, 1)
				if l.backends["tenant-1:80"] == nil {
					t.Error("forgotten before the time is over")
				}
				elapse(time.Hour)
				take(t, b, members, 1)
				if n := len(l.backends); n != 1 {
					t.Errorf("%d addresses are known, want the one that is configured", n)
				}
			})
		})
	}
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

func TestCrowdAtTheLineIsServedOnceEach(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		members, _ := newMembers(3)
		b := NewLedger().New(Settings{Policy: LeastConn{}, MaxConns: 2, Queue: 1000}, members)
		var served atomic.Int64
		var wg sync.WaitGroup
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		for range 500 {
			wg.Go(func() {
				var lease Lease
				_, refusal := b.Acquire(&lease, Ask{})
				if refusal == Full {
					place := b.Line(addresses(members))
					defer place.Leave()
					for refusal == Full {
						select {
						case <-place.Turn():
						case <-ctx.Done():
							return
						}
						_, refusal = b.Acquire(&lease, Ask{Place: place})
					}
					place.Leave()
				}
				served.Add(1)
				elapse(time.Second)
				lease.Release()
			})
		}
		wg.Wait()
		if served.Load() != 500 {
			t.Errorf("%d of 500 were served", served.Load())
		}
	})
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

func TestWaitersForOneUpstreamDoNotHoldUpOthers(t *testing.T) {
	t.Parallel()
	members, _ := newMembers(2)
	b := NewLedger().New(Settings{Policy: new(RoundRobin), MaxConns: 1, Queue: 5}, nil)
	held := new(Lease)
	b.AcquireFrom(held, Ask{}, members[:1])
	if _, refusal := b.AcquireFrom(new(Lease), Ask{}, members[:1]); refusal != Full {
		t.Fatalf("refusal %d where it is full", refusal)
	}
	place := b.Line(addresses(members[:1]))
	if _, refusal := b.AcquireFrom(new(Lease), Ask{}, members[1:]); refusal != None {
		t.Errorf("refusal %d for an upstream that nobody waits for", refusal)
	}
	held.Release()
	if _, refusal := b.AcquireFrom(new(Lease), Ask{}, members[:1]); refusal != Full {
		t.Errorf("someone overtook the one who waits")
	}
	<-place.Turn()
	if _, refusal := b.AcquireFrom(new(Lease), Ask{Place: place}, members[:1]); refusal != None {
		t.Errorf("refusal %d for the one who waited", refusal)
	}
	place.Leave()
}
