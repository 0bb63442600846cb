//go:build linux

package main

import "testing"

func TestRatiosAreOfARound(t *testing.T) {
	t.Parallel()
	var p pairs
	for _, round := range [][2]float64{{10, 11}, {20, 22}, {40, 44}} {
		p.add(limits.on, round[1])
		p.add(limits.off, round[0])
	}
	if got, want := p.ratio().median, 1.1; got != want {
		t.Errorf("ratio %g, want %g", got, want)
	}
	if got, want := p.difference().median, 2.0; got != want {
		t.Errorf("difference %g, want %g", got, want)
	}
	if first, second := limits.inTurns(0), limits.inTurns(1); first[0].on || !second[0].on {
		t.Errorf("the turns are %s and %s first", first[0], second[0])
	}
}
