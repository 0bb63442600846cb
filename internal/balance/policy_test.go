package balance

import (
	"fmt"
	"math"
	"slices"
	"testing"
	"time"
)

func TestPoliciesSpreadExactlyOverWholePeriods(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		policy  Policy
		weights []float64
		take    int
		want    []int
	}{
		"least_conn":             {LeastConn{}, nil, 400, []int{100, 100, 100, 100}},
		"weighted_least_conn":    {LeastConn{}, []float64{5, 1, 0, 4}, 100, []int{50, 10, 0, 40}},
		"round_robin":            {new(RoundRobin), nil, 400, []int{100, 100, 100, 100}},
		"round_robin of some":    {new(RoundRobin), []float64{3, 0, 3, 3}, 99, []int{33, 0, 33, 33}},
		"weighted_round_robin":   {new(RoundRobin), []float64{5, 1, 0, 4}, 100, []int{50, 10, 0, 40}},
		"random_choose of all":   {RandomChoose{4}, nil, 400, []int{100, 100, 100, 100}},
		"bounded_hash, factor 1": {BoundedHash{1}, nil, 400, []int{100, 100, 100, 100}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			members, _ := newMembers(4, row.weights...)
			got, _ := take(t, NewLedger().New(Settings{Policy: row.policy}, members), members, row.take)
			if !slices.Equal(got, row.want) {
				t.Errorf("got %v, want %v", got, row.want)
			}
		})
	}
}

func TestWeightedRoundRobinDoesNotBunch(t *testing.T) {
	t.Parallel()
	members, _ := newMembers(3, 5, 1, 1)
	b := NewLedger().New(Settings{Policy: new(RoundRobin)}, members)
	var order []int
	for range 7 {
		got, _ := take(t, b, members, 1)
		order = append(order, slices.Index(got, 1))
	}
	if want := []int{0, 0, 1, 0, 2, 0, 0}; !slices.Equal(order, want) {
		t.Errorf("got %v, want %v", order, want)
	}
}

func TestRoundRobinPassesOverWhoIsDownAndGivesNothingBack(t *testing.T) {
	t.Parallel()
	members, hosts := newMembers(4)
	b := NewLedger().New(Settings{Policy: new(RoundRobin)}, members)
	hosts[1].down.Store(true)
	if got, _ := take(t, b, members, 30); !slices.Equal(got, []int{10, 0, 10, 10}) {
		t.Errorf("while one is down: %v", got)
	}
	hosts[1].down.Store(false)
	if got, _ := take(t, b, members, 40); !slices.Equal(got, []int{10, 10, 10, 10}) {
		t.Errorf("when it is back: %v", got)
	}
}

func TestLeastConnBreaksTiesAtRandom(t *testing.T) {
	t.Parallel()
	first := make(map[int]int)
	for range 400 {
		members, _ := newMembers(4)
		got, _ := take(t, NewLedger().New(Settings{Policy: LeastConn{}}, members), members, 1)
		first[slices.Index(got, 1)]++
	}
	for i := range 4 {
		if first[i] < 50 {
			t.Errorf("of 400 times, upstream %d was first %d times", i, first[i])
		}
	}
}

func TestRequestsAndWebSocketsAreComparedTogether(t *testing.T) {
	t.Parallel()
	members, hosts := newMembers(2)
	b := NewLedger().New(Settings{Policy: LeastConn{}}, members)
	got := make([]int, 2)
	for k := range 100 {
		i, _ := b.Acquire(new(Lease), Ask{Use: Use(k % 2)})
		got[i]++
	}
	if got[0] != 50 {
		t.Errorf("got %v", got)
	}
	hosts[0].requests.Store(1000) // of others
	b.ledger.mu.Lock()
	b.sweepLocked(time.Now(), true)
	b.ledger.mu.Unlock()
	if got, _ := take(t, b, members, 100); got[1] != 100 {
		t.Errorf("beside 1000 requests of others: %v", got)
	}
}

func TestBoundedHashKeepsAKeyAndBoundsTheLoad(t *testing.T) {
	t.Parallel()
	members, _ := newMembers(5)
	b := NewLedger().New(Settings{Policy: BoundedHash{1.25}}, members)
	home := make(map[string]int)
	moved, loads := 0, make([]int, 5)
	const keys = 1000
	for k := range keys {
		key := fmt.Sprint("user-", k)
		i, _ := b.Acquire(new(Lease), Ask{Key: key})
		home[key] = i
		loads[i]++
		mean := float64(k+1) / 5
		if float64(loads[i]) > math.Ceil(1.25*mean) {
			t.Fatalf("after %d keys upstream %d holds %d", k+1, i, loads[i])
		}
	}
	again := NewLedger().New(Settings{Policy: BoundedHash{1.25}}, members)
	for k := range keys {
		key := fmt.Sprint("user-", k)
		if i, _ := again.Acquire(new(Lease), Ask{Key: key}); i != home[key] {
			moved++
		}
	}
	if moved != 0 {
		t.Errorf("%d of %d keys are elsewhere the second time", moved, keys)
	}
}

func TestBoundIsOfTheMembersThatAreThere(t *testing.T) {
	t.Parallel()
	members, _ := newMembers(3)
	b := NewLedger().New(Settings{Policy: BoundedHash{1}}, nil)
	for range 90 {
		b.AcquireFrom(new(Lease), Ask{Key: "one"}, members)
	}
	got := make([]int, 2)
	for range 20 { // the third is gone, and whoever is there still
		i, _ := b.AcquireFrom(new(Lease), Ask{Key: "one"}, members[:2])
		got[i]++
	}
	if !slices.Equal(got, []int{10, 10}) {
		t.Errorf("got %v, want each as many", got)
	}
}

func TestRemovingAnUpstreamMovesOnlyItsOwnKeys(t *testing.T) {
	t.Parallel()
	members, _ := newMembers(5)
	policy := BoundedHash{1e9}
	all := NewLedger().New(Settings{Policy: policy}, members)
	fewer := NewLedger().New(Settings{Policy: policy}, members[:4])
	for k := range 500 {
		key := fmt.Sprint("user-", k)
		before, _ := all.Acquire(new(Lease), Ask{Key: key})
		after, _ := fewer.Acquire(new(Lease), Ask{Key: key})
		if before != 4 && before != after {
			t.Fatalf("%s went from %d to %d", key, before, after)
		}
	}
}
