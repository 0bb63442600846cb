//go:build linux

package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"
)

const (
	openingPeers = nameFloor + "," + nameGateway + "," + nameCaddy + "," + nameNginx + ",haproxy"

	openedQuiet = 9500 // connections
	comeAtOnce  = 5000 // clients, while others are echoing

	// calm is how long connections echo before others come, and how long they may be
	// late after that.
	calm = 3 * time.Second
	late = time.Second
)

// lookAfter is when to look at the memory of connections that were opened at once.
var lookAfter = []time.Duration{2 * time.Second, 10 * time.Second, 30 * time.Second}

// echoing is what the connections do that are open already.
var echoing = traffic{conns: 200, size: 32, rate: 2000}

// measureOpening measures what many connections leave behind that were opened at once,
// and what opening them does to connections that are there.
func (b *bench) measureOpening(ctx context.Context) error {
	b.peers = cmp.Or(b.peers, openingPeers)
	if err := b.prepare(ctx); err != nil {
		return err
	}
	defer os.RemoveAll(b.workshop.dir)
	defer b.backend.stop()
	tested := []scenario{{name: "idle opened fast", do: leftBehind}, {name: "idle opened at once", do: leftByCrowd}, {name: "storm amid echoes", do: amidCrowd}}
	tested = slices.DeleteFunc(tested, func(s scenario) bool { return !listed(b.scenarios, firstWord(s.name)) })
	b.tested = tested
	for round := range b.rounds {
		if err := b.playRound(ctx, round); err != nil {
			return err
		}
		b.say("round %d of %d is over", round+1, b.rounds)
	}
	fmt.Print(b.openingReport())
	if len(b.report.Failures) > 0 {
		return errors.New(strings.Join(b.report.Failures, "\n"))
	}
	return nil
}

// leftBehind looks at the memory of quiet connections that were opened as fast as they
// come in, 32 at a time.
func leftBehind(b *bench, s *subject) error {
	before, err := b.warmUp(s)
	if err != nil {
		return err
	}
	links, err := s.client.dialMany(min(openedQuiet, b.most()), "/")
	if err != nil {
		return err
	}
	defer closeAll(links)
	b.lookAtMemory(s, before, len(links))
	return nil
}

// leftByCrowd is leftBehind where all clients come at once.
func leftByCrowd(b *bench, s *subject) error {
	before, err := b.warmUp(s)
	if err != nil {
		return err
	}
	clients, err := b.gather(s, min(openedQuiet, b.most()))
	if err != nil {
		return err
	}
	defer func() { _ = clients.leave() }()
	report, err := clients.come()
	if err != nil {
		return err
	}
	b.lookAtMemory(s, before, len(report.Waits))
	return nil
}

// warmUp opens and closes connections, and returns what is resident then.
func (b *bench) warmUp(s *subject) (before float64, err error) {
	_, err = s.client.storm(32, window{b.settle / 3, 0, func() {}, func() {}})
	time.Sleep(b.settle / 3)
	return rss(s.pid), err
}

func (b *bench) lookAtMemory(s *subject, before float64, n int) {
	opened := time.Now()
	for _, after := range lookAfter {
		time.Sleep(time.Until(opened.Add(after)))
		b.note(s, "RSS "+after.String(), (rss(s.pid)-before)/float64(n))
	}
}

func (b *bench) gather(s *subject, n int) (*crowd, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	return gather(self, crowdOrder{s.client.addr, s.client.tls != nil, s.client.open, n})
}

// amidCrowd has clients come while connections echo.
func amidCrowd(b *bench, s *subject) error {
	clients, err := b.gather(s, min(comeAtOnce, b.most()-echoing.conns))
	if err != nil {
		return err
	}
	defer func() { _ = clients.leave() }()
	live, err := s.client.keepEchoing(echoing)
	if err != nil {
		return err
	}
	time.Sleep(b.warm + calm)
	pids := tree(s.pid)
	used, came := cpu(pids...), time.Now()
	report, err := clients.come()
	through := time.Now()
	used = cpu(pids...) - used
	time.Sleep(late)
	if err := errors.Join(err, live.stop()); err != nil {
		return err
	}
	before, during := live.between(came.Add(-calm), came), live.between(came, through)
	for _, q := range []struct {
		name  string
		share int
	}{{"p50", 50}, {"p99", 99}} {
		was, is := of(before, q.share), of(during, q.share)
		b.note(s, "calm "+q.name, float64(was)/1e6)
		b.note(s, "echo "+q.name, float64(is)/1e6)
		b.note(s, "slower "+q.name, float64(is)/float64(was))
		b.note(s, "wait "+q.name, of(report.Waits, q.share).Seconds()*1e3)
	}
	b.note(s, "echo max", float64(of(during, 100))/1e6)
	b.note(s, "wait max", of(report.Waits, 100).Seconds()*1e3)
	b.note(s, "CPU", float64(used.Microseconds())/float64(len(report.Waits)))
	return nil
}

// of is a percentile of what is sorted.
func of[T any](sorted []T, percent int) (value T) {
	if len(sorted) == 0 {
		return value
	}
	return sorted[min(len(sorted)*percent/100, len(sorted)-1)]
}

func (b *bench) openingReport() string {
	r := &b.report
	var w strings.Builder
	fmt.Fprintf(&w, "%s, %d rounds\n", r.Machine, b.rounds)
	for _, v := range r.Versions {
		fmt.Fprintf(&w, "\n- %s", v)
	}
	w.WriteString("\n")
	for _, transport := range r.transports() {
		names := r.names(transport)
		list := func(scenario string, metrics ...[2]string) (rows []row) {
			for _, m := range metrics {
				line := row{name: m[1]}
				for _, name := range names {
					line.cells = append(line.cells, r.of(transport, scenario, m[0], name).String())
				}
				rows = append(rows, line)
			}
			return rows
		}
		memory := make([][2]string, 0, len(lookAfter))
		for _, after := range lookAfter {
			memory = append(memory, [2]string{"RSS " + after.String(), after.String() + " after"})
		}
		n := min(openedQuiet, b.most())
		table(&w, "KiB a quiet connection over "+transport, fmt.Sprintf("%d were opened, 32 at a time.", n), names, list("idle opened fast", memory...))
		table(&w, "The same, all opened at once", "", names, list("idle opened at once", memory...))
		table(&w, "Clients who come at once over "+transport,
			fmt.Sprintf("%d clients, while %d connections echo %d messages a second.", min(comeAtOnce, b.most()-echoing.conns), echoing.conns, echoing.rate),
			names, list("storm amid echoes",
				[2]string{"calm p50", "echo p50 before, ms"}, [2]string{"calm p99", "echo p99 before, ms"},
				[2]string{"echo p50", "echo p50 meanwhile, ms"}, [2]string{"echo p99", "echo p99 meanwhile, ms"}, [2]string{"echo max", "echo at most meanwhile, ms"},
				[2]string{"slower p50", "p50 ÷ before"}, [2]string{"slower p99", "p99 ÷ before"},
				[2]string{"wait p50", "handshake p50, ms"}, [2]string{"wait p99", "handshake p99, ms"}, [2]string{"wait max", "the last handshake, ms"},
				[2]string{"CPU", "CPU a handshake, echoes included, µs"}))
	}
	return w.String()
}
