package admission

import (
	"hash/maphash"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// The rates of handshakes are remembered for a bounded number of addresses, in a table
// whose every operation looks at one bucket: the one that a secret hash of the address
// names. A bucket that is full forgets the address that would be rid of its debt the
// soonest. Up to about a million addresses that made handshakes lately, no more than
// one in 500 is forgotten so; beyond that, those that made the fewest are.
const (
	rateShards  = 1 << 10
	bucketSize  = 16
	mostBuckets = 1 << 7 // of a shard
)

// tidyEvery is how often a shard is looked at for room to give back, by whoever comes.
const tidyEvery = time.Minute

// longest is the longest time of a rate; a rate that takes longer lets nobody in twice
// as it is.
const longest = 50 * 365 * 24 * time.Hour

// rates knows the handshakes of all addresses at all gateways.
type rates struct {
	seed  maphash.Seed
	start time.Time
	table atomic.Pointer[rateTable] // nil until there is something to remember
}

type rateTable [rateShards]rateShard

type rateShard struct {
	mu      sync.Mutex
	buckets []bucket // 0 or a power of 2
	tidied  int64    // when it was looked at for room to give back
	_       [24]byte // the next shard is another processor's
}

type bucket [bucketSize]arrivals

// arrivals is what is known of the handshakes of an address at a gateway: when it will
// be as if it had never made one. It is the theoretical arrival time of the generic
// cell rate algorithm, of which a leaky bucket is another reading.
type arrivals struct {
	hash  uint64
	clear int64 // in nanoseconds since the ledger's start; the entry is free from then on
}

// knocker is who makes handshakes under which rate. Handlers of a gateway with the same
// rate have one count, and one with another rate has its own.
type knocker struct {
	gateway string
	rate    Rate
	bits    int
	network [16]byte
}

func newRates() rates { return rates{seed: maphash.MakeSeed(), start: time.Now()} }

// Knock counts a handshake of an address. See [Ledger].
func (l *Local) Knock(gateway string, caps Caps, ip netip.Addr) (wait time.Duration) {
	if !caps.Handshakes.limits() || !ip.IsValid() {
		return 0
	}
	who := knocker{gateway: gateway, rate: caps.Handshakes, bits: 32, network: network(ip, caps.bits())}
	if !ip.Unmap().Is4() {
		who.bits = caps.bits()
	}
	hash := maphash.Comparable(l.rates.seed, who)
	now := int64(time.Since(l.rates.start)) + 1
	s := &l.rates.shards()[hash%rateShards]
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.knockLocked(hash, caps.Handshakes, now)
}

func (r *rates) shards() *rateTable {
	for {
		if t := r.table.Load(); t != nil {
			return t
		}
		r.table.CompareAndSwap(nil, new(rateTable))
	}
}

// forget forgets all handshakes.
func (r *rates) forget() { r.table.Store(nil) }

// interval is what a handshake adds to the time until an address is clear.
func (r Rate) interval() int64 {
	per, count := int64(min(r.Per, longest)), int64(r.Count)
	return per/count + min(per%count, 1)
}

func (s *rateShard) knockLocked(hash uint64, rate Rate, now int64) time.Duration {
	a := s.entryLocked(hash, now)
	begin, interval := now, rate.interval()
	if a.hash == hash {
		begin = max(now, a.clear)
	}
	if wait := begin - now - int64(rate.Count-1)*interval; wait > 0 {
		return time.Duration(wait)
	}
	*a = arrivals{hash, begin + interval}
	if now-s.tidied > int64(tidyEvery) {
		s.tidied = now
		s.tidyLocked(now)
	}
	return 0
}

// entryLocked returns the entry of a hash, or one for it to take.
func (s *rateShard) entryLocked(hash uint64, now int64) *arrivals {
	if s.buckets == nil {
		s.buckets = make([]bucket, 1)
	}
	for {
		a := s.buckets[hash/rateShards%uint64(len(s.buckets))].find(hash)
		if a.hash == hash || a.clear <= now || len(s.buckets) == mostBuckets {
			return a
		}
		s.resizeLocked(2*len(s.buckets), now)
	}
}

// find returns the entry of a hash, or else the one that is or will be clear first.
func (b *bucket) find(hash uint64) *arrivals {
	first := &b[0]
	for i := range b {
		if b[i].hash == hash {
			return &b[i]
		}
		if b[i].clear < first.clear {
			first = &b[i]
		}
	}
	return first
}

// tidyLocked gives back the room that the shard needs no longer.
func (s *rateShard) tidyLocked(now int64) {
	needed := 0
	for i := range s.buckets {
		for _, a := range s.buckets[i] {
			if a.clear > now {
				needed++
			}
		}
	}
	buckets := len(s.buckets)
	for buckets > 1 && needed <= buckets*bucketSize/8 {
		buckets /= 2
	}
	if buckets < len(s.buckets) {
		s.resizeLocked(buckets, now)
	}
}

// resizeLocked gives the shard so many buckets, or more where some would be too full.
func (s *rateShard) resizeLocked(buckets int, now int64) {
	old := s.buckets
	s.buckets = make([]bucket, buckets)
	for i := range old {
		for _, a := range old[i] {
			if a.clear > now {
				*s.entryLocked(a.hash, now) = a
			}
		}
	}
}
