package main

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
)

// tally counts what happened under chaos.
type tally struct {
	mu       sync.Mutex // guards what follows
	counts   map[string]map[string]int
	sent     int64
	echoed   int64
	pushed   int64
	inOrder  map[string]counted // connections that were closed in order, by what the gateway calls them
	wrongs   []finding
	findings int // that cannot be late
	late     int
	led      int // connections
}

// finding is something that must not happen, and on which connection, if on one. On a
// busy machine, some may for want of time; but not many.
type finding struct {
	Connection, Text string
	Late             bool
}

// counted is what a client counted on a connection.
type counted struct {
	life
	sent, heard uint64
}

func newTally() tally {
	return tally{counts: make(map[string]map[string]int), inOrder: make(map[string]counted)}
}

func (t *tally) add(what, which string, n int) {
	if t.counts[what] == nil {
		t.counts[what] = make(map[string]int)
	}
	t.counts[what][which] += n
}

func (t *tally) count(what, which string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.add(what, which, 1)
}

// note takes down a connection.
func (t *tally) note(a *caller, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.led++
	t.sent += a.sent.Load()
	t.echoed += a.echoed.Load()
	t.pushed += int64(a.pushed)
	t.add("connections over", a.Carrier, 1)
	t.add("ended", a.how(), 1)
	if a.Client != none {
		t.add("the client", string(a.Client), 1)
	}
	if a.Upstream != none {
		t.add("the upstream", string(a.Upstream), 1)
	}
	if f := a.closed; err == nil && f != nil && f.code() == 1000 && a.connection != "" {
		t.inOrder[a.connection] = counted{a.life, uint64(a.sent.Load()), uint64(a.echoed.Load()) + uint64(a.pushed) + 1}
	}
}

// wrong takes down what must not happen.
func (t *tally) wrong(f finding) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if f.Late {
		t.late++
	} else {
		t.findings++
	}
	if len(t.wrongs) < shownWrongs {
		t.wrongs = append(t.wrongs, f)
	}
}

// String is the table.
func (t *tally) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	var b strings.Builder
	for _, what := range slices.Sorted(maps.Keys(t.counts)) {
		for i, which := range slices.Sorted(maps.Keys(t.counts[what])) {
			name := what
			if i > 0 {
				name = ""
			}
			fmt.Fprintf(&b, "%-20s %-28s %8d\n", name, which, t.counts[what][which])
		}
	}
	for _, row := range []struct {
		which string
		n     int64
	}{{"sent by clients", t.sent}, {"and echoed", t.echoed}, {"sent by upstreams", t.pushed}} {
		fmt.Fprintf(&b, "%-20s %-28s %8d\n", "messages", row.which, row.n)
	}
	fmt.Fprintf(&b, "%-20s %-28s %8d\n", "out of time", "", t.late)
	return b.String()
}

// verdict is an error if anything went wrong, with what the gateway has logged of it.
func (t *tally) verdict(log string) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.findings == 0 && float64(t.late) <= mayBeLate*float64(t.led) {
		return nil
	}
	var b strings.Builder
	lines, _ := os.ReadFile(log) //nolint:gosec // a name of our own
	for _, f := range t.wrongs {
		fmt.Fprintf(&b, "\n%s\n", f.Text)
		for line := range strings.Lines(string(lines)) {
			if f.Connection != "" && strings.Contains(line, f.Connection) {
				fmt.Fprintf(&b, "\t%s", line)
			}
		}
	}
	return fmt.Errorf("%d went wrong, and %d ran out of time:%s", t.findings, t.late, b.String())
}
