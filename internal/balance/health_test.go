package balance

import (
	"fmt"
	"math"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

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
