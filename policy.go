package wsgateway

import (
	"math/rand/v2"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
)

// policy chooses one of the candidates, of which there is at least one, and
// returns its position among them, or -1 where it wants none of them. It is called under the ledger's lock, so
// what it sees stays true until its choice is counted.
type policy interface {
	choose(candidates []candidate) int
}

// policyOf gives the connection-aware form of one of Caddy's policies; nil for
// those that do not compare loads, which are used as they are.
func policyOf(selector reverseproxy.Selector) policy {
	switch s := selector.(type) {
	case *reverseproxy.LeastConnSelection:
		return leastConn{}
	case *reverseproxy.RandomChoiceSelection:
		return &randomChoose{n: s.Choose}
	case *reverseproxy.RoundRobinSelection:
		return &roundRobin{last: -1}
	case *reverseproxy.WeightedRoundRobinSelection:
		return &weightedRoundRobin{weights: s.Weights}
	}
	return nil
}

// leastConn chooses the candidate with the least load, ties at random.
type leastConn struct{}

func (leastConn) choose(candidates []candidate) int {
	best, least, ties := 0, candidates[0].load(), 1
	for i, c := range candidates[1:] {
		switch load := c.load(); {
		case load < least:
			best, least, ties = i+1, load, 1
		case load == least:
			ties++
			if rand.IntN(ties) == 0 { //nolint:gosec // spreading load needs no secrecy
				best = i + 1
			}
		}
	}
	return best
}

// randomChoose chooses the least loaded of a few candidates drawn at random.
type randomChoose struct{ n int }

func (p *randomChoose) choose(candidates []candidate) int {
	n := min(p.n, len(candidates))
	best := -1
	seen := 0
	for i := range candidates {
		// Selection sampling: every candidate is drawn with the same chance.
		if rand.IntN(len(candidates)-i) >= n-seen { //nolint:gosec // as above
			continue
		}
		seen++
		if best < 0 || candidates[i].load() < candidates[best].load() {
			best = i
		}
	}
	return best
}

// roundRobin takes the candidates in the order in which they are configured.
type roundRobin struct{ last int }

func (p *roundRobin) choose(candidates []candidate) int {
	chosen := 0
	for i, c := range candidates {
		if c.index > p.last {
			chosen = i
			break
		}
	}
	p.last = candidates[chosen].index
	return chosen
}

// weightedRoundRobin is the smooth form: over a period every candidate is
// chosen as often as its weight says, and no candidate in a burst. An upstream
// without a weight is never chosen, as in Caddy.
type weightedRoundRobin struct {
	weights []int
	credit  []int
}

func (p *weightedRoundRobin) choose(candidates []candidate) int {
	if p.credit == nil {
		p.credit = make([]int, len(p.weights))
	}
	best, total := -1, 0
	for i, c := range candidates {
		if c.index >= len(p.weights) || p.weights[c.index] <= 0 {
			continue
		}
		total += p.weights[c.index]
		p.credit[c.index] += p.weights[c.index]
		if best < 0 || p.credit[c.index] > p.credit[candidates[best].index] {
			best = i
		}
	}
	if best >= 0 {
		p.credit[candidates[best].index] -= total
	}
	return best
}
