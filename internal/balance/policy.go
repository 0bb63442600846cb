package balance

import (
	"math"
	"math/rand/v2"
)

// Candidate is an upstream that may be chosen now.
type Candidate struct {
	Index   int // its position among the members
	Address string
	Load    int     // live connections, those of other nodes among them, and running requests
	Weight  float64 // its share now, slow start included; above 0

	hash  uint64 // of the address
	short bool   // it lacks an allowance, which grows
}

// pressure is what loads are compared by: what the upstream would hold with one more
// connection, divided by its weight.
func (c Candidate) pressure() float64 { return float64(c.Load+1) / c.Weight }

// Policy chooses one of the candidates, of which there is at least one, and returns
// the candidate's position. A balancer calls it under the ledger's lock, so that the
// loads are still true when the choice is counted.
type Policy interface {
	choose(key string, candidates []Candidate) int
}

// LeastConn chooses the upstream that holds the least for its weight; ties fall
// at random.
type LeastConn struct{}

func (LeastConn) choose(_ string, candidates []Candidate) int {
	best, least, ties := 0, candidates[0].pressure(), 1
	for i, c := range candidates[1:] {
		switch p := c.pressure(); {
		case p < least:
			best, least, ties = i+1, p, 1
		case p == least:
			ties++
			if rand.IntN(ties) == 0 { //nolint:gosec // spreading load needs no secrecy
				best = i + 1
			}
		}
	}
	return best
}

// RandomChoose chooses the upstream that holds the least for its weight among a few
// drawn at random.
type RandomChoose struct {
	Choose int // how many are drawn
}

func (p RandomChoose) choose(_ string, candidates []Candidate) int {
	best, drawn := -1, 0
	want := min(p.Choose, len(candidates))
	for i := range candidates {
		// Selection sampling: each candidate is drawn with the same chance.
		if rand.IntN(len(candidates)-i) >= want-drawn { //nolint:gosec // as above
			continue
		}
		drawn++
		if best < 0 || candidates[i].pressure() < candidates[best].pressure() {
			best = i
		}
	}
	return best
}

// RoundRobin takes upstreams in turn, each as often as its weight says, and none
// in a burst (smooth weighted round robin). It must not be copied.
type RoundRobin struct {
	credit []float64 // by index
}

func (p *RoundRobin) choose(_ string, candidates []Candidate) int {
	if last := candidates[len(candidates)-1].Index; last >= len(p.credit) { // they come in order
		p.credit = append(p.credit, make([]float64, last+1-len(p.credit))...)
	}
	best, most, total := 0, math.Inf(-1), 0.0
	for i, c := range candidates {
		total += c.Weight
		credit := p.credit[c.Index] + c.Weight
		p.credit[c.Index] = credit
		if credit > most+1e-9 {
			best, most = i, credit
		}
	}
	p.credit[candidates[best].Index] -= total
	return best
}

// BoundedHash keeps a key with its upstream by rendezvous hashing, but lets no
// upstream hold more than Factor times the mean: what is above that goes to the next
// upstream in the key's own order (consistent hashing with bounded loads).
type BoundedHash struct {
	Factor float64
}

func (p BoundedHash) choose(key string, candidates []Candidate) int {
	total, weights, uniform := 1, 0.0, true
	for i := range candidates {
		total += candidates[i].Load
		weights += candidates[i].Weight
		uniform = uniform && candidates[i].Weight == candidates[0].Weight
	}
	bound := p.Factor * float64(total) / weights // for each unit of weight
	keyHash := hashOf(key)
	best, bestScore := -1, 0.0
	for i := range candidates {
		c := &candidates[i]
		if float64(c.Load) >= bound*c.Weight { // one more would be above it, rounded up
			continue
		}
		score := rendezvous(keyHash, c.hash)
		if !uniform {
			score = -c.Weight / math.Log(score)
		}
		if best < 0 || score > bestScore {
			best, bestScore = i, score
		}
	}
	if best < 0 {
		return leastPressed(candidates)
	}
	return best
}

// leastPressed returns the candidate with the least pressure, for when all are above
// their bound, which only slow start and rounding can bring about.
func leastPressed(candidates []Candidate) int {
	least := 0
	for i, c := range candidates {
		if c.pressure() < candidates[least].pressure() {
			least = i
		}
	}
	return least
}

// rendezvous is the score of a key at an upstream, between 0 and 1; after weighting,
// the highest wins. The score depends on nothing else, so that every gateway keeps a
// key with the same upstream.
func rendezvous(key, address uint64) float64 {
	h := mix(key ^ mix(address))
	return (float64(h>>11) + 0.5) / (1 << 53)
}

// hashOf is FNV-1a, mixed once more, because FNV-1a alone mixes too little.
func hashOf(s string) uint64 {
	h := uint64(14695981039346656037)
	for i := range len(s) {
		h = (h ^ uint64(s[i])) * 1099511628211
	}
	return mix(h)
}

// mix is the finish of splitmix64.
func mix(h uint64) uint64 {
	h = (h ^ h>>30) * 0xbf58476d1ce4e5b9
	h = (h ^ h>>27) * 0x94d049bb133111eb
	return h ^ h>>31
}

// Choose lets a policy choose for a caller that counts loads by other means than a
// ledger.
func Choose(p Policy, key string, candidates []Candidate) int {
	for i := range candidates {
		candidates[i].hash = hashOf(candidates[i].Address)
	}
	return p.choose(key, candidates)
}
