package admission

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"slices"
	"sync/atomic"
	"testing"
	"time"
)

func TestAdmissionAllocatesNextToNothing(t *testing.T) {
	l := New()
	caps := Caps{Connections: 10, PerIP: 10, PerUser: 10, Handshakes: Rate{1 << 30, time.Second}}
	defer l.Track("g", caps, nil)()
	ip := address("2001:db8::1")
	var other Seat
	l.Admit(&other, "g", caps, ip, "a")
	defer other.Release()
	if got := testing.AllocsPerRun(1000, func() { l.Knock("g", caps, ip) }); got > 0 {
		t.Errorf("%v allocations for a handshake that comes in, want none", got)
	}
	seats := make([]Seat, 2000)
	i := 0
	if got := testing.AllocsPerRun(1000, func() {
		l.Admit(&seats[i], "g", caps, ip, "a")
		seats[i].Settle()
		seats[i].Release()
		i++
	}); got > 1 {
		t.Errorf("%v allocations for a seat, want 1", got)
	}
	full := caps
	full.PerIP = 1
	if got := testing.AllocsPerRun(1000, func() { l.Admit(&seats[i], "g", full, ip, "a") }); got > 0 {
		t.Errorf("%v allocations for a refusal, want none", got)
	}
}

// wantBytes holds what f puts into memory to so many bytes for each of a number of
// things.
func wantBytes(t *testing.T, what string, number int, most float64, f func()) {
	t.Helper()
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	f()
	runtime.GC()
	runtime.ReadMemStats(&after)
	each := float64(int64(after.HeapAlloc)-int64(before.HeapAlloc)) / float64(number)
	t.Logf("%.1f bytes for %s", each, what)
	if each > most {
		t.Errorf("more than %v", most)
	}
}

func TestAMillionAddressesTakeFewBytesEach(t *testing.T) {
	const addresses = 1_000_000
	l := New()
	caps := Caps{Handshakes: Rate{10, time.Hour}}
	wantBytes(t, "the handshakes of an address", addresses, 128, func() {
		for i := range uint64(addresses) {
			l.Knock("g", caps, networkOf(i))
		}
	})
	runtime.KeepAlive(l)
}

func TestConnectionsOfAMillionAddressesTakeFewBytesEach(t *testing.T) {
	const addresses = 1_000_000
	l := New()
	caps := Caps{PerIP: 1}
	defer l.Track("g", caps, nil)()
	seats := make([]Seat, addresses)
	wantBytes(t, "an address with a connection, beside its seat", addresses, 128, func() {
		for i := range seats {
			l.Admit(&seats[i], "g", caps, networkOf(uint64(i)), "")
			seats[i].Settle()
		}
	})
	runtime.KeepAlive(seats)
}

func TestConnectionsTakeFewBytesEach(t *testing.T) {
	const connections = 200_000
	for name, test := range map[string]struct {
		caps    Caps
		most    float64
		sharing uint64
	}{
		"without caps":                          {Caps{Connections: connections}, 2, 1},
		"by address, 1 each":                    {Caps{PerIP: 1}, 128, 1},
		"by address, 100 each":                  {Caps{PerIP: 100}, 16, 100},
		"by address and user, 100 each":         {Caps{PerIP: 100, PerUser: 100}, 24, 100},
		"by address and user, all of their own": {Caps{PerIP: 1, PerUser: 1}, 256, 1},
	} {
		t.Run(name, func(t *testing.T) {
			l := New()
			defer l.Track("g", test.caps, nil)()
			seats := make([]Seat, connections)
			users := make([]string, connections)
			for i := range users {
				users[i] = fmt.Sprint(uint64(i) / test.sharing)
			}
			wantBytes(t, "a connection, beside its seat", connections, test.most, func() {
				for i := range seats {
					l.Admit(&seats[i], "g", test.caps, networkOf(uint64(i)/test.sharing), users[i])
					seats[i].Settle()
				}
			})
			runtime.KeepAlive(users)
			runtime.KeepAlive(seats)
		})
	}
}

// sources are ways to choose the addresses of clients.
var sources = map[string]func() func() netip.Addr{
	"random": func() func() netip.Addr { return func() netip.Addr { return networkOf(rand.Uint64()) } },
	"sequential": func() func() netip.Addr {
		var n atomic.Uint64
		return func() netip.Addr { return networkOf(n.Add(1)) }
	},
	"hot": func() func() netip.Addr { return func() netip.Addr { return networkOf(1) } },
}

func BenchmarkKnock(b *testing.B) {
	caps := Caps{Handshakes: Rate{10, time.Hour}}
	for name, source := range sources {
		b.Run(name, func(b *testing.B) {
			l, next := New(), source()
			b.ReportAllocs()
			for b.Loop() {
				l.Knock("g", caps, next())
			}
		})
		b.Run(name+"/parallel", func(b *testing.B) {
			l, next := New(), source()
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					l.Knock("g", caps, next())
				}
			})
		})
	}
}

func BenchmarkAdmit(b *testing.B) {
	for name, caps := range map[string]Caps{"total": {Connections: 1 << 30}, "each": {Connections: 1 << 30, PerIP: 1 << 30, PerUser: 1 << 30}} {
		for from, source := range sources {
			b.Run(name+"/"+from+"/parallel", func(b *testing.B) {
				l, next := New(), source()
				defer l.Track("g", caps, nil)()
				b.ReportAllocs()
				b.RunParallel(func(pb *testing.PB) {
					for pb.Next() {
						s := new(Seat)
						l.Admit(s, "g", caps, next(), "user")
						s.Settle()
						s.Release()
					}
				})
			})
		}
	}
}

// BenchmarkWorst reports the longest that one handshake took while a million addresses
// came. What the scheduler and the collector of garbage take is in it.
func BenchmarkWorst(b *testing.B) {
	const addresses = 1_000_000
	caps := Caps{PerIP: 1, Handshakes: Rate{10, time.Hour}}
	for name, do := range map[string]func(l *Local, s *Seat, ip netip.Addr){
		"knock": func(l *Local, _ *Seat, ip netip.Addr) { l.Knock("g", caps, ip) },
		"admit": func(l *Local, s *Seat, ip netip.Addr) { l.Admit(s, "g", caps, ip, ""); s.Settle() },
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				l := New()
				l.Track("g", caps, nil)
				seats := make([]Seat, addresses)
				took := make([]time.Duration, addresses)
				for i := range took {
					begin := time.Now()
					do(l, &seats[i], networkOf(rand.Uint64()))
					took[i] = time.Since(begin)
				}
				slices.Sort(took)
				b.ReportMetric(float64(took[addresses-1].Microseconds()), "max-µs")
				b.ReportMetric(float64(took[addresses-10].Microseconds()), "10th-µs")
				b.ReportMetric(float64(took[addresses-100].Microseconds()), "100th-µs")
			}
		})
	}
}
