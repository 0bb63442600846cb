package balance

import (
	"math"
	"math/rand/v2"
)

// Candidate is an upstream that may be chosen now.
type Candidate struct {
	Index   int // its position among the members
	Address string
	Load    int     // live connections and running requests
	Weight  float64 // its share now, slow start included; above 0
}

// pressure is what loads are compared by: what the upstream would hold with one
// more, for its share.
func (c Candidate) pressure() float64 { return float64(c.Load+1) / c.Weight }

// Policy chooses one of the candidates, of which there is at least one, and
// returns its position among them. It is called under the ledger's lock, so that
// what it sees is still true when its choice is counted.
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

// RandomChoose chooses the one that holds the least for its weight among a few
// drawn at random.
type RandomChoose struct {
	Choose int
}

func (p RandomChoose) choose(_ string, candidates []Candidate) int {
	best, drawn := -1, 0
	want := min(p.Choose, len(candidates))
	for i := range candidates {
		// Selection sampling: each is drawn with the same chance.
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
// in a burst: smooth weighted round robin. It must not be copied.
type RoundRobin struct {
	credit map[int]float64
}

func (p *RoundRobin) choose(_ string, candidates []Candidate) int {
	if p.credit == nil {
		p.credit = make(map[int]float64, len(candidates))
	}
	best, total := 0, 0.0
	for i, c := range candidates {
		total += c.Weight
		p.credit[c.Index] += c.Weight
		if p.credit[c.Index] > p.credit[candidates[best].Index]+1e-9 {
			best = i
		}
	}
	p.credit[candidates[best].Index] -= total
	return best
}

// BoundedHash keeps a key with its upstream by rendezvous hashing, but lets none
// hold more than Factor times the mean: what is over goes to the next in the
// key's own order (consistent hashing with bounded loads).
type BoundedHash struct {
	Factor float64
}

func (p BoundedHash) choose(key string, candidates []Candidate) int {
	total, weights := 1, 0.0
	for _, c := range candidates {
		total += c.Load
		weights += c.Weight
	}
	best, bestScore := -1, 0.0
	fallback := 0
	for i, c := range candidates {
		if c.pressure() < candidates[fallback].pressure() {
			fallback = i
		}
		bound := math.Ceil(p.Factor * float64(total) * c.Weight / weights)
		if float64(c.Load+1) > bound {
			continue
		}
		if score := rendezvous(key, c); best < 0 || score > bestScore {
			best, bestScore = i, score
		}
	}
	if best < 0 {
		return fallback
	}
	return best
}

// rendezvous is the weighted score of a key at an upstream; the highest wins. It
// depends on nothing else, so that every gateway puts a key in the same place.
func rendezvous(key string, c Candidate) float64 {
	h := uint64(14695981039346656037) // FNV-1a
	for i := range len(key) {
		h = (h ^ uint64(key[i])) * 1099511628211
	}
	h = (h ^ 0xff) * 1099511628211
	for i := range len(c.Address) {
		h = (h ^ uint64(c.Address[i])) * 1099511628211
	}
	h = (h ^ h>>30) * 0xbf58476d1ce4e5b9 // splitmix64's finish: FNV alone mixes too little
	h = (h ^ h>>27) * 0x94d049bb133111eb
	h ^= h >> 31
	unit := (float64(h>>11) + 0.5) / (1 << 53)
	return -c.Weight / math.Log(unit)
}

// Choose lets a policy choose for someone who counts by other means.
func Choose(p Policy, key string, candidates []Candidate) int { return p.choose(key, candidates) }
