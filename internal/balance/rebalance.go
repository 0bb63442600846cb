package balance

import "math"

// Share is what an available upstream holds, and what its share is.
type Share struct {
	Address string
	Live    int
	Weight  float64
}

// Shares lists the members that are available, with the WebSockets that the
// caller counts at each. Weights are those of now, slow start included.
func (b *Balancer) Shares(members []Member, live func(address string) int) []Share {
	shares := b.weights(members)
	for i := range shares {
		shares[i].Live = live(shares[i].Address)
	}
	return shares
}

// weights are shares without what is live there, which is asked without the lock.
func (b *Balancer) weights(members []Member) []Share {
	b.ledger.mu.Lock()
	defer b.ledger.mu.Unlock() // the sources are others' code
	b.collect(Ask{Use: Request}, members, b.ledger.now())
	shares := make([]Share, len(b.scratch))
	for i, c := range b.scratch {
		shares[i] = Share{Address: c.Address, Weight: c.Weight}
	}
	return shares
}

// Moved tells that a connection was ended for it to move. For each, one who comes
// goes where the least is held for its weight, whatever the policy: one that does
// not look at loads would give the full ones back what was taken.
func (b *Balancer) Moved() {
	b.ledger.mu.Lock()
	defer b.ledger.mu.Unlock()
	b.moved++
}

// policyLocked is the policy for an ask.
func (b *Balancer) policyLocked(ask Ask) Policy {
	if ask.Use != WebSocket || b.moved == 0 {
		return b.settings.Policy
	}
	b.moved--
	return LeastConn{}
}

// Slack is how far off its share an upstream may stay: 10 %.
const Slack = 0.1

// Fullest returns the upstream that is furthest above its share, as long as any
// is off its own, either way, by more than the slack and by one at least. One less
// must not put it below.
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

// Surplus is how many connections would have to move for all to be even.
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
