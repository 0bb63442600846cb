package balance

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// reload makes the balancer that takes another's place.
func reload(old *Balancer, set func(*Settings), members []Member) *Balancer {
	settings := old.settings
	set(&settings)
	b := old.ledger.New(settings, members)
	old.Close()
	return b
}

func unchanged(*Settings) {}

func TestLineGoesOnThroughAReload(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		policy  Policy
		dynamic bool
	}{"tree": {LeastConn{}, false}, "scan": {RandomChoose{5}, false}, "dynamic": {LeastConn{}, true}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			members, _ := newMembers(1)
			static := members
			if row.dynamic {
				static = nil
			}
			acquire := func(b *Balancer, ask Ask) (*Lease, Refusal) {
				lease := new(Lease)
				if row.dynamic {
					_, refusal := b.AcquireFrom(lease, ask, members)
					return lease, refusal
				}
				_, refusal := b.Acquire(lease, ask)
				return lease, refusal
			}
			l := NewLedger()
			old := l.New(Settings{Name: "gw", Policy: row.policy, MaxConns: 1, Queue: 2}, static)
			held, _ := acquire(old, Ask{})
			first := old.Line(addresses(members))
			b := reload(old, unchanged, static)
			if _, refusal := acquire(b, Ask{}); refusal != Full {
				t.Fatalf("refusal %d where it is full", refusal)
			}
			second := b.Line(addresses(members))
			if b.Line(addresses(members)) != nil || l.Queued("gw") != 2 {
				t.Errorf("%d wait, and a third could, in a line of two", l.Queued("gw"))
			}
			<-first.Turn()
			<-second.Turn()
			held.Release()
			for what, ask := range map[string]Ask{"a newcomer": {}, "who came second": {Place: second}} {
				if _, refusal := acquire(b, ask); refusal != Full {
					t.Errorf("%s overtook who waits since before the reload", what)
				}
			}
			<-first.Turn()
			lease, refusal := acquire(old, Ask{Place: first})
			if refusal != None {
				t.Fatalf("refusal %d for the first", refusal)
			}
			first.Leave()
			lease.Release()
			<-second.Turn()
			if lease, refusal = acquire(b, Ask{Place: second}); refusal != None {
				t.Errorf("refusal %d for the second", refusal)
			}
			second.Leave()
			lease.Release()
			b.Close()
			if n := len(l.waiting) + len(l.open) + l.Held(); n != 0 {
				t.Errorf("%d are left", n)
			}
		})
	}
}

func TestWhoWaitsSinceBeforeAReloadGoesByTheNewCap(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		before, after, live int
		want                Refusal
	}{
		"lowered":           {5, 3, 3, Full},
		"lowered, and room": {5, 3, 2, None},
		"raised":            {3, 5, 4, None},
		"raised, and full":  {3, 5, 5, Full},
		"taken away":        {3, 0, 9, None},
	} {
		members, _ := newMembers(1)
		l := NewLedger()
		l.New(Settings{Name: "another", Policy: LeastConn{}, MaxConns: 1}, members) // its cap is its own
		old := l.New(Settings{Name: "gw", Policy: LeastConn{}, MaxConns: row.before, Queue: 1}, members)
		take(t, l.New(Settings{Policy: LeastConn{}}, members), members, row.live)
		place := old.Line(addresses(members))
		reload(old, func(s *Settings) { s.MaxConns = row.after }, members)
		if _, refusal := old.Acquire(new(Lease), Ask{Place: place}); refusal != row.want {
			t.Errorf("%s: refusal %d, want %d", name, refusal, row.want)
		}
	}
}

// A closed balancer knows nothing new of its upstreams, and waits in vain for what
// it thinks is down.
func TestWhoCannotUseAnUpstreamHoldsUpNobody(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		set  func(*Settings)
		old  func(*host)
		want Refusal
	}{
		"who waits could use it":       {unchanged, func(*host) {}, Full},
		"it is down for who waits":     {unchanged, func(h *host) { h.down.Store(true) }, None},
		"it is of another name":        {func(s *Settings) { s.Name = "another" }, func(*host) {}, None},
		"who comes may always have it": {func(s *Settings) { s.MaxConns, s.Queue = 0, 0 }, func(*host) {}, None},
	} {
		members, hosts := newMembers(1)
		later, _ := newMembers(1)
		old := NewLedger().New(Settings{Name: "gw", Policy: LeastConn{}, MaxConns: 2, Queue: 1}, members)
		old.Line(addresses(members))
		row.old(hosts[0])
		b := reload(old, row.set, later)
		if _, refusal := b.Acquire(new(Lease), Ask{}); refusal != row.want {
			t.Errorf("%s: refusal %d, want %d", name, refusal, row.want)
		}
	}
}

func TestWhoWaitsMayWantWhatComesLater(t *testing.T) {
	t.Parallel()
	members, _ := newMembers(2)
	b := NewLedger().New(Settings{Policy: new(RoundRobin), MaxConns: 1, Queue: 5}, nil)
	b.AcquireFrom(new(Lease), Ask{}, members[:1])
	place := b.Line(addresses(members[:1]))
	<-place.Turn()
	place.SetAddresses(addresses(members))
	<-place.Turn()
	if _, refusal := b.AcquireFrom(new(Lease), Ask{}, members); refusal != Full {
		t.Errorf("refusal %d: someone took the new one before who waits", refusal)
	}
	if i, refusal := b.AcquireFrom(new(Lease), Ask{Place: place}, members); refusal != None || i != 1 {
		t.Errorf("got upstream %d, refusal %d", i, refusal)
	}
}

func TestLeaseThatManyReleaseCountsOnce(t *testing.T) {
	t.Parallel()
	members, _ := newMembers(1)
	b := NewLedger().New(Settings{Policy: LeastConn{}}, members)
	for range 100 {
		lease := new(Lease)
		b.Acquire(lease, Ask{})
		var all sync.WaitGroup
		for range 4 {
			all.Go(lease.Release)
		}
		all.Wait()
	}
	if n := b.ledger.Look(members[0].Address).Live; n != 0 {
		t.Errorf("%d are held", n)
	}
}

// Nothing that a caller's own code does may leave a place taken, or the ledger
// locked.
func TestPanicInACallbackLeavesNothingBehind(t *testing.T) {
	t.Parallel()
	for policy, p := range map[string]Policy{"tree": LeastConn{}, "turns": new(RoundRobin), "scan": RandomChoose{3}} {
		members, _ := newMembers(3)
		b := NewLedger().New(Settings{Policy: p}, members)
		func() {
			defer func() { _ = recover() }()
			seen := 0
			b.Acquire(new(Lease), Ask{Skip: func(string) bool {
				if seen++; seen == 2 {
					panic("in a callback")
				}
				return true
			}})
		}()
		if n := b.ledger.Held(); n != 0 {
			t.Errorf("%s: %d are held", policy, n)
		}
		if got, _ := take(t, b, members, 3); policy == "tree" && !slices.Equal(got, []int{1, 1, 1}) {
			t.Errorf("%s: after that, got %v", policy, got)
		}
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
