//go:build linux

package main

import "testing"

func TestRatiosAreOfARound(t *testing.T) {
	t.Parallel()
	var p pairs
	for _, round := range [][2]float64{{10, 11}, {20, 22}, {40, 44}} {
		p.add(limited, round[1])
		p.add(unlimited, round[0])
	}
	if got, want := p.ratio().median, 1.1; got != want {
		t.Errorf("ratio %g, want %g", got, want)
	}
	if got, want := p.difference().median, 2.0; got != want {
		t.Errorf("difference %g, want %g", got, want)
	}
	if first, second := inTurns(0, unlimited, limited), inTurns(1, unlimited, limited); first[0].name != "off" || second[0].name != "on" {
		t.Errorf("the turns are %s and %s first", first[0].name, second[0].name)
	}
}
