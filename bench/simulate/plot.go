package main

import (
	"slices"

	"github.com/wsgateway/caddy-ws-gateway/bench/svg"
)

const plotPoints = 400 // at most, of a line

// plot draws the imbalance over time as SVG.
func plot(title string, results []result) string {
	p := svg.Plot{Title: title, XLabel: "minutes", YLabel: "fullest host / mean", Lowest: 1}
	for _, r := range results {
		p.Lines = append(p.Lines, line(r))
	}
	return p.SVG()
}

// line shows the highest value of each stretch, so that no peak is lost.
func line(r result) svg.Line {
	l := svg.Line{Name: r.model}
	stretch := max(1, (len(r.imbalance)+plotPoints-1)/plotPoints)
	for from := 0; from < len(r.imbalance); from += stretch {
		l.X = append(l.X, float64(from)/60)
		l.Y = append(l.Y, slices.Max(r.imbalance[from:min(from+stretch, len(r.imbalance))]))
	}
	return l
}
