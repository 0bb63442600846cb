//go:build linux

package main

import (
	"math"
	"strings"
	"testing"
	"time"
)

func TestSlopeIsThatOfTheLine(t *testing.T) {
	t.Parallel()
	var rising, flat []held
	for i := range 50 {
		at := time.Duration(i) * stalledLook
		noise := float64(i%2) - 0.5
		rising = append(rising, held{at: at, rss: 100 + 3*at.Seconds() + noise})
		flat = append(flat, held{at: at, rss: 100 + noise})
	}
	if got := slopeOf(rising); math.Abs(got-3) > 0.1 {
		t.Errorf("rising by 3: %g", got)
	}
	if got := slopeOf(flat); math.Abs(got) > 0.1 {
		t.Errorf("flat: %g", got)
	}
	if got := slopeOf(nil); got != 0 {
		t.Errorf("nothing: %g", got)
	}
}

func TestStalledRowNamesEnds(t *testing.T) {
	t.Parallel()
	looks := []held{{rss: 10}, {at: time.Second, rss: 30, sockets: 7}, {at: 2 * time.Second, rss: 20}}
	row := stalledRow("64MiB", looks, map[string]float64{
		`{by="gateway",code="1013",gateway="default"}`: 5, `{by="client",code="1000",gateway="default"}`: 2,
	})
	if want := "| 64MiB | 10.0 | 30.0 | 20.0 | -10.000 | 7.0 | 5 by the gateway with 1013 |"; row != want {
		t.Errorf("got  %s\nwant %s", row, want)
	}
	if row := stalledRow("", looks, nil); !strings.HasSuffix(row, "| none |") {
		t.Errorf("no ends: %s", row)
	}
}
