package balance

import (
	"math"
	"math/rand/v2"
)

// never is the key of an upstream that cannot be chosen.
var never = math.Inf(1)

// tree finds the upstream with the least key. It is a tournament: every inner
// node names the winner of the two below it, so that a change of one key costs
// one path to the root.
type tree struct {
	keys    []treeKey
	winners []int32 // the root is at 1; the leaves are implied, from leaves on
	leaves  int
}

type treeKey struct {
	load float64
	tie  uint32 // drawn anew at each change, so that ties fall at random
}

func newTree(n int) tree {
	leaves := 1
	for leaves < n {
		leaves *= 2
	}
	t := tree{keys: make([]treeKey, leaves), winners: make([]int32, leaves), leaves: leaves}
	for i := range t.keys {
		t.keys[i].load = never
	}
	for node := leaves - 1; node >= 1; node-- {
		t.play(node)
	}
	return t
}

// update sets the key of the i-th upstream.
func (t *tree) update(i int, load float64) {
	t.keys[i] = treeKey{load, rand.Uint32()} //nolint:gosec // spreading load needs no secrecy
	for node := (i + t.leaves) / 2; node >= 1; node /= 2 {
		t.play(node)
	}
}

// least returns the upstream with the least key; ok is false if that is never.
func (t *tree) least() (i int, ok bool) {
	w := t.winner(1)
	return int(w), t.keys[w].load < never
}

func (t *tree) play(node int) {
	a, b := t.winner(2*node), t.winner(2*node+1)
	if t.less(b, a) {
		a = b
	}
	t.winners[node] = a
}

func (t *tree) winner(node int) int32 {
	if node >= t.leaves {
		return int32(node - t.leaves)
	}
	return t.winners[node]
}

func (t *tree) less(a, b int32) bool {
	x, y := t.keys[a], t.keys[b]
	return x.load < y.load || x.load == y.load && x.tie < y.tie
}
