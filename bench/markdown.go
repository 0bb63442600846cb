//go:build linux

package main

import (
	"fmt"
	"strings"
)

// row is a line of a table: a name and a cell for each column, "" where there
// is nothing.
type row struct {
	name  string
	cells []string
}

// table writes rows that have something in them.
func table(b *strings.Builder, title, intro string, columns []string, rows []row) {
	var kept []row
	for _, r := range rows {
		if strings.Trim(strings.Join(r.cells, ""), "—") != "" {
			kept = append(kept, r)
		}
	}
	if len(kept) == 0 {
		return
	}
	fmt.Fprintf(b, "\n### %s\n\n", title)
	if intro != "" {
		fmt.Fprintf(b, "%s\n\n", intro)
	}
	fmt.Fprintf(b, "| | %s |\n| ---%s |\n", strings.Join(columns, " | "), strings.Repeat(" | ---:", len(columns)))
	for _, r := range kept {
		fmt.Fprintf(b, "| %s | %s |\n", r.name, strings.Join(r.cells, " | "))
	}
}

// markdown is the whole report.
func (r *report) markdown(tested []scenario) string {
	var b strings.Builder
	fmt.Fprintf(&b, "# Results of the benchmark\n\nOn %s, %s, %d rounds in %s; %s\n\n", r.Date, r.Machine, r.Rounds, r.Took, r.Settings)
	b.WriteString("Figures are medians, with the lowest and the highest of the rounds; ratios are those within a round.\n\n")
	for _, v := range r.Versions {
		fmt.Fprintf(&b, "- %s\n", v)
	}
	for title, list := range map[string][]string{"Missing": r.Missing, "Failed": r.Failures} {
		for _, line := range list {
			fmt.Fprintf(&b, "- **%s**: %s\n", title, line)
		}
	}
	for _, note := range r.Notes {
		fmt.Fprintf(&b, "\n%s\n", note)
	}
	b.WriteString("\nThe scenarios:\n\n")
	for _, s := range tested {
		fmt.Fprintf(&b, "- %s: %s\n", s.name, s.what)
	}
	for _, transport := range r.transports() {
		names := r.names(transport)
		fmt.Fprintf(&b, "\n## %s\n", transport)
		r.writeCPU(&b, transport, names, tested)
		r.writeMemory(&b, transport, names)
		r.writeGrowth(&b, transport, names)
		r.writeLoad(&b, transport, names, tested)
	}
	return b.String()
}

// rows makes one for each scenario, with a cell for each name.
func rows(tested []scenario, names []string, cell func(s scenario, name string) string) []row {
	var list []row
	for _, s := range tested {
		if firstWord(s.name) == "growth" {
			continue
		}
		r := row{name: s.name}
		for _, name := range names {
			r.cells = append(r.cells, cell(s, name))
		}
		list = append(list, r)
	}
	return list
}

func (r *report) writeCPU(b *strings.Builder, transport string, names []string, tested []scenario) {
	table(b, "CPU per message, in µs", "In the storms, per connection.", names, rows(tested, names, func(s scenario, name string) string {
		return r.of(transport, s.name, "CPU", name).String()
	}))
	base := floorOf(transport)
	table(b, "CPU ÷ "+base, "", names, rows(tested, names, func(s scenario, name string) string {
		return r.ratio(transport, s.name, "CPU", name, base).String()
	}))
	against := without(names, nameGateway)
	table(b, "CPU of "+nameGateway+" ÷ that of", "", against, rows(tested, against, func(s scenario, name string) string {
		return r.ratio(transport, s.name, "CPU", nameGateway, name).String()
	}))
	table(b, "Latency, in µs: p50, p99", "From when a message was due until it was there.", names, rows(tested, names, func(s scenario, name string) string {
		half := r.of(transport, s.name, "p50", name)
		if half.n == 0 {
			return "—"
		}
		return fmt.Sprintf("%s, %s", half, r.of(transport, s.name, "p99", name))
	}))
}

func (r *report) writeMemory(b *strings.Builder, transport string, names []string) {
	metrics := []struct{ metric, name string }{
		{"RSS", "resident, quiet"}, {"RSS after burst", "resident, after a burst"},
		{"sockets", "buffers in the kernel, quiet"}, {"sockets after burst", "buffers in the kernel, after a burst"},
	}
	list := make([]row, 0, len(metrics))
	for _, m := range metrics {
		line := row{name: m.name}
		for _, name := range names {
			line.cells = append(line.cells, r.of(transport, "idle", m.metric, name).String())
		}
		list = append(list, line)
	}
	table(b, "Memory per quiet connection, in KiB", "", names, list)
}

func (r *report) writeGrowth(b *strings.Builder, transport string, names []string) {
	steps := r.growthSteps(transport)
	for _, m := range []struct{ metric, title string }{
		{"CPU", "Growth: CPU per message, in µs"}, {"RSS", "Growth: resident memory per quiet connection, in KiB"},
	} {
		list := make([]row, 0, len(steps))
		for _, n := range steps {
			line := row{name: fmt.Sprintf("%d connections", n)}
			for _, name := range names {
				line.cells = append(line.cells, r.of(transport, fmt.Sprintf("growth %d", n), m.metric, name).String())
			}
			list = append(list, line)
		}
		table(b, m.title, "", names, list)
	}
}

// writeLoad shows what the machine was busy with.
func (r *report) writeLoad(b *strings.Builder, transport string, names []string, tested []scenario) {
	intro := "Messages (in the storms, connections) a second; and how many cores the proxy, the load generator and the backend used."
	table(b, "Throughput", intro, names, rows(tested, names, func(s scenario, name string) string {
		rate := r.of(transport, s.name, "rate", name)
		if rate.n == 0 {
			return "—"
		}
		return fmt.Sprintf("%.0f; %.2f, %.2f, %.2f", rate.median, r.of(transport, s.name, "proxy's cores", name).median,
			r.of(transport, s.name, "generator's cores", name).median, r.of(transport, s.name, "backend's cores", name).median)
	}))
}

func without(names []string, one string) []string {
	var rest []string
	for _, name := range names {
		if name != one {
			rest = append(rest, name)
		}
	}
	return rest
}
