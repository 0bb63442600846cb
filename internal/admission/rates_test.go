package admission

import (
	"math"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wsgateway/caddy-ws-gateway/internal/bubble"
)

// knock is handshakes that come after a pause, and how long the last of them has to
// wait.
type knock struct {
	after   time.Duration
	times   int
	rate    Rate
	gateway string
	ip      string
	bits    int
	want    time.Duration
}

func TestHandshakesAreHeldToTheRate(t *testing.T) {
	t.Parallel()
	rate := Rate{6, time.Minute}
	const v4, v6 = "192.0.2.1", "2001:db8::1"
	for name, knocks := range map[string][]knock{
		"a burst, then one each part of the time": {
			{times: 6, rate: rate, ip: v4}, {times: 1, rate: rate, ip: v4, want: 10 * time.Second},
			{after: 9 * time.Second, times: 1, rate: rate, ip: v4, want: time.Second},
			{after: time.Second, times: 1, rate: rate, ip: v4}, {times: 1, rate: rate, ip: v4, want: 10 * time.Second},
		},
		"who has to wait does not wait longer for asking": {{times: 6, rate: rate, ip: v4}, {times: 1000, rate: rate, ip: v4, want: 10 * time.Second}, {after: 10 * time.Second, times: 1, rate: rate, ip: v4}},
		"a whole burst after a pause":                     {{times: 6, rate: rate, ip: v4}, {after: time.Minute, times: 6, rate: rate, ip: v4}, {times: 1, rate: rate, ip: v4, want: 10 * time.Second}},
		"no more than a burst after a long pause":         {{times: 6, rate: rate, ip: v4}, {after: time.Hour, times: 7, rate: rate, ip: v4, want: 10 * time.Second}},
		"no rate":                      {{times: 1000, ip: v4}, {times: 1000, rate: Rate{Count: 1}, ip: v4}, {times: 1000, rate: Rate{Per: time.Hour}, ip: v4}},
		"an unknown address":           {{times: 1000, rate: rate}},
		"another address":              {{times: 6, rate: rate, ip: v4}, {times: 6, rate: rate, ip: "192.0.2.2"}},
		"the same in IPv6":             {{times: 6, rate: rate, ip: v4}, {times: 1, rate: rate, ip: "::ffff:192.0.2.1", bits: 48, want: 10 * time.Second}},
		"the same with a zone":         {{times: 6, rate: rate, ip: "fe80::1%a"}, {times: 1, rate: rate, ip: "fe80::1%b", want: 10 * time.Second}},
		"the same network":             {{times: 6, rate: rate, ip: v6}, {times: 1, rate: rate, ip: "2001:db8::f:1", want: 10 * time.Second}},
		"another network":              {{times: 6, rate: rate, ip: v6}, {times: 6, rate: rate, ip: "2001:db8:0:1::1"}},
		"a wider network":              {{times: 6, rate: rate, ip: v6, bits: 48}, {times: 1, rate: rate, ip: "2001:db8:0:1::1", bits: 48, want: 10 * time.Second}},
		"another gateway":              {{times: 6, rate: rate, ip: v4}, {times: 6, rate: rate, ip: v4, gateway: "other"}},
		"another rate":                 {{times: 6, rate: rate, ip: v4}, {times: 7, rate: Rate{6, time.Hour}, ip: v4, want: 10 * time.Minute}},
		"a time that does not divide":  {{times: 3, rate: Rate{3, time.Second}, ip: v4}, {times: 1, rate: Rate{3, time.Second}, ip: v4, want: 333333334}},
		"the longest time":             {{times: 1, rate: Rate{1, math.MaxInt64}, ip: v4}, {times: 1, rate: Rate{1, math.MaxInt64}, ip: v4, want: longest}, {after: time.Hour, times: 1, rate: Rate{1, math.MaxInt64}, ip: v4, want: longest - time.Hour}},
		"the most handshakes":          {{times: 1000, rate: Rate{math.MaxInt, math.MaxInt64}, ip: v4}},
		"more than one a nanosecond":   {{times: 1000, rate: Rate{math.MaxInt, 1}, ip: v4}},
		"one that is always in a rush": {{times: 1, rate: Rate{1, time.Second}, ip: v4}, {after: time.Second - 1, times: 1, rate: Rate{1, time.Second}, ip: v4, want: 1}, {after: 1, times: 1, rate: Rate{1, time.Second}, ip: v4}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				l := New()
				for i, k := range knocks {
					if k.after > 0 {
						bubble.Elapse(k.after)
					}
					var got time.Duration
					for range k.times {
						got = l.Knock(k.gateway, Caps{Handshakes: k.rate, IPv6Bits: k.bits}, address(k.ip))
					}
					if got != k.want {
						t.Errorf("step %d: wait of %v, want %v", i, got, k.want)
					}
				}
			})
		})
	}
}

func TestExactlyTheRateComesInAtOnce(t *testing.T) {
	t.Parallel()
	l := New()
	caps := Caps{Handshakes: Rate{100, time.Hour}}
	var in atomic.Int64
	together(10_000, func(i int) {
		if l.Knock("g", caps, netip.AddrFrom4([4]byte{3: byte(i % 10)})) == 0 {
			in.Add(1)
		}
	})
	if got := in.Load(); got != 1000 {
		t.Errorf("%d came in, want 100 of each of 10 addresses", got)
	}
}

// networkOf returns an address in the network of a number.
func networkOf(i uint64) netip.Addr {
	b := [16]byte{0x20, 0x01}
	for at := range 6 {
		b[2+at] = byte(i >> (40 - 8*at))
	}
	b[15] = 1
	return netip.AddrFrom16(b)
}

// knockAt is a handshake of whoever has the hash.
func knockAt(s *rateShard, hash uint64, rate Rate) time.Duration {
	return note([]debt{{shard: s, hash: hash, rate: rate, asked: true}}, 0, 1)
}

// TestAFloodOfAddressesDoesNotClearThoseInDebt has all addresses in one shard.
func TestAFloodOfAddressesDoesNotClearThoseInDebt(t *testing.T) {
	t.Parallel()
	var s rateShard
	rate := Rate{100, time.Hour}
	debtors := make([]uint64, 100)
	for i := range debtors {
		debtors[i] = rand.Uint64()
		for range rate.Count {
			knockAt(&s, debtors[i], rate)
		}
	}
	for range 1 << 16 {
		knockAt(&s, rand.Uint64(), rate)
	}
	for _, hash := range debtors {
		if knockAt(&s, hash, rate) == 0 {
			t.Error("an address in debt was forgotten")
		}
	}
	if len(s.buckets) != mostBuckets {
		t.Errorf("there are %d buckets, want %d", len(s.buckets), mostBuckets)
	}
}

// entries returns for how many addresses there is room.
func entries(l *Local) (n int) {
	for i := range l.rates.shards() {
		s := &l.rates.shards()[i]
		s.mu.Lock()
		n += len(s.buckets) * bucketSize
		s.mu.Unlock()
	}
	return n
}

// TestFewOfAMillionAddressesAreForgotten has in some shards what a million addresses
// have in all of them.
func TestFewOfAMillionAddressesAreForgotten(t *testing.T) {
	t.Parallel()
	const shards, each = 64, 1 << 20 / rateShards
	rate := Rate{1, time.Hour}
	forgotten := 0
	for range shards {
		var s rateShard
		hashes := make([]uint64, each)
		for i := range hashes {
			hashes[i] = rand.Uint64()
			knockAt(&s, hashes[i], rate)
		}
		for _, hash := range hashes {
			if knockAt(&s, hash, rate) == 0 {
				forgotten++
			}
		}
	}
	if t.Logf("%d of %d were forgotten", forgotten, shards*each); forgotten > shards*each/200 {
		t.Error("more than one in 200")
	}
}

func TestRoomOfAFloodIsGivenBack(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := New()
		caps := Caps{Handshakes: Rate{1, time.Second}}
		for i := range uint64(1 << 18) {
			l.Knock("g", caps, networkOf(i))
		}
		full := entries(l)
		bubble.Elapse(2 * tidyEvery)
		for i := range uint64(1 << 14) { // ordinary clients, of which all shards get some
			l.Knock("g", caps, networkOf(1<<20+i))
		}
		if left := entries(l); left > full/4 {
			t.Errorf("room for %d addresses is left of %d", left, full)
		}
	})
}

func TestHandshakesAreForgottenWithTheLastRate(t *testing.T) {
	t.Parallel()
	l := New()
	caps := Caps{Handshakes: Rate{1, time.Hour}}
	first := l.Track("g", caps, nil)
	second := l.Track("other", caps, nil)
	l.Knock("g", caps, address("192.0.2.1"))
	first()
	if l.Knock("g", caps, address("192.0.2.1")) == 0 {
		t.Error("a handshake was forgotten while there is a rate")
	}
	second()
	if l.rates.table.Load() != nil {
		t.Error("handshakes are remembered without a rate")
	}
}

func TestEachHandshakeCountsForAllRatesOfTheGateway(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := New()
		fast, slow, none := Caps{Handshakes: Rate{5, time.Hour}}, Caps{Handshakes: Rate{3, time.Hour}, IPv6Bits: 56}, Caps{}
		for _, caps := range []Caps{fast, fast, slow, none} {
			defer l.Track("g", caps, nil)()
		}
		defer l.Track("other", slow, nil)()
		for i, step := range []struct {
			after time.Duration
			caps  Caps
			ip    string
			want  time.Duration
		}{
			{caps: fast, ip: "192.0.2.1"},
			{caps: none, ip: "192.0.2.1"},
			{caps: slow, ip: "192.0.2.1"},
			{caps: slow, ip: "192.0.2.1", want: 20 * time.Minute},
			{caps: fast, ip: "192.0.2.1"},
			{caps: fast, ip: "192.0.2.1"},
			{caps: fast, ip: "192.0.2.1", want: 12 * time.Minute},
			{caps: none, ip: "192.0.2.1"}, // it has no rate of its own
			{caps: slow, ip: "192.0.2.1", want: 20 * time.Minute},
			{after: 20 * time.Minute, caps: slow, ip: "192.0.2.1"},
			{caps: fast, ip: "2001:db8::1"},
			{caps: fast, ip: "2001:db8:0:1::1"}, // the same network for the slow one
			{caps: slow, ip: "2001:db8:0:2::1"},
			{caps: slow, ip: "2001:db8:0:3::1", want: 20 * time.Minute},
		} {
			if step.after > 0 {
				bubble.Elapse(step.after)
			}
			if got := l.Knock("g", step.caps, address(step.ip)); got != step.want {
				t.Errorf("step %d: wait of %v, want %v", i, got, step.want)
			}
		}
		if l.Knock("other", slow, address("192.0.2.1")) != 0 {
			t.Error("another gateway counts them")
		}
	})
}

func TestRatesOfOneGatewayAreExactTogether(t *testing.T) {
	l := New()
	var all []Caps
	for _, count := range []int{50, 70, 90} {
		caps := Caps{Handshakes: Rate{count, time.Hour}}
		defer l.Track("g", caps, nil)()
		all = append(all, caps)
	}
	var in atomic.Int64
	together(12, func(i int) {
		for range 100 {
			if l.Knock("g", all[i%len(all)], address("192.0.2.1")) == 0 {
				in.Add(1)
			}
		}
	})
	if got := in.Load(); got != 90 {
		t.Errorf("%d came in, want 90", got)
	}
	if got := testing.AllocsPerRun(100, func() { l.Knock("g", all[0], address("192.0.2.1")) }); got > 0 {
		t.Errorf("%v allocations, want none", got)
	}
}

// TestHandshakesCountUnderTheRateOfAReload has each configuration tracked before the
// one that it replaces is released, as a reload does.
func TestHandshakesCountUnderTheRateOfAReload(t *testing.T) {
	t.Parallel()
	low, high, none := Rate{2, time.Hour}, Rate{4, time.Hour}, Rate{}
	for name, test := range map[string]struct {
		rates []Rate // the handshakes are made under the first of them
		after time.Duration
		made  int
		left  int
		wait  time.Duration
	}{
		"a lower one":           {rates: []Rate{high, low}, made: 4, left: 0, wait: 30 * time.Minute},
		"a lower one, with one": {rates: []Rate{high, low}, made: 1, left: 1, wait: 30 * time.Minute},
		"a higher one":          {rates: []Rate{low, high}, made: 2, left: 2, wait: 15 * time.Minute},
		"a lower one, later":    {rates: []Rate{high, low}, made: 4, after: 45 * time.Minute, left: 1, wait: 30 * time.Minute},
		"and back":              {rates: []Rate{high, low, high}, made: 3, left: 1, wait: 15 * time.Minute},
		"over another":          {rates: []Rate{high, {100, time.Second}, low}, made: 4, left: 0, wait: 30 * time.Minute},
		"when it is over":       {rates: []Rate{high, low}, made: 4, after: time.Hour, left: 2, wait: 30 * time.Minute},
		"none for a time":       {rates: []Rate{low, none, low}, made: 2, left: 2, wait: 30 * time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				l, ip := New(), address("192.0.2.1")
				release := l.Track("g", Caps{Handshakes: test.rates[0]}, nil)
				for range test.made {
					l.Knock("g", Caps{Handshakes: test.rates[0]}, ip)
				}
				var caps Caps
				for _, rate := range test.rates[1:] {
					caps = Caps{Handshakes: rate}
					next := l.Track("g", caps, nil)
					release()
					release = next
				}
				defer func() { release() }()
				if test.after > 0 {
					bubble.Elapse(test.after)
				}
				for range test.left {
					if wait := l.Knock("g", caps, ip); wait > 0 {
						t.Fatalf("it has to wait %v", wait)
					}
				}
				if wait := l.Knock("g", caps, ip); wait != test.wait {
					t.Errorf("a wait of %v, want %v", wait, test.wait)
				}
			})
		})
	}
}

func TestTheLastOfTheReplacedRatesAreKept(t *testing.T) {
	t.Parallel()
	l := New()
	release := l.Track("g", Caps{Handshakes: Rate{1, time.Hour}}, nil)
	defer func() { release() }()
	for count := range 100 {
		next := l.Track("g", Caps{Handshakes: Rate{2 + count, time.Hour}}, nil)
		release()
		release = next
	}
	var counts []int
	for _, p := range l.pacesOf("g") {
		counts = append(counts, p.rate.Count)
	}
	slices.Sort(counts)
	if want := []int{97, 98, 99, 100, 101}; !slices.Equal(counts, want) {
		t.Errorf("the rates %v are kept, want %v", counts, want)
	}
}
