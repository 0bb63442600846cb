package admission

import (
	"fmt"
	"net/netip"
	"sync"
	"testing"
)

// set is the live connections of a gateway, as its owner knows them.
type set struct {
	mu    sync.Mutex
	seats map[*Seat]client
}

func newSet() *set { return &set{seats: make(map[*Seat]client)} }

// add makes a connection known, as its owner has to.
func (s *set) add(seat *Seat, c client) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seats[seat] = c
	seat.Settle()
}

func (s *set) remove(seat *Seat) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.seats, seat)
	seat.Release()
}

func (s *set) adopt(yield func(*Seat, netip.Addr, string)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for seat, c := range s.seats {
		yield(seat, c.ip, c.user)
	}
}

// occupied lists the homes of a gateway that know anything of a client.
func occupied(l *Local, gateway string) (found []int) {
	g := (*l.gateways.Load())[gateway]
	if g == nil {
		return nil
	}
	for i := range g.homes {
		h := &g.homes[i]
		h.mu.Lock()
		if len(h.unsettled)+len(h.tables) > 0 {
			found = append(found, i)
		}
		h.mu.Unlock()
	}
	return found
}

func TestConnectionsThatLiveAlreadyCountUnderANewCap(t *testing.T) {
	t.Parallel()
	l, live := New(), newSet()
	c := client{address("2001:db8::1"), "a"}
	var settled, unsettled, ended Seat
	for _, s := range []*Seat{&settled, &unsettled, &ended} {
		l.Admit(s, "g", Caps{}, c.ip, c.user)
	}
	live.add(&settled, c)
	live.add(&ended, c)
	ended.Release() // and the set does not know it yet
	wantUsage(t, l, "g", Usage{Connections: 2})

	for range 3 { // a reload that adds the caps, and another that removes them
		release := l.Track("g", Caps{PerIP: 2, PerUser: 2}, live.adopt)
		again := l.Track("g", Caps{PerIP: 3, PerUser: 3}, live.adopt)
		release()
		release()
		wantUsage(t, l, "g", Usage{2, []Count{{"2001:db8::/64", 2}}, []Count{{"a", 2}}})
		if limit := l.Admit(new(Seat), "g", Caps{PerIP: 2}, c.ip, "b"); limit != ConnectionsPerIP {
			t.Errorf("limit %q, want that of an address", limit)
		}
		again()
		wantUsage(t, l, "g", Usage{Connections: 2})
	}
	live.remove(&settled)
	unsettled.Release()
	wantUsage(t, l, "g", Usage{})
}

func TestSeatReleasedAfterTheCapIsGoneDoesNoHarm(t *testing.T) {
	t.Parallel()
	l, live := New(), newSet()
	caps := Caps{PerIP: 1, PerUser: 1}
	c := client{address("192.0.2.1"), "a"}
	var old, next Seat
	release := l.Track("g", caps, live.adopt)
	l.Admit(&old, "g", caps, c.ip, c.user)
	old.Settle() // and nobody adopts it
	release()
	defer l.Track("g", caps, live.adopt)()
	if limit := l.Admit(&next, "g", caps, c.ip, c.user); limit != "" {
		t.Fatalf("limit %q", limit)
	}
	old.Release()
	wantUsage(t, l, "g", Usage{1, []Count{{"192.0.2.1", 1}}, []Count{{"a", 1}}})
	next.Release()
	wantUsage(t, l, "g", Usage{})
}

func TestSeatOfAnotherGatewayIsNotAdopted(t *testing.T) {
	t.Parallel()
	l, live := New(), newSet()
	var s Seat
	l.Admit(&s, "other", Caps{}, address("192.0.2.1"), "a")
	live.add(&s, client{address("192.0.2.1"), "a"})
	defer l.Track("g", Caps{PerIP: 1}, live.adopt)()
	wantUsage(t, l, "g", Usage{})
	wantUsage(t, l, "other", Usage{Connections: 1})
}

// TestEachConnectionCountsOnceHoweverCapsComeAndGo has connections that come and go
// while configurations do. At rest, every count is what the connections are.
func TestEachConnectionCountsOnceHoweverCapsComeAndGo(t *testing.T) {
	t.Parallel()
	const rounds, clients = 20, 200
	l, live := New(), newSet()
	configurations := []Caps{{PerIP: 500}, {PerUser: 500}, {PerIP: 500, PerUser: 500, IPv6Bits: 48}, {}}
	for range rounds {
		seats := make([]Seat, clients)
		c := client{address("2001:db8::1"), "a"}
		together(clients+4*len(configurations), func(i int) {
			if i >= clients {
				for range 5 {
					l.Track("g", configurations[i%len(configurations)], live.adopt)()
				}
				return
			}
			if limit := l.Admit(&seats[i], "g", configurations[i%len(configurations)], c.ip, c.user); limit != "" {
				t.Errorf("limit %q", limit)
			}
			live.add(&seats[i], c)
			if i%2 == 0 {
				live.remove(&seats[i])
			}
		})
		release := l.Track("g", configurations[2], live.adopt)
		wantUsage(t, l, "g", Usage{clients / 2, []Count{{"2001:db8::/48", clients / 2}}, []Count{{"a", clients / 2}}})
		together(clients, func(i int) { live.remove(&seats[i]) })
		wantUsage(t, l, "g", Usage{})
		release()
	}
	for _, i := range occupied(l, "g") {
		t.Errorf("home %d still holds something", i)
	}
}

func TestCountingCostsNothingWithoutCaps(t *testing.T) {
	l := New()
	seats := make([]Seat, 10_000)
	c := client{address("192.0.2.1"), "a"}
	perRun := testing.AllocsPerRun(100, func() {
		for i := range 100 {
			seats[i] = Seat{}
			l.Admit(&seats[i], "g", Caps{Connections: 1000}, c.ip, c.user)
			seats[i].Settle()
			seats[i].Release()
		}
	})
	if perRun > 5 {
		t.Errorf("%v allocations for 100 connections, want nearly none", perRun)
	}
	for i := range seats {
		seats[i] = Seat{}
		l.Admit(&seats[i], "g", Caps{}, netip.AddrFrom4([4]byte{2: byte(i >> 8), 3: byte(i)}), fmt.Sprint(i))
		seats[i].Settle()
	}
	for _, i := range occupied(l, "g") {
		t.Errorf("home %d holds something of its seats", i)
	}
}
