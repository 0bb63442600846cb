package main

import (
	"encoding/xml"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var small = settings{
	clients: 1000, hosts: 5, seed: 1, lifetime: time.Hour, latency: 50 * time.Millisecond,
	drain: 30 * time.Second, slowStart: 30 * time.Second, rebalance: 10,
}

// TestRebalanceEndsEveryScenarioEven with a small fleet, and nobody else is more
// even than that.
func TestRebalanceEndsEveryScenarioEven(t *testing.T) {
	t.Parallel()
	for _, sc := range scenarios {
		t.Run(sc.name, func(t *testing.T) {
			t.Parallel()
			ends := map[string]float64{}
			for _, r := range play(small, sc) {
				ends[r.model] = r.end
			}
			ours, there := ends["ours, with rebalance"]
			if !there || ours > 1.02 {
				t.Errorf("ours, with rebalance, ends at %.3f of the mean (%t), want 1", ours, there)
			}
			for model, end := range ends {
				if end < ours-0.01 {
					t.Errorf("%s ends at %.3f, ours at %.3f", model, end, ours)
				}
			}
		})
	}
}

func TestPlotsAreWrittenAndWellFormed(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := run(small, dir); err != nil {
		t.Fatal(err)
	}
	for _, sc := range scenarios {
		plot, err := os.ReadFile(filepath.Join(dir, sc.name+".svg"))
		if err != nil {
			t.Fatal(err)
		}
		d := xml.NewDecoder(strings.NewReader(string(plot)))
		for err == nil {
			_, err = d.Token()
		}
		if err != io.EOF || !strings.Contains(string(plot), sc.title) { //nolint:errorlint // as the decoder returns it
			t.Errorf("%s: %v", sc.name, err)
		}
	}
}
