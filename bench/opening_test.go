//go:build linux

package main

import (
	"slices"
	"testing"
	"time"
)

func TestEchoesCountByWhenTheyWereDue(t *testing.T) {
	t.Parallel()
	came := time.Unix(100, 0)
	at := func(d time.Duration) int64 { return came.Add(d).UnixNano() }
	r := &regulars{echoes: [][]echoed{
		{{at(-1), 7}, {at(0), int64(time.Hour)}},
		{{at(1), 3}, {at(time.Second), 9}},
	}}
	if got, want := r.between(came, came.Add(time.Second)), []int64{3, int64(time.Hour)}; !slices.Equal(got, want) {
		t.Errorf("echoes took %v, want %v", got, want)
	}
}

func TestPercentilesAreOfWhatThereIs(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		sorted  []int
		percent int
		want    int
	}{
		{nil, 50, 0},
		{[]int{5}, 99, 5},
		{[]int{1, 2, 3, 4}, 50, 3},
		{[]int{1, 2, 3, 4}, 100, 4},
	} {
		if got := of(test.sorted, test.percent); got != test.want {
			t.Errorf("percentile %d of %v is %d, want %d", test.percent, test.sorted, got, test.want)
		}
	}
}
