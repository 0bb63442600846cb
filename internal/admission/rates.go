package admission

import (
	"cmp"
	"hash/maphash"
	"net/netip"
	"slices"
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

// knocker is who makes handshakes under which pace.
type knocker struct {
	gateway string
	pace    pace
	network [16]byte
}

// debt is where the handshakes of an address are noted for a pace.
type debt struct {
	shard *rateShard
	index uint64 // of the shard
	hash  uint64
	rate  Rate
	asked bool // it says whether the handshake may come in
}

func newRates() rates { return rates{seed: maphash.MakeSeed(), start: time.Now()} }

// now is the time since the ledger's start, never 0.
func (r *rates) now() int64 { return int64(time.Since(r.start)) + 1 }

// Knock counts a handshake of an address, before anything is done for it. It returns how
// long the client has to wait, or 0 where it may come in. A handshake that has to wait does
// not count. One that may come in counts for all rates that are tracked for the gateway,
// and is compared with that of the caps.
func (l *Local) Knock(gateway string, caps Caps, ip netip.Addr) (wait time.Duration) {
	if !ip.IsValid() {
		return 0
	}
	var room [4]debt
	debts := room[:0]
	if caps.Handshakes.limits() {
		debts = l.rates.owe(debts, gateway, caps.pace(), ip)
		debts[0].asked = true
	}
	now := l.rates.now()
	for _, other := range l.pacesOf(gateway) {
		if !other.past(now) {
			debts = l.rates.owe(debts, gateway, other.pace, ip)
		}
	}
	if len(debts) > 1 {
		slices.SortFunc(debts, func(a, b debt) int { return cmp.Compare(a.index, b.index) })
	}
	return note(debts, 0, now)
}

// owe adds to the debts that of an address for a pace, unless it is there.
func (r *rates) owe(debts []debt, gateway string, p pace, ip netip.Addr) []debt {
	who := knocker{gateway: gateway, pace: p, network: Network(ip, p.bits)}
	if ip.Unmap().Is4() {
		who.pace.bits = 32
	}
	hash := maphash.Comparable(r.seed, who)
	if slices.ContainsFunc(debts, func(d debt) bool { return d.hash == hash }) {
		return debts
	}
	index := hash % rateShards
	return append(debts, debt{shard: &r.shards()[index], index: index, hash: hash, rate: p.rate})
}

// note notes a handshake for all of the debts, which are in the order of their shards,
// or nowhere. So many of them are in shards that are locked.
func note(debts []debt, locked int, now int64) (wait time.Duration) {
	if locked < len(debts) {
		if s := debts[locked].shard; locked == 0 || s != debts[locked-1].shard {
			s.mu.Lock()
			defer s.mu.Unlock()
		}
		return note(debts, locked+1, now)
	}
	for _, d := range debts {
		d.learnLocked(debts, now)
	}
	for _, d := range debts {
		if !d.asked {
			continue
		}
		if wait := d.shard.waitLocked(d.hash, d.rate, now); wait > 0 {
			return wait
		}
	}
	for _, d := range debts {
		d.shard.noteLocked(d.hash, d.rate, now)
	}
	return 0
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

// learnLocked has an address that is not known for a pace owe as many handshakes as it
// owes the others: the pace is new.
func (d debt) learnLocked(from []debt, now int64) {
	if len(from) == 1 || d.shard.knownLocked(d.hash) != nil {
		return
	}
	owed := int64(0)
	for _, other := range from {
		owed = max(owed, other.handshakesLocked(now))
	}
	if owed > 0 {
		*d.shard.entryLocked(d.hash, now) = arrivals{d.hash, now + min(owed, int64(d.rate.Count))*d.rate.interval()}
	}
}

// handshakesLocked is how many handshakes are owed.
func (d debt) handshakesLocked(now int64) int64 {
	a := d.shard.knownLocked(d.hash)
	if a == nil || a.clear <= now {
		return 0
	}
	return (a.clear-now-1)/d.rate.interval() + 1
}

// waitLocked returns how long a handshake has to wait, or 0.
func (s *rateShard) waitLocked(hash uint64, rate Rate, now int64) time.Duration {
	a := s.knownLocked(hash)
	if a == nil {
		return 0
	}
	return time.Duration(max(0, max(now, a.clear)-now-int64(rate.Count-1)*rate.interval()))
}

// noteLocked notes a handshake. One that would have to wait is no debt: those of other
// handlers of the gateway do not keep an address out for longer than its own would.
func (s *rateShard) noteLocked(hash uint64, rate Rate, now int64) {
	if s.waitLocked(hash, rate, now) > 0 {
		return
	}
	a := s.entryLocked(hash, now)
	begin := now
	if a.hash == hash {
		begin = max(now, a.clear)
	}
	*a = arrivals{hash, begin + rate.interval()}
	if now-s.tidied > int64(tidyEvery) {
		s.tidied = now
		s.tidyLocked(now)
	}
}

// knownLocked returns the entry of a hash, nil for none.
func (s *rateShard) knownLocked(hash uint64) *arrivals {
	if s.buckets == nil {
		return nil
	}
	if a := s.bucketLocked(hash).find(hash); a.hash == hash {
		return a
	}
	return nil
}

// bucketLocked returns the one bucket that a hash may be in.
func (s *rateShard) bucketLocked(hash uint64) *bucket {
	return &s.buckets[hash/rateShards%uint64(len(s.buckets))]
}

// entryLocked returns the entry of a hash, or one for it to take.
func (s *rateShard) entryLocked(hash uint64, now int64) *arrivals {
	if s.buckets == nil {
		s.buckets = make([]bucket, 1)
	}
	for {
		a := s.bucketLocked(hash).find(hash)
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
