package balance

import "math"

// Share is what an available upstream holds, and its weight.
type Share struct {
	Address string
	Live    int
	Weight  float64

	Elsewhere int // what other nodes hold, as was said last
	Gone      int // how many more the caller held then
}

// Shares returns the members that are available, with the WebSockets that the caller
// counts at each. The weights are those of now, slow start included.
func (b *Balancer) Shares(members []Member, live func(address string) int) []Share {
	shares := b.weights(members)
	for i := range shares {
		shares[i].Live = live(shares[i].Address)
	}
	return shares
}

// weights returns the shares without the WebSockets, which are counted without the
// lock.
func (b *Balancer) weights(members []Member) []Share {
	b.ledger.mu.Lock()
	defer b.ledger.mu.Unlock() // by a defer, because a source may panic
	b.collectLocked(Ask{Use: Request}, members, b.ledger.now())
	shares := make([]Share, len(b.scratch))
	for i, c := range b.scratch {
		shares[i] = Share{Address: c.Address, Weight: c.Weight}
	}
	return shares
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
	if ask.Use != WebSocket || b.moved == 0 {
		return b.settings.Policy
	}
	b.moved--
	return LeastConn{}
}

// Slack is how far off its share an upstream may stay: 10 %.
const Slack = 0.1

// Fullest returns the upstream that is furthest above its share, as long as any
// upstream is off its share, either way, by more than the slack and by at least one
// connection. An upstream that one connection less would put below its share is not
// returned.
func Fullest(shares []Share) (Share, bool) {
	total, weights := sums(shares)
	best, excess, uneven := Share{}, 0.0, false
	for _, s := range shares {
		due := total * s.Weight / weights
		over := float64(s.Live) - due
		if off := math.Abs(over); off >= 1 && off > due*Slack {
			uneven = true
		}
		if over < 1 {
			continue
		}
		if relative := over / s.Weight; relative > excess {
			best, excess = s, relative
		}
	}
	return best, uneven && excess > 0
}

// Surplus returns how many connections would have to move for every upstream to hold
// its share.
func Surplus(shares []Share) int {
	total, weights := sums(shares)
	surplus := 0.0
	for _, s := range shares {
		if over := float64(s.Live) - total*s.Weight/weights; over > 0 {
			surplus += over
		}
	}
	return int(surplus)
}

func sums(shares []Share) (total, weights float64) {
	for _, s := range shares {
		total += float64(s.Live)
		weights += s.Weight
	}
	return total, weights
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
