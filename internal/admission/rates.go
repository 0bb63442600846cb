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
// one in a thousand is forgotten so; beyond that, those that made the fewest are.
const (
	rateShards  = 1 << 10
	bucketSize  = 16
	mostBuckets = 1 << 7 // of a shard
)

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
	_       [32]byte
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
	bits := caps.bits()
	hash := maphash.Comparable(l.rates.seed, knocker{gateway, caps.Handshakes, bits, network(ip, bits)})
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

func (s *rateShard) knockLocked(hash uint64, rate Rate, now int64) time.Duration {
	a := s.findLocked(hash, now)
	interval := (int64(rate.Per) + int64(rate.Count) - 1) / int64(rate.Count)
	begin := now
	if a.hash == hash {
		begin = max(now, a.clear)
	}
	if wait := begin - now - int64(rate.Count-1)*interval; wait > 0 {
		return time.Duration(wait)
	}
	*a = arrivals{hash, begin + interval}
	return 0
}

// findLocked returns the entry of a hash, or one for it to take.
func (s *rateShard) findLocked(hash uint64, now int64) *arrivals {
	if s.buckets == nil {
		s.buckets = make([]bucket, 1)
	}
	for {
		least := s.buckets[s.index(hash)].find(hash)
		if least.hash == hash || least.clear <= now || len(s.buckets) == mostBuckets {
			return least
		}
		s.growLocked(now)
	}
}

// find returns the entry of a hash, or else the one that is or will be clear first.
func (b *bucket) find(hash uint64) *arrivals {
	least := &b[0]
	for i := range b {
		if b[i].hash == hash {
			return &b[i]
		}
		if b[i].clear < least.clear {
			least = &b[i]
		}
	}
	return least
}

func (s *rateShard) index(hash uint64) uint64 {
	return hash / rateShards % uint64(len(s.buckets))
}

// growLocked doubles the shard, which is small.
func (s *rateShard) growLocked(now int64) {
	old := s.buckets
	s.buckets = make([]bucket, 2*len(old))
	for i := range old {
		for _, a := range old[i] {
			if a.clear > now {
				*s.buckets[s.index(a.hash)].find(a.hash) = a
			}
		}
	}
}
