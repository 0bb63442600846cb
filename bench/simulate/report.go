package main

import (
	"fmt"
	"slices"
	"strings"
)

// result is what came of a scenario with one model.
type result struct {
	model          string
	imbalance      []float64 // of each second: the fullest host, for the mean
	emptiest       []float64 // of each second: the emptiest host, for the mean
	moved          int       // connections that were ended, other than by their clients
	peakReconnects int       // handshakes in a second
	peakAtOne      int       // handshakes in a second at one host

	peak, mean, end float64 // imbalance
	meanEmptiest    float64
}

func (r *result) finish() {
	r.peak = slices.Max(r.imbalance)
	r.mean = average(r.imbalance)
	r.meanEmptiest = average(r.emptiest)
	r.end = r.imbalance[len(r.imbalance)-1]
}

func average(values []float64) float64 {
	sum := 0.0
	for _, v := range values {
		sum += v
	}
	return sum / float64(len(values))
}

// table shows results in Markdown.
func table(results []result) string {
	var b strings.Builder
	b.WriteString("| | fullest, peak | on average | at the end | emptiest, on average | moved | reconnects/s, peak | at one host |\n")
	b.WriteString("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n")
	for _, r := range results {
		fmt.Fprintf(&b, "| %s | %.2f | %.2f | %.2f | %.2f | %d | %d | %d |\n",
			r.model, r.peak, r.mean, r.end, r.meanEmptiest, r.moved, r.peakReconnects, r.peakAtOne)
	}
	return b.String()
}
