package balance

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// node is one of several that balance over the same upstreams, each by its own ledger.
type node struct {
	ledger   *Ledger
	balancer *Balancer
	members  []Member
	leases   map[string][]*Lease
	moved    int
	budget   int
}

// nodes are several of them that hold so many connections at each upstream.
type nodes []*node

func newNodes(held [][]int) nodes {
	var all nodes
	for _, at := range held {
		n := &node{ledger: NewLedger(), leases: make(map[string][]*Lease)}
		n.members, _ = newMembers(len(at))
		n.balancer = n.ledger.New(Settings{Policy: LeastConn{}}, n.members)
		for i, count := range at {
			for range count {
				lease := new(Lease)
				n.balancer.Take(lease, Ask{}, n.members[i])
				n.leases[lease.Address()] = append(n.leases[lease.Address()], lease)
			}
		}
		all = append(all, n)
	}
	return all
}

// beat tells each node what the others hold.
func (all nodes) beat() {
	for _, n := range all {
		elsewhere := make(map[string]int)
		for _, other := range all {
			for address, leases := range other.leases {
				if other != n {
					elsewhere[address] += len(leases)
				}
			}
		}
		n.ledger.SetElsewhere(elsewhere)
	}
}

func (n *node) shares() []Share {
	return n.balancer.Shares(n.members, func(address string) int { return len(n.leases[address]) })
}

func (n *node) connect() {
	lease := new(Lease)
	n.balancer.Acquire(lease, Ask{})
	n.leases[lease.Address()] = append(n.leases[lease.Address()], lease)
}

// move moves one connection to wherever its client comes back, if there is one to move.
func (n *node) move(to *node) bool {
	fullest, uneven := Fullest(n.shares())
	if !uneven || n.moved >= n.budget {
		return false
	}
	leases := n.leases[fullest.Address]
	leases[len(leases)-1].Release()
	n.leases[fullest.Address] = leases[:len(leases)-1]
	n.moved++
	n.balancer.Moved()
	to.connect()
	return true
}

// rebalance has all nodes move what they have to, with so many moves of each between two
// beats, and returns how many beats that took.
func (all nodes) rebalance(rng *rand.Rand, pace int) (beats int) {
	all.beat()
	for _, n := range all {
		n.budget, n.moved = Surplus(n.shares()), 0
	}
	for moved := true; moved; beats++ {
		moved = false
		for range pace {
			for _, n := range all {
				if n.move(all[rng.IntN(len(all))]) {
					moved = true
				}
			}
		}
		all.beat()
	}
	return beats
}

// total returns what all nodes together hold at each upstream, as one node would.
func (all nodes) total() []Share {
	var shares []Share
	for _, m := range all[0].members {
		s := Share{Address: m.Address, Weight: m.Weight}
		for _, n := range all {
			s.Live += len(n.leases[m.Address])
		}
		shares = append(shares, s)
	}
	return shares
}

// parts returns how much of what is above the shares is each node's.
func (all nodes) parts() []float64 {
	parts := make([]float64, len(all))
	for i, s := range all.total() {
		over := float64(s.Live) - due(all.total(), i)
		for k, n := range all {
			if over > 0 {
				parts[k] += over * float64(len(n.leases[s.Address])) / float64(s.Live)
			}
		}
	}
	return parts
}

func TestNodesMakeTheirUpstreamsEvenAndMoveTheirOwnPartsOnly(t *testing.T) {
	t.Parallel()
	for name, held := range map[string][][]int{
		"one is new":             {{100, 100, 100, 0}, {100, 100, 100, 0}, {100, 100, 100, 0}},
		"a node holds the most":  {{300, 300, 0}, {20, 20, 0}, {0, 0, 0}},
		"nodes lean differently": {{200, 0, 0, 50}, {0, 200, 0, 50}, {100, 100, 0, 50}},
		"a node holds nothing":   {{200, 0}, {200, 0}, {0, 0}},
	} {
		for _, pace := range []int{1, 10, 1000} {
			t.Run(fmt.Sprint(name, ", ", pace, " between beats"), func(t *testing.T) {
				t.Parallel()
				rng := rand.New(rand.NewPCG(uint64(pace), 5))
				all := newNodes(held)
				all.rebalanceInParts(t, rng, pace)
				all.rebalanceInParts(t, rng, pace) // with 1,000 between beats, all take the same upstream for the emptiest
				for i, s := range all.total() {
					if off := math.Abs(float64(s.Live) - due(all.total(), i)); off > 0.1*due(all.total(), i)+float64(len(all)) {
						t.Errorf("%v is left off its share by %v", s, off)
					}
				}
				all.rebalance(rng, pace)
				if n := all.moved(); n > 2*len(all) {
					t.Errorf("%d move back and forth", n)
				}
			})
		}
	}
}

// rebalanceInParts is rebalance, and looks at who moved how much, and for how long.
func (all nodes) rebalanceInParts(t *testing.T, rng *rand.Rand, pace int) {
	t.Helper()
	parts := all.parts()
	beats := all.rebalance(rng, pace)
	for i, n := range all {
		if float64(n.moved) > parts[i]+1 {
			t.Errorf("node %d moved %d, and its part is %v", i, n.moved, parts[i])
		}
	}
	if limit := 2*int(slices.Max(parts))/pace + 3; beats > limit {
		t.Errorf("it took %d beats, want %d at most", beats, limit)
	}
}

func (all nodes) moved() (sum int) {
	for _, n := range all {
		sum += n.moved
	}
	return sum
}

func TestNodesThatAreEvenTogetherMoveNobody(t *testing.T) {
	t.Parallel()
	for name, held := range map[string][][]int{
		"of two":                 {{100, 0}, {0, 100}},
		"of three":               {{90, 10, 0}, {10, 0, 90}, {0, 90, 10}},
		"one without any":        {{100, 50}, {0, 50}, {0, 0}},
		"within the slack":       {{110, 0}, {0, 90}},
		"one each of many nodes": {{1, 0}, {0, 1}, {1, 0}, {0, 1}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			all := newNodes(held)
			all.rebalance(rand.New(rand.NewPCG(1, 6)), 10)
			for i, n := range all {
				if n.moved > 0 {
					t.Errorf("node %d moved %d", i, n.moved)
				}
			}
		})
	}
}

// However many nodes have next to nothing to move, they move about as much as there is.
func TestSmallPartsOfManyNodesAddUp(t *testing.T) {
	t.Parallel()
	const nodes = 1000
	shares := []Share{{Address: "a", Live: 1, Weight: 1, Elsewhere: nodes - 1}, {Address: "b", Weight: 1, Elsewhere: nodes / 2}}
	moved := 0
	for range nodes { // each of them has a part of a quarter
		moved += Surplus(shares)
	}
	if moved < nodes/8 || moved > nodes/2 {
		t.Errorf("%d move, want about %d", moved, nodes/4)
	}
}

func TestNodeMovesNoMoreThanItsPartBetweenTwoBeats(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(7, 7))
	for range 200 {
		shares := randomShares(rng, true)
		for i := range shares {
			shares[i].Elsewhere = rng.IntN(500)
		}
		before, parts := slices.Clone(shares), make([]float64, len(shares))
		total, weights := sums(shares)
		for i, s := range shares {
			held := float64(s.Live + s.Elsewhere)
			if over := held - total*s.Weight/weights; over > 0 {
				parts[i] = over * float64(s.Live) / held
			}
		}
		for {
			fullest, uneven := Fullest(shares)
			if !uneven {
				break
			}
			at := slices.IndexFunc(shares, func(s Share) bool { return s.Address == fullest.Address })
			shares[at].Live--
			shares[at].Gone++
			if gone := shares[at].Gone; float64(gone) > parts[at]+1 {
				t.Fatalf("%d move off %s, and the part is %v, of %v", gone, fullest.Address, parts[at], before)
			}
		}
	}
}

func TestUpstreamsThatGrowTogetherStayEven(t *testing.T) {
	t.Parallel()
	for name, gone := range map[string]int{"more than were said": -100, "fewer than were said": 50} {
		shares := []Share{
			{Address: "a", Live: 200, Weight: 1, Elsewhere: 200, Gone: gone},
			{Address: "b", Live: 200, Weight: 1, Elsewhere: 200, Gone: gone},
		}
		if s, found := Fullest(shares); found {
			t.Errorf("%s: %v is to give one up", name, s)
		}
	}
}

func TestSharesSayWhatHasGoneSinceTheLastWordOfOtherNodes(t *testing.T) {
	t.Parallel()
	members, _ := newMembers(2)
	l := NewLedger()
	b := l.New(Settings{Policy: LeastConn{}}, members)
	a := members[0].Address
	first := func(live int) Share {
		t.Helper()
		return b.Shares(members, func(string) int { return live })[0]
	}
	for i, row := range []struct {
		said map[string]int
		live int
		want Share
	}{
		{nil, 10, Share{a, 10, 1, 0, 0}},
		{nil, 7, Share{a, 7, 1, 0, 0}},
		{map[string]int{a: 30}, 7, Share{a, 7, 1, 30, 0}},
		{nil, 5, Share{a, 5, 1, 30, 2}},
		{nil, 9, Share{a, 9, 1, 30, -2}},
		{map[string]int{a: 20}, 9, Share{a, 9, 1, 20, 0}},
		{map[string]int{}, 8, Share{a, 8, 1, 0, 0}},
	} {
		if row.said != nil {
			l.SetElsewhere(row.said)
		}
		if got := first(row.live); got != row.want {
			t.Errorf("step %d: %+v, want %+v", i, got, row.want)
		}
	}
}
