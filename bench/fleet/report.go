package main

import (
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/wsgateway/caddy-ws-gateway/bench/svg"
)

// figures are what a phase comes to.
type figures struct {
	handshakes       float64 // a second
	over, overUsers  int
	unused           float64 // on average, while somebody was refused
	p50, p99         time.Duration
	longest          time.Duration
	scripts, inside  float64 // a second; inside are the commands of scripts, and all others
	processor, bytes float64
	live             int // in the end
}

func (st *story) figures(p phase) (f figures) {
	samples := st.world.samples[p.from:p.to]
	p50s, p99s := make([]time.Duration, 0, len(samples)), make([]time.Duration, 0, len(samples))
	refusing := 0
	for _, s := range samples {
		f.handshakes += float64(s.handshakes) / p.lasted
		f.over, f.overUsers = max(f.over, s.over), max(f.overUsers, s.overUsers)
		f.longest = max(f.longest, s.longest)
		p50s, p99s = append(p50s, s.p50), append(p99s, s.p99)
		if s.refused > 0 {
			refusing++
			f.unused += s.unused(st.world.caps.Connections)
		}
		f.live = s.live
	}
	f.unused /= max(1, float64(refusing))
	slices.Sort(p50s)
	slices.Sort(p99s)
	f.p50, f.p99 = quantile(p50s, 0.5), quantile(p99s, 0.5)
	f.scripts = (p.after.scripts - p.before.scripts) / p.lasted
	f.inside = (p.after.commands - p.before.commands) / p.lasted
	f.processor = (p.after.cpu - p.before.cpu) / p.lasted
	f.bytes = p.after.bytes - st.empty.bytes
	return f
}

// table is a row for each phase, as Markdown.
func (st *story) table() string {
	var b strings.Builder
	w := st.world
	fmt.Fprintf(&b, "%d nodes, %d connections, %d of a user and of an address, %d handshakes a second for %d users, heartbeat %v, timeout %v\n\n",
		w.settings.nodes, w.caps.Connections, w.caps.PerUser, w.settings.rate, len(w.users), w.settings.heartbeat, w.settings.timeout)
	b.WriteString("| phase | s | handshakes/s | live | over the cap | over a user's | unused | added p50 ms | p99 | longest | scripts/s | commands/s in them | Redis CPU | bytes in Redis |\n" +
		"| --- " + strings.Repeat("| ---: ", 13) + "|\n")
	for _, p := range st.phases {
		f := st.figures(p)
		fmt.Fprintf(&b, "| %s | %.1f | %.0f | %d | %d | %d | %.1f %% | %s | %s | %s | %s | %s | %s | %s |\n", p.name, p.lasted, f.handshakes, f.live,
			f.over, f.overUsers, f.unused*100, millis(f.p50), millis(f.p99), millis(f.longest),
			number(f.scripts), number(f.inside), number(f.processor*100)+" %", number(f.bytes))
	}
	b.WriteString("\nAdded are the times that handshakes spend on the fleet; p50 and p99 are the medians of those of stretches of 200 ms.\n")
	return b.String()
}

func millis(d time.Duration) string { return fmt.Sprintf("%.2f", float64(d)/float64(time.Millisecond)) }

// number is one as text, or nothing where it is not known.
func number(v float64) string {
	if math.IsNaN(v) {
		return "–"
	}
	return fmt.Sprintf("%.0f", v)
}

// plot draws the connections and the added latency over time.
func (st *story) plot(dir string) error {
	w := st.world
	live, limit := svg.Line{Name: "live"}, svg.Line{Name: "the cap"}
	p50, p99 := svg.Line{Name: "p50"}, svg.Line{Name: "p99"}
	for _, s := range w.samples {
		for line, y := range map[*svg.Line]float64{
			&live: float64(s.live), &limit: float64(w.caps.Connections),
			&p50: float64(s.p50) / float64(time.Millisecond), &p99: float64(s.p99) / float64(time.Millisecond),
		} {
			line.X, line.Y = append(line.X, s.at), append(line.Y, y)
		}
	}
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return err
	}
	return errors.Join(
		write(dir, "fleet-connections.svg", svg.Plot{Title: "Connections of a fleet under a cap", XLabel: "seconds", YLabel: "connections", Lines: []svg.Line{live, limit}}),
		write(dir, "fleet-latency.svg", svg.Plot{Title: "What a fleet adds to a handshake", XLabel: "seconds", YLabel: "milliseconds", Lines: []svg.Line{p50, p99}}),
	)
}

func write(dir, name string, p svg.Plot) error {
	return os.WriteFile(filepath.Join(dir, name), []byte(p.SVG()), 0o600)
}

// verdict is an error where a cap was exceeded although Redis was there all the time and
// was in time.
func (st *story) verdict() error {
	for _, p := range st.phases[:min(4, len(st.phases))] {
		if f := st.figures(p); (f.over > 0 || f.overUsers > 0) && f.longest < st.world.settings.timeout {
			return fmt.Errorf("%s: a cap was exceeded, by %d of all and %d of a user", p.name, f.over, f.overUsers)
		}
	}
	last := st.figures(st.phases[len(st.phases)-1])
	if last.live < st.world.caps.Connections/2 {
		return fmt.Errorf("only %d connections are left in the end", last.live)
	}
	return nil
}
