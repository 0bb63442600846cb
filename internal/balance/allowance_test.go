package balance

import (
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
)

// acquires takes as many of so many leases as it is given.
func acquires(b *Balancer, n int) (leases []*Lease) {
	for range n {
		lease := new(Lease)
		if _, refusal := b.Acquire(lease, Ask{}); refusal == None {
			leases = append(leases, lease)
		}
	}
	return leases
}

// policies are those whose choices are made in different ways.
func policies() map[string]Policy {
	return map[string]Policy{"tree": LeastConn{}, "turns": new(RoundRobin), "scan": RandomChoose{2}, "hash": BoundedHash{1.25}}
}

func TestAllowanceHoldsTheCapOfABoundLedger(t *testing.T) {
	t.Parallel()
	for name, policy := range policies() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			members, _ := newMembers(1)
			a := members[0].Address
			l := NewLedger()
			b := l.New(Settings{Policy: policy, MaxConns: 10}, members)
			leases := acquires(b, 4)
			shared := func(want Shared) {
				t.Helper()
				if got := l.Shared(); len(got) != 1 || got[0] != want {
					t.Errorf("got %+v, want %+v", got, want)
				}
			}
			acquired := func(what string, want int) {
				t.Helper()
				got := acquires(b, 20)
				if leases = append(leases, got...); len(got) != want {
					t.Errorf("%s: %d are given, want %d", what, len(got), want)
				}
			}
			shared(Shared{a, 10, 4, math.MaxInt, 4, 0})
			l.Bind()
			shared(Shared{a, 10, 4, 0, 4, 0})
			acquired("nothing is allowed", 0)
			l.Allow(a, 6)
			l.Bind() // for another fleet, which goes on with what there is
			acquired("6 are allowed", 2)
			l.Allow(a, 20)
			acquired("more than the cap is allowed", 4)
			leases[0].Release()
			for _, spare := range []int{3, 7} { // the second time, it is lower already
				if got := l.Trim(a, spare); got != 12 {
					t.Errorf("trimmed to %d with %d to spare, want 12", got, spare)
				}
			}
			if got := l.Trim(a, 0); got != 9 {
				t.Errorf("trimmed to %d, want what lives", got)
			}
			acquired("it was trimmed", 0)
			shared(Shared{a, 10, 9, 9, 10, 0})
			if _, refusal := b.Acquire(new(Lease), Ask{Use: Request}); refusal != None {
				t.Error("a plain request is held to an allowance of WebSockets")
			}
			l.Unbind()
			acquired("the cap holds by itself", 1)
			if got := l.Trim(a, 0); got != 0 {
				t.Errorf("a ledger that is not bound has trimmed to %d", got)
			}
		})
	}
}

func TestAddressThatIsNewToABoundLedgerHasNoAllowance(t *testing.T) {
	t.Parallel()
	members, _ := newMembers(2)
	l := NewLedger()
	l.Bind()
	l.Allow(members[0].Address, 5) // and nobody knows it
	b := l.New(Settings{Policy: LeastConn{}, MaxConns: 10}, members[:1])
	free := l.New(Settings{Policy: LeastConn{}}, members[1:])
	if n := len(acquires(b, 5)); n > 0 {
		t.Errorf("%d are given", n)
	}
	if n := len(acquires(free, 5)); n != 5 {
		t.Errorf("%d are given where there is no cap, want 5", n)
	}
}

func TestSharedCapsAreTheLargestOfTheOpenBalancers(t *testing.T) {
	t.Parallel()
	members, _ := newMembers(4)
	l := NewLedger()
	expect := func(want map[string]int) {
		t.Helper()
		got := make(map[string]int)
		for _, s := range l.Shared() {
			got[s.Name] = s.Cap
		}
		if len(got) != len(want) {
			t.Errorf("got %v, want %v", got, want)
		}
		for address, most := range want {
			if got[address] != most {
				t.Errorf("got %v, want %v", got, want)
			}
		}
	}
	at := addresses(members)
	small := l.New(Settings{Policy: LeastConn{}, MaxConns: 5}, members[:2])
	large := l.New(Settings{Policy: LeastConn{}, MaxConns: 9}, members[1:2])
	l.New(Settings{Policy: LeastConn{}}, members)
	dynamic := l.New(Settings{Policy: LeastConn{}, MaxConns: 3}, nil)
	expect(map[string]int{at[0]: 5, at[1]: 9})
	dynamic.AcquireFrom(new(Lease), Ask{}, members[2:3])
	expect(map[string]int{at[0]: 5, at[1]: 9, at[2]: 3})
	large.Close()
	expect(map[string]int{at[0]: 5, at[1]: 5, at[2]: 3})
	small.Close()
	expect(map[string]int{at[2]: 3})
}

func TestAllowanceThatGrewGoesToWhoWaits(t *testing.T) {
	t.Parallel()
	for name, policy := range policies() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				members, _ := newMembers(1)
				a := members[0].Address
				l := NewLedger()
				l.Bind()
				b := l.New(Settings{Policy: policy, MaxConns: 10, Queue: 5}, members)
				var given atomic.Int64
				for range 3 {
					go func() {
						p := b.Line(addresses(members))
						defer p.Leave()
						for range p.Turn() {
							if _, refusal := b.Acquire(new(Lease), Ask{Place: p}); refusal == None {
								given.Add(1)
								return
							}
						}
					}()
				}
				synctest.Wait()
				if s := l.Shared()[0]; s.Waiting != 3 || given.Load() != 0 {
					t.Errorf("%d were given one, and %+v", given.Load(), s)
				}
				l.Allow(a, 2)
				synctest.Wait()
				if s := l.Shared()[0]; s.Waiting != 1 || given.Load() != 2 {
					t.Errorf("%d were given one, want 2, and %+v", given.Load(), s)
				}
				l.Unbind()
				synctest.Wait()
				if s := l.Shared()[0]; s.Waiting != 0 || given.Load() != 3 {
					t.Errorf("%d were given one, want 3, and %+v", given.Load(), s)
				}
			})
		})
	}
}

func TestSmallerCapCountsWhatOtherNodesHold(t *testing.T) {
	t.Parallel()
	members, _ := newMembers(1)
	a := members[0].Address
	l := NewLedger()
	large := l.New(Settings{Policy: LeastConn{}, MaxConns: 20}, members)
	small := l.New(Settings{Policy: LeastConn{}, MaxConns: 10}, members)
	l.Bind()
	l.Allow(a, 15)
	l.SetElsewhere(map[string]int{a: 8})
	if n := len(acquires(small, 20)); n != 2 {
		t.Errorf("%d are given under the smaller cap, want 2", n)
	}
	if got := small.Short(Ask{}, nil); len(got) > 0 {
		t.Errorf("%v lack an allowance where the cap is reached", got)
	}
	if n := len(acquires(large, 20)); n != 13 {
		t.Errorf("%d are given under the larger cap, want all that are allowed", n)
	}
}

func TestShortAreThoseThatLackAnAllowanceAlone(t *testing.T) {
	t.Parallel()
	members, hosts := newMembers(7)
	members[6].Weight = 0
	at := addresses(members)
	l := NewLedger()
	b := l.New(Settings{Policy: new(RoundRobin), MaxConns: 2}, members)
	for _, m := range members[:6] {
		b.Take(new(Lease), Ask{}, m)
	}
	b.Take(new(Lease), Ask{}, members[1]) // at its cap
	if got := b.Short(Ask{}, nil); got != nil {
		t.Errorf("%v are short where nothing is bound", got)
	}
	l.Bind()
	l.Allow(at[2], 2) // has room
	hosts[3].down.Store(true)
	l.SetState(at[4], Drain)
	tried := func(address string) bool { return address == at[5] }
	for what, given := range map[string][]Member{"static": nil, "given": slices.Clone(members)} {
		if got := b.Short(Ask{Skip: tried}, given); !slices.Equal(got, at[:1]) {
			t.Errorf("%s: %v are short, want %s", what, got, at[0])
		}
		if got := b.Short(Ask{Use: Request}, given); got != nil {
			t.Errorf("%s: %v are short for a plain request", what, got)
		}
	}
}

// TestNodesTogetherNeverHoldMoreThanTheCap has nodes whose ledgers hand out what is taken
// from each other's allowances, while connections come and go.
func TestNodesTogetherNeverHoldMoreThanTheCap(t *testing.T) {
	t.Parallel()
	const most, clients, want = 40, 16, 3_000
	for name := range policies() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			members, _ := newMembers(1)
			var ledgers []*Ledger
			var balancers []*Balancer
			for range 3 {
				l := NewLedger()
				l.Bind()
				ledgers = append(ledgers, l)
				balancers = append(balancers, l.New(Settings{Policy: policies()[name], MaxConns: most}, members))
			}
			var live, acquired atomic.Int64
			goOn := func() bool { return acquired.Load() < want }
			var wg sync.WaitGroup
			wg.Go(func() { handOut(ledgers, members[0].Address, most, goOn) })
			for i := range clients {
				wg.Go(func() {
					for goOn() {
						lease := new(Lease)
						if _, refusal := balancers[i%3].Acquire(lease, Ask{}); refusal == None {
							if n := live.Add(1); n > most {
								t.Errorf("%d live, more than the cap", n)
							}
							acquired.Add(1)
							runtime.Gosched()
							live.Add(-1)
							lease.Release()
						}
						runtime.Gosched()
					}
				})
			}
			wg.Wait()
			for _, l := range ledgers {
				if n := l.Held(); n != 0 {
					t.Errorf("%d are held at the end", n)
				}
			}
		})
	}
}

// handOut gives each of the ledgers in turn what is free of the cap, and takes back what
// they do not need.
func handOut(ledgers []*Ledger, address string, most int, goOn func() bool) {
	held := make([]int, len(ledgers))
	random := rand.New(rand.NewPCG(1, 3))
	for goOn() {
		from, to := random.IntN(len(ledgers)), random.IntN(len(ledgers))
		held[from] = ledgers[from].Trim(address, random.IntN(4))
		free := most
		for _, n := range held {
			free -= n
		}
		held[to] += random.IntN(free + 1)
		ledgers[to].Allow(address, held[to])
		runtime.Gosched()
	}
}

func TestHashKeepsAKeyWhereNothingButAnAllowanceIsMissing(t *testing.T) {
	t.Parallel()
	members, _ := newMembers(3)
	l := NewLedger()
	b := l.New(Settings{Policy: BoundedHash{1e6}, MaxConns: 4}, members)
	i, _ := b.Acquire(new(Lease), Ask{Key: "alice"})
	home := members[i].Address
	l.Bind()
	for _, m := range members {
		if m.Address != home {
			l.Allow(m.Address, 4)
		}
	}
	grows := func(address string) bool { return address == home }
	acquire := func(what string, ask Ask, at bool, want Refusal) {
		t.Helper()
		var lease Lease
		defer lease.Release()
		ask.Key = "alice"
		got, refusal := b.Acquire(&lease, ask)
		if (got == i) != at || refusal != want || (lease.Address() == "") != (want == Short) {
			t.Errorf("%s: member %d of %d, refusal %d, want %d; a lease of %q", what, got, i, refusal, want, lease.Address())
		}
	}
	acquire("it grows", Ask{Grows: grows}, true, Short)
	acquire("none grows", Ask{}, false, None)
	acquire("another one grows", Ask{Grows: func(address string) bool { return address != home }}, false, None)
	l.SetElsewhere(map[string]int{home: 3})
	acquire("the nodes hold all of it", Ask{Grows: grows}, false, None)
	l.SetElsewhere(nil)
	b.Moved()
	acquire("a connection was moved", Ask{Grows: grows}, false, None)
	l.Allow(home, 4)
	acquire("it has grown", Ask{Grows: grows}, true, None)
}
