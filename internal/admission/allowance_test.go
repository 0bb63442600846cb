package admission

import (
	"fmt"
	"math"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"slices"
	"sync/atomic"
	"testing"
)

// admits takes seats for so many connections, and returns those that got one.
func admits(l *Local, caps Caps, n int) (taken []*Seat) {
	for range n {
		if s := new(Seat); l.Admit(s, "g", caps, netip.Addr{}, "") == "" {
			taken = append(taken, s)
		}
	}
	return taken
}

func TestAllowanceHoldsTheCapOfABoundLedger(t *testing.T) {
	t.Parallel()
	l, caps := New(), Caps{Connections: 10}
	defer l.Track("g", caps, nil)()
	seats := admits(l, caps, 4)
	shared := func(want Shared) {
		t.Helper()
		if got := l.Shared(); len(got) != 1 || got[0] != want {
			t.Errorf("got %+v, want %+v", got, want)
		}
	}
	admitted := func(what string, want int) {
		t.Helper()
		got := admits(l, caps, 20)
		if seats = append(seats, got...); len(got) != want {
			t.Errorf("%s: %d are admitted, want %d", what, len(got), want)
		}
	}
	shared(Shared{"g", 10, 4, math.MaxInt, 4})
	l.Bind()
	shared(Shared{"g", 10, 4, 0, 4})
	admitted("nothing is allowed", 0)
	if !l.Short("g", 10) || l.Short("g", 4) {
		t.Error("the cap has room where it is above what lives, and only there")
	}
	l.Allow("g", 6)
	l.Bind() // for another fleet, which goes on with what there is
	admitted("6 are allowed", 2)
	shared(Shared{"g", 10, 6, 6, 6})
	l.Allow("g", 20)
	admitted("more than the cap is allowed", 4)
	seats[0].Release()
	if got := l.Trim("g", 3); got != 12 {
		t.Errorf("trimmed to %d, want what lives and 3", got)
	}
	if got := l.Trim("g", 7); got != 12 {
		t.Errorf("trimmed to %d, want what it was", got)
	}
	if got := l.Trim("g", 0); got != 9 {
		t.Errorf("trimmed to %d, want what lives", got)
	}
	admitted("it was trimmed", 0)
	if got := admits(l, Caps{}, 1); len(got) != 1 {
		t.Error("a configuration without a cap is held to an allowance")
	}
	l.Unbind()
	seats[1].Release()
	admitted("the cap holds by itself", 1)
	shared(Shared{"g", 10, 10, math.MaxInt, 12})
}

func TestGatewayThatIsNewToABoundLedgerHasNoAllowance(t *testing.T) {
	t.Parallel()
	l, caps := New(), Caps{Connections: 10}
	l.Bind()
	if got := l.Trim("g", 5); got != 0 {
		t.Errorf("one that is not known has %d", got)
	}
	l.Allow("g", 5) // and nobody knows it
	if got := admits(l, caps, 1); len(got) > 0 {
		t.Error("one was admitted")
	}
	l.Unbind()
	if got := admits(l, caps, 1); len(got) != 1 {
		t.Error("none was admitted by a ledger that is not bound")
	}
	if got := l.Trim("g", 0); got != 0 {
		t.Errorf("a ledger that is not bound has trimmed to %d", got)
	}
}

func TestSharedCapsAreTheLargestOfTheLoadedConfigurations(t *testing.T) {
	t.Parallel()
	l := New()
	expect := func(want ...Shared) {
		t.Helper()
		if got := l.Shared(); !slices.Equal(got, want) {
			t.Errorf("got %+v, want %+v", got, want)
		}
	}
	expect()
	release := []func(){
		l.Track("b", Caps{Connections: 5}, nil),
		l.Track("a", Caps{Connections: 7}, nil),
		l.Track("b", Caps{Connections: 9}, nil),
		l.Track("b", Caps{Connections: 9}, nil),
		l.Track("c", Caps{PerIP: 1}, nil),
	}
	a := Shared{"a", 7, 0, math.MaxInt, 0}
	expect(a, Shared{"b", 9, 0, math.MaxInt, 0})
	release[2]()
	release[2]()
	expect(a, Shared{"b", 9, 0, math.MaxInt, 0})
	release[3]()
	expect(a, Shared{"b", 5, 0, math.MaxInt, 0})
	release[0]()
	expect(a)
	release[1]()
	release[4]()
	expect()
}

// TestNodesTogetherNeverHaveMoreThanTheCap has nodes whose ledgers hand out what is taken
// from each other's allowances, while connections come and go.
func TestNodesTogetherNeverHaveMoreThanTheCap(t *testing.T) {
	t.Parallel()
	const most, clients, want = 40, 16, 3_000
	caps := Caps{Connections: most, PerUser: most}
	nodes := []*Local{New(), New(), New()}
	for _, l := range nodes {
		l.Bind()
		defer l.Track("g", caps, nil)()
	}
	var live, admitted atomic.Int64
	together(clients+1, func(i int) {
		if i == clients {
			handOut(nodes, most, func() bool { return admitted.Load() < want })
			return
		}
		for admitted.Load() < want {
			var s Seat
			if nodes[i%len(nodes)].Admit(&s, "g", caps, netip.Addr{}, fmt.Sprint(i%4)) != "" {
				runtime.Gosched()
				continue
			}
			if n := live.Add(1); n > most {
				t.Errorf("%d live, more than the cap", n)
			}
			admitted.Add(1)
			runtime.Gosched()
			live.Add(-1)
			s.Release()
		}
	})
	for _, l := range nodes {
		wantUsage(t, l, "g", Usage{})
	}
}

// handOut gives each of the nodes in turn what is free of the cap, and takes back what
// they do not need.
func handOut(nodes []*Local, most int, goOn func() bool) {
	held := make([]int, len(nodes))
	random := rand.New(rand.NewPCG(1, 3))
	for goOn() {
		from, to := random.IntN(len(nodes)), random.IntN(len(nodes))
		held[from] = nodes[from].Trim("g", random.IntN(4))
		free := most
		for _, n := range held {
			free -= n
		}
		held[to] += random.IntN(free + 1)
		nodes[to].Allow("g", held[to])
		runtime.Gosched()
	}
}

// TestNobodyIsAdmittedAboveATrimmedAllowance looks at what lives after each trim, for as
// long as nothing is allowed.
func TestNobodyIsAdmittedAboveATrimmedAllowance(t *testing.T) {
	t.Parallel()
	const most, clients, rounds = 10, 16, 200
	l, caps := New(), Caps{Connections: most}
	defer l.Track("g", caps, nil)()
	l.Bind()
	var live atomic.Int64
	var done atomic.Bool
	together(clients+1, func(i int) {
		if i == clients {
			defer done.Store(true)
			for range rounds {
				l.Allow("g", most)
				runtime.Gosched()
				allowed := l.Trim("g", i%3)
				for range 10 {
					if n := live.Load(); n > int64(allowed) {
						t.Errorf("%d live, and %d are allowed", n, allowed)
					}
					runtime.Gosched()
				}
			}
			return
		}
		for !done.Load() {
			var s Seat
			if l.Admit(&s, "g", caps, netip.Addr{}, "") == "" {
				live.Add(1)
				runtime.Gosched()
				live.Add(-1)
				s.Release()
			}
			runtime.Gosched()
		}
	})
	wantUsage(t, l, "g", Usage{})
}
