//go:build linux

package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// sample is one figure of one round.
type sample struct {
	Transport, Scenario, Metric, Peer string
	Round                             int
	Value                             float64
}

// report is what a run found, and how.
type report struct {
	Machine  string
	Date     string
	Took     string
	Rounds   int
	Settings string
	Versions []string
	Missing  []string `json:",omitempty"`
	Failures []string `json:",omitempty"`
	Notes    []string `json:",omitempty"`
	Samples  []sample
}

func (b *bench) describe() {
	b.report.Machine = machine()
	b.report.Date = time.Now().UTC().Format(time.DateOnly)
	b.report.Missing = b.missing
	b.report.Settings = fmt.Sprintf("%s measured of each scenario after %s of warming up, %d quiet connections; ",
		b.length, b.warm, min(b.idle, b.most()))
	if b.logs {
		b.report.Settings += "every proxy logs its connections to a file."
	} else {
		b.report.Settings += "no proxy logs its connections."
	}
	for _, p := range b.chosen {
		b.report.Versions = append(b.report.Versions, fmt.Sprintf("%s: %s (%s)", p.name, p.what, p.version(&b.workshop)))
	}
}

func (b *bench) note(s *subject, metric string, value float64) {
	b.report.Samples = append(b.report.Samples, sample{s.transport, s.scenario.name, metric, s.peer.name, s.round, value})
	if metric == "CPU" || strings.HasPrefix(metric, "RSS") || metric == "p50" || metric == "p99" {
		b.say("%-4s %-12s %-16s %-14s %10.2f", s.transport, s.scenario.name, metric, s.peer.name, value)
	}
}

// publish prints the report, and writes it and its plots where it should.
func (b *bench) publish() error {
	text := b.report.markdown(b.tested)
	fmt.Print(text)
	if b.out == "" {
		return nil
	}
	raw, err := json.MarshalIndent(b.report, "", " ")
	if err != nil {
		return err
	}
	files := b.report.charts(b.tested)
	files["results.md"], files["results.json"] = text, string(raw)+"\n"
	return b.write(files)
}

// write writes files by their names, where there is a folder for them.
func (b *bench) write(files map[string]string) error {
	if b.out == "" {
		return nil
	}
	if err := os.MkdirAll(b.out, 0o750); err != nil {
		return err
	}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(b.out, name), []byte(content), 0o644); err != nil { //nolint:gosec // for everybody to read
			return err
		}
	}
	return nil
}

// span is a median and what it is the median of.
type span struct {
	median, low, high float64
	n                 int
}

func spanOf(values []float64) span {
	if len(values) == 0 {
		return span{}
	}
	sorted := slices.Sorted(slices.Values(values))
	n := len(sorted)
	return span{(sorted[(n-1)/2] + sorted[n/2]) / 2, sorted[0], sorted[n-1], n}
}

func (s span) String() string {
	switch s.n {
	case 0:
		return "—"
	case 1:
		return figure(s.median)
	}
	return fmt.Sprintf("%s (%s–%s)", figure(s.median), figure(s.low), figure(s.high))
}

func figure(v float64) string {
	switch {
	case v < 0.005 && v > -0.005:
		return "0"
	case v < 9.995:
		return fmt.Sprintf("%.2f", v)
	case v < 99.95:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.0f", v)
}

// of is a figure over all rounds.
func (r *report) of(transport, scenario, metric, peer string) span {
	var values []float64
	for _, s := range r.Samples {
		if s.Transport == transport && s.Scenario == scenario && s.Metric == metric && s.Peer == peer {
			values = append(values, s.Value)
		}
	}
	return spanOf(values)
}

// ratio compares two peers within each round.
func (r *report) ratio(transport, scenario, metric, peer, base string) span {
	bases := make(map[int]float64)
	for _, s := range r.Samples {
		if s.Transport == transport && s.Scenario == scenario && s.Metric == metric && s.Peer == base {
			bases[s.Round] = s.Value
		}
	}
	var values []float64
	for _, s := range r.Samples {
		if s.Transport == transport && s.Scenario == scenario && s.Metric == metric && s.Peer == peer && bases[s.Round] > 0 {
			values = append(values, s.Value/bases[s.Round])
		}
	}
	return spanOf(values)
}

// names lists the peers that have figures of a transport, in their usual order.
func (r *report) names(transport string) []string {
	var names []string
	for _, p := range peers() {
		has := func(s sample) bool { return s.Transport == transport && s.Peer == p.name }
		if slices.ContainsFunc(r.Samples, has) {
			names = append(names, p.name)
		}
	}
	return names
}

func (r *report) transports() []string {
	var list []string
	for _, s := range r.Samples {
		if !slices.Contains(list, s.Transport) {
			list = append(list, s.Transport)
		}
	}
	slices.Sort(list)
	return list
}

// floorOf is what a transport's costs are compared with.
func floorOf(transport string) string {
	if transport == "wss" {
		return nameRelay
	}
	return nameFloor
}

// growthSteps are the numbers of connections that growth was measured with.
func (r *report) growthSteps(transport string) []int {
	var steps []int
	for _, s := range r.Samples {
		text, ok := strings.CutPrefix(s.Scenario, "growth ")
		if n, err := strconv.Atoi(text); ok && err == nil && s.Transport == transport && !slices.Contains(steps, n) {
			steps = append(steps, n)
		}
	}
	slices.Sort(steps)
	return steps
}
