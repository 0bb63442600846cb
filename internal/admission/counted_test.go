package admission

import (
	"maps"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"unsafe"
)

func TestSeatTakesNoMoreThanItsSizeClass(t *testing.T) {
	t.Parallel()
	if size := unsafe.Sizeof(Seat{}); size > 64 {
		t.Errorf("a seat takes %d bytes, and what is above 64 takes 80", size)
	}
}

// A seat is taken for each connection, and what it counts in lives as long.
func TestSeatTakesNoMemoryBesides(t *testing.T) { //nolint:paralleltest // it counts allocations
	l := New()
	caps := Caps{PerIP: 10, PerUser: 10}
	l.Track("g", caps, nil)
	addr := netip.MustParseAddr("192.0.2.1")
	var other, s Seat
	l.Admit(&other, "g", caps, addr, "alice")
	other.Settle()
	if n := testing.AllocsPerRun(100, func() {
		l.Admit(&s, "g", caps, addr, "alice")
		s.Settle()
		s.Release()
	}); n > 0 {
		t.Errorf("taking a seat allocates %g times", n)
	}
}

func TestFunctionIsCalledOnceAfterTheSeatWasReleased(t *testing.T) {
	t.Parallel()
	l := New()
	var s, empty Seat
	if empty.OnRelease(func() { t.Error("nothing was released") }) || (*Seat)(nil).OnRelease(nil) {
		t.Error("a seat that was never taken takes a function")
	}
	l.Admit(&s, "g", Caps{}, netip.Addr{}, "")
	calls := 0
	first := s.OnRelease(func() { t.Error("the first of two functions was called") })
	second := s.OnRelease(func() {
		calls++
		wantUsage(t, l, "g", Usage{})
		s.Release()                 // which would wait for a lock that is held
		l.Track("g", Caps{}, nil)() // likewise
	})
	if !first || !second {
		t.Error("a seat that is taken takes no function")
	}
	s.Release()
	s.Release()
	if calls != 1 {
		t.Errorf("%d calls, want 1", calls)
	}
	if s.OnRelease(func() { t.Error("it was released before") }) {
		t.Error("a seat that was released takes a function")
	}
}

func TestFunctionIsEitherCalledOrRefused(t *testing.T) {
	t.Parallel()
	l := New()
	for range 1000 {
		var s Seat
		l.Admit(&s, "g", Caps{}, netip.Addr{}, "")
		called, accepted := 0, false
		together(2, func(i int) {
			if i == 0 {
				s.Release()
			} else {
				accepted = s.OnRelease(func() { called++ })
			}
		})
		if accepted != (called == 1) {
			t.Fatalf("accepted %t, and called %d times", accepted, called)
		}
	}
}

func TestDimensionsAreThoseOfAllConfigurations(t *testing.T) {
	t.Parallel()
	l := New()
	expect := func(want ...Dimension) {
		t.Helper()
		if got := l.Dimensions("g"); !slices.Equal(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
	}
	expect()
	first := l.Track("g", Caps{PerIP: 1, PerUser: 1}, nil)
	expect(Dimension{Bits: 64}, Dimension{ByUser: true})
	second := l.Track("g", Caps{PerIP: 1, IPv6Bits: 48, Connections: 1}, nil)
	expect(Dimension{Bits: 48}, Dimension{Bits: 64}, Dimension{ByUser: true})
	first()
	expect(Dimension{Bits: 48})
	second()
	expect()
}

func TestUnsettledSeatsAreListedUntilTheyAreSettledOrReleased(t *testing.T) {
	t.Parallel()
	l := New()
	var seats [3]Seat
	c := client{address("192.0.2.1"), "a"}
	for i := range seats {
		l.Admit(&seats[i], "g", Caps{}, c.ip, c.user)
	}
	l.Admit(new(Seat), "other", Caps{}, c.ip, c.user)
	listed := func() (found []*Seat) {
		l.Unsettled("g", func(s *Seat, ip netip.Addr, user string) {
			found = append(found, s)
			if (client{ip, user}) != c {
				t.Errorf("it was admitted with %v and %q", ip, user)
			}
			s.OnRelease(nil) // which would wait for a lock that is held
		})
		return found
	}
	if got := listed(); len(got) != 3 {
		t.Errorf("%d seats, want 3", len(got))
	}
	seats[0].Settle()
	seats[1].Release()
	if got := listed(); len(got) != 1 || got[0] != &seats[2] {
		t.Errorf("%v, want the third", got)
	}
	l.Unsettled("unknown", func(*Seat, netip.Addr, string) { t.Error("a seat of nobody's") })
}

func TestFleetIsToldWhatIsCountedNewlyAndWhoIsThere(t *testing.T) {
	t.Parallel()
	l, live := New(), newSet()
	c := client{address("192.0.2.1"), "a"}
	var s Seat
	l.Admit(&s, "g", Caps{}, c.ip, c.user)
	live.add(&s, c)
	var told []string
	tell := func(gateway string, adopt Adopt) {
		told = append(told, gateway)
		l.Dimensions(gateway)
		l.Track("unrelated", Caps{}, nil)() // which would wait for a lock that is held
		found := 0
		adopt(func(seat *Seat, _ netip.Addr, user string) {
			if found++; seat != &s || user != "a" {
				t.Errorf("%p of %q is there", seat, user)
			}
		})
		if gateway == "g" && found != 1 {
			t.Errorf("%d connections, want 1", found)
		}
	}
	expect := func(what string, want ...string) {
		t.Helper()
		if !slices.Equal(told, want) {
			t.Errorf("%s: told of %v, want %v", what, told, want)
		}
		told = nil
	}
	nobody := func(func(*Seat, netip.Addr, string)) {}
	defer l.Track("g", Caps{PerIP: 1}, live.adopt)()
	defer l.Track("h", Caps{PerUser: 1}, nobody)()
	defer l.Track("not counted", Caps{Connections: 1}, nobody)()
	l.OnTrack(tell)
	slices.Sort(told)
	expect("at once", "g", "h")
	again := l.Track("g", Caps{PerIP: 2}, live.adopt)
	expect("counted so already")
	user := l.Track("g", Caps{PerUser: 2}, live.adopt)
	expect("counted newly", "g")
	user()
	again()
	expect("counted no more")
	l.OnTrack(nil)
	defer l.Track("g", Caps{PerUser: 2}, live.adopt)()
	expect("nobody listens")
}

// TestNobodyIsMissedByAFleetThatCountsNewly has connections come, and be counted by the
// fleet where they know of it, while it begins to count.
func TestNobodyIsMissedByAFleetThatCountsNewly(t *testing.T) {
	t.Parallel()
	const clients = 100
	for range 20 {
		l, live := New(), newSet()
		seats := make([]Seat, clients)
		var mu sync.Mutex
		counted := make(map[*Seat]bool)
		count := func(s *Seat, _ netip.Addr, _ string) {
			mu.Lock()
			defer mu.Unlock()
			counted[s] = true
		}
		l.OnTrack(func(gateway string, adopt Adopt) {
			l.Unsettled(gateway, count) // before the others: who settles meanwhile is among them
			adopt(count)
		})
		var release func()
		together(clients+1, func(i int) {
			if i == clients {
				release = l.Track("g", Caps{PerUser: clients}, live.adopt)
				return
			}
			l.Admit(&seats[i], "g", Caps{}, netip.Addr{}, "a")
			if len(l.Dimensions("g")) > 0 {
				count(&seats[i], netip.Addr{}, "a")
			}
			live.add(&seats[i], client{user: "a"})
		})
		release()
		if len(counted) != clients {
			t.Fatalf("%d were counted, want %d: %v", len(counted), clients, slices.Collect(maps.Keys(counted)))
		}
	}
}
