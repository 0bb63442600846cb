package admission

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
)

// together calls f so many times at once.
func together(n int, f func(i int)) {
	var wg sync.WaitGroup
	start := make(chan struct{})
	for i := range n {
		wg.Go(func() {
			<-start
			f(i)
		})
	}
	close(start)
	wg.Wait()
}

func TestExactlyAsManyAreAdmittedAsThereIsRoomFor(t *testing.T) {
	t.Parallel()
	const clients = 10_000
	ip := address("192.0.2.1")
	for name, test := range map[string]struct {
		caps     Caps
		want     int64
		identity func(i int) (netip.Addr, string)
	}{
		"in all":         {Caps{Connections: 777}, 777, func(i int) (netip.Addr, string) { return ip, fmt.Sprint(i) }},
		"of one address": {Caps{PerIP: 777}, 777, func(i int) (netip.Addr, string) { return ip, fmt.Sprint(i) }},
		"of addresses":   {Caps{PerIP: 7}, 70, func(i int) (netip.Addr, string) { return netip.AddrFrom4([4]byte{3: byte(i % 10)}), "" }},
		"of users":       {Caps{PerUser: 7}, 70, func(i int) (netip.Addr, string) { return ip, fmt.Sprint(i % 10) }},
		// 10 addresses with 10 users each: the addresses have room for 30, the users for 200.
		"of addresses and users": {Caps{PerIP: 3, PerUser: 2}, 30, func(i int) (netip.Addr, string) {
			return netip.AddrFrom4([4]byte{3: byte(i % 10)}), fmt.Sprint(i % 100)
		}},
		// The cap of users is met by everybody, and nobody is in anybody's way before it.
		"where a later cap refuses": {Caps{PerIP: 1, PerUser: 1, Connections: 50}, 50, func(i int) (netip.Addr, string) {
			return netip.AddrFrom4([4]byte{2: byte(i % 100), 3: byte(i / 100)}), fmt.Sprint(i)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			l := New()
			defer l.Track("g", test.caps, nil)()
			seats := make([]Seat, clients)
			var admitted atomic.Int64
			together(clients, func(i int) {
				ip, user := test.identity(i)
				if l.Admit(&seats[i], "g", test.caps, ip, user) == "" {
					admitted.Add(1)
				}
			})
			if got := admitted.Load(); got != test.want {
				t.Errorf("%d were admitted, want %d", got, test.want)
			}
			together(2*clients, func(i int) { seats[i/2].Release() }) // each twice
			wantUsage(t, l, "g", Usage{})
		})
	}
}

// TestNobodyIsRefusedForACountThatIsTakenBack has a client who always has room for one
// connection more, and others with the same address or user who are refused for
// another cap.
func TestNobodyIsRefusedForACountThatIsTakenBack(t *testing.T) {
	t.Parallel()
	l := New()
	caps := Caps{PerIP: 2, PerUser: 1}
	defer l.Track("g", caps, nil)()
	shared, elsewhere := address("192.0.2.1"), address("192.0.2.2")
	var busy Seat
	if limit := l.Admit(&busy, "g", caps, elsewhere, "busy"); limit != "" {
		t.Fatalf("limit %q", limit)
	}
	var wrong atomic.Int64
	together(64, func(i int) {
		for range 1000 {
			var s Seat
			if i > 0 {
				if l.Admit(&s, "g", caps, shared, "busy") != ConnectionsPerUser {
					wrong.Add(1)
				}
				continue
			}
			if l.Admit(&s, "g", caps, shared, "free") != "" {
				wrong.Add(1)
			}
			s.Release()
		}
	})
	if got := wrong.Load(); got != 0 {
		t.Errorf("%d answers were wrong", got)
	}
}

func TestNeverMoreThanTheCapWhileConnectionsComeAndGo(t *testing.T) {
	t.Parallel()
	l := New()
	wide, narrow := Caps{Connections: 40, PerIP: 8, PerUser: 4}, Caps{Connections: 20, PerIP: 4, PerUser: 2}
	defer l.Track("g", wide, nil)()
	var live, most atomic.Int64
	perIP := make([]atomic.Int64, 4)
	together(200, func(i int) {
		random := rand.New(rand.NewPCG(uint64(i), 1))
		for range 200 {
			caps := wide
			if random.IntN(2) == 0 {
				caps = narrow
			}
			at := random.IntN(len(perIP))
			var s Seat
			if l.Admit(&s, "g", caps, netip.AddrFrom4([4]byte{3: byte(at)}), fmt.Sprint(random.IntN(20))) != "" {
				continue
			}
			if n := live.Add(1); n > int64(wide.Connections) {
				t.Errorf("%d connections, more than the cap", n)
			}
			if n := perIP[at].Add(1); n > int64(wide.PerIP) {
				t.Errorf("%d connections of an address, more than the cap", n)
			}
			most.Store(max(most.Load(), live.Load()))
			runtime.Gosched()
			perIP[at].Add(-1)
			live.Add(-1)
			s.Release()
		}
	})
	wantUsage(t, l, "g", Usage{})
	if most.Load() < 2 {
		t.Error("the connections were never at once")
	}
}
