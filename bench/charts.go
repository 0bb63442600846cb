//go:build linux

package main

import (
	"fmt"

	"github.com/wsgateway/caddy-ws-gateway/bench/svg"
)

// charts draws the report; the result is files by their names.
func (r *report) charts(tested []scenario) map[string]string {
	files := make(map[string]string)
	for _, transport := range r.transports() {
		names := r.names(transport)
		base := floorOf(transport)
		r.chart(files, "cpu", svg.Chart{
			Title: "CPU per message over " + transport, Label: "÷ " + base, Series: names, Clip: 4, Mark: 1, Digits: 2,
			Groups: groups(tested, names, func(s scenario, name string) span { return r.ratio(transport, s.name, "CPU", name, base) }),
		}, transport)
		for _, metric := range []string{"p50", "p99"} {
			r.chart(files, "latency-"+metric, svg.Chart{
				Title: "Latency over " + transport + ", " + metric, Label: "µs", Series: names,
				Groups: groups(tested, names, func(s scenario, name string) span { return r.of(transport, s.name, metric, name) }),
			}, transport)
		}
		memory := svg.Chart{Title: "Resident memory per quiet connection over " + transport, Label: "KiB", Series: names, Digits: 1}
		for _, metric := range []string{"RSS", "RSS after burst"} {
			title := map[string]string{"RSS": "quiet", "RSS after burst": "after a burst"}[metric]
			memory.Groups = append(memory.Groups, group(title, names, func(name string) span { return r.of(transport, "idle", metric, name) }))
		}
		r.chart(files, "memory", memory, transport)
		r.growthPlots(files, transport, names)
	}
	return files
}

// chart draws what has bars.
func (r *report) chart(files map[string]string, kind string, c svg.Chart, transport string) {
	var kept []svg.Group
	for _, g := range c.Groups {
		if len(g.Bars) > 0 {
			kept = append(kept, g)
		}
	}
	if c.Groups = kept; len(kept) > 0 {
		files[kind+"-"+transport+".svg"] = c.SVG()
	}
}

func groups(tested []scenario, names []string, value func(s scenario, name string) span) []svg.Group {
	var list []svg.Group
	for _, s := range tested {
		if firstWord(s.name) != "growth" {
			list = append(list, group(s.name, names, func(name string) span { return value(s, name) }))
		}
	}
	return list
}

func group(title string, names []string, value func(name string) span) svg.Group {
	g := svg.Group{Name: title}
	for i, name := range names {
		if s := value(name); s.n > 0 {
			g.Bars = append(g.Bars, svg.Bar{Series: i, Value: s.median, Low: s.low, Top: s.high})
		}
	}
	return g
}

func (r *report) growthPlots(files map[string]string, transport string, names []string) {
	for _, m := range []struct{ metric, file, label string }{
		{"CPU", "growth-cpu", "CPU per message, µs"}, {"RSS", "growth-memory", "resident per connection, KiB"},
	} {
		p := svg.Plot{Title: "Growth over " + transport, XLabel: "connections", YLabel: m.label}
		for _, name := range names {
			l := svg.Line{Name: name}
			for _, n := range r.growthSteps(transport) {
				if s := r.of(transport, fmt.Sprintf("growth %d", n), m.metric, name); s.n > 0 {
					l.X, l.Y = append(l.X, float64(n)), append(l.Y, max(0, s.median))
				}
			}
			if len(l.X) > 1 {
				p.Lines = append(p.Lines, l)
			}
		}
		if len(p.Lines) > 0 {
			files[m.file+"-"+transport+".svg"] = p.SVG()
		}
	}
}
