package balance

import (
	"math"
	"math/rand/v2"
)

// Share is what an available upstream holds, and its weight.
type Share struct {
	Address string
	Live    int // of the caller's
	Weight  float64

	Elsewhere int // what other nodes held when that was said last
	Gone      int // how many more were the caller's then; below zero if they were fewer
}

// sums returns what the upstreams hold in all, and their weights. What has gone since it
// was said what other nodes hold is still in the total: it is about to come back, and be
// it to another node.
func sums(shares []Share) (total, weights float64) {
	gone := 0
	for _, s := range shares {
		total += float64(s.Live + s.Elsewhere)
		weights += s.Weight
		gone += s.Gone
	}
	return total + float64(max(gone, 0)), weights
}

// held returns what the upstream holds now. The connections of the other nodes are taken
// to move off as the caller's do, so that each node moves its own part alone.
func (s Share) held() float64 {
	elsewhere := float64(s.Elsewhere)
	if s.Gone > 0 {
		elsewhere *= float64(s.Live) / float64(s.Live+s.Gone)
	}
	return float64(s.Live) + elsewhere
}

// Shares returns the members that are available, with the WebSockets that the caller
// counts at each. The weights are those of now, slow start included.
func (b *Balancer) Shares(members []Member, live func(address string) int) []Share {
	shares, heard := b.weights(members)
	for i := range shares {
		shares[i].Live = live(shares[i].Address)
	}
	b.compare(shares, heard)
	return shares
}

// weights returns the shares without the WebSockets of the caller, which are counted
// without the lock, and how often it was said what other nodes hold.
func (b *Balancer) weights(members []Member) ([]Share, uint64) {
	b.ledger.mu.Lock()
	defer b.ledger.mu.Unlock() // by a defer, because a source may panic
	b.collectLocked(Ask{Use: Request}, members, b.ledger.now())
	shares := make([]Share, len(b.scratch))
	for i, c := range b.scratch {
		shares[i] = Share{Address: c.Address, Weight: c.Weight, Elsewhere: b.ledger.elsewhere[c.Address]}
	}
	return shares, b.ledger.heard
}

// compare notes the shares that are the first since it was said what other nodes hold,
// and says of later ones what has gone since then.
func (b *Balancer) compare(shares []Share, heard uint64) {
	b.ledger.mu.Lock()
	defer b.ledger.mu.Unlock()
	if heard == 0 {
		return // there never were other nodes
	}
	if b.heard != heard {
		b.heard, b.held = heard, make(map[string]int, len(shares))
	}
	for i := range shares {
		s := &shares[i]
		if held, known := b.held[s.Address]; known {
			s.Gone = held - s.Live
		} else {
			b.held[s.Address] = s.Live
		}
	}
}

// Moved notes that a connection was ended for its client to move. For each such
// connection, one WebSocket goes to the upstream that holds the least for its weight,
// whatever the policy: a policy that does not look at loads would give the full
// upstreams back what was taken.
func (b *Balancer) Moved() {
	b.ledger.mu.Lock()
	defer b.ledger.mu.Unlock()
	b.moved++
}

// takePolicyLocked returns the policy for an ask. It uses up one of the connections
// that Moved has noted.
func (b *Balancer) takePolicyLocked(ask Ask) Policy {
	if !ask.Use.lasts() || b.moved == 0 {
		return b.settings.Policy
	}
	b.moved--
	return LeastConn{}
}

// Slack is how far off its share an upstream may stay: 10 %.
const Slack = 0.1

// Fullest returns the upstream with connections of the caller's that is furthest above
// its share, as long as any upstream is off its share, either way, by more than the slack
// and by at least one connection. An upstream that one connection less would put below
// its share is not returned.
func Fullest(shares []Share) (Share, bool) {
	total, weights := sums(shares)
	best, excess, uneven := Share{}, 0.0, false
	for _, s := range shares {
		due := total * s.Weight / weights
		over := s.held() - due
		if off := math.Abs(over); off >= 1 && off > due*Slack {
			uneven = true
		}
		if over < 1 || s.Live == 0 {
			continue
		}
		if relative := over / s.Weight; relative > excess {
			best, excess = s, relative
		}
	}
	return best, uneven && excess > 0
}

// Surplus returns how many connections of the caller would have to move for every
// upstream to hold its share, where other nodes move theirs. What is less than one is
// left to chance where there are other nodes: else small parts of many nodes would never
// move, or all at once.
func Surplus(shares []Share) int {
	total, weights := sums(shares)
	surplus, alone := 0.0, true
	for _, s := range shares {
		alone = alone && s.Elsewhere == 0
		if over := s.held() - total*s.Weight/weights; over > 0 {
			surplus += over * float64(s.Live) / s.held()
		}
	}
	if alone {
		return int(surplus)
	}
	return int(surplus + rand.Float64()) //nolint:gosec // spreading load needs no secrecy
}

// Arrived reports whether an upstream has become available since the last call: new,
// recovered or set ready.
func (b *Balancer) Arrived() bool {
	b.ledger.mu.Lock()
	defer b.ledger.mu.Unlock()
	b.sweepLocked(b.ledger.now(), true)
	arrived := b.arrived
	b.arrived = false
	return arrived
}
