//go:build linux

package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/wsgateway/caddy-ws-gateway/bench/svg"
)

// look is what was seen at a time.
type look struct {
	at                     time.Duration
	live, opened, messages int64
	rss, heap              float64 // MiB; heap is what is live after a collection
	files                  int
}

func (l look) String() string {
	return fmt.Sprintf("| %.1f | %d | %d | %d | %.1f | %.1f | %d |", l.at.Minutes(), l.live, l.opened, l.messages, l.rss, l.heap, l.files)
}

// look asks the gateway's process what it holds.
func (s *soak) look(at time.Duration) (look, error) {
	l := look{
		at: at, live: s.live.Load(), opened: s.opened.Load(), messages: s.messages.Load(),
		rss: rss(s.gateway.pid()) / 1024, files: descriptors(s.gateway.pid()),
	}
	heap, err := s.gateway.heap()
	l.heap = heap / (1 << 20)
	return l, err
}

// again reloads the configuration, with something in it changed.
func (s *soak) again() {
	s.reloads++
	s.gateway.setup.Generation = s.reloads
	if err := s.gateway.reload(); err != nil {
		s.complain(fmt.Errorf("reloading: %w", err))
	}
}

// settle waits until the descriptors of what has ended are closed.
func (s *soak) settle(first look) (look, error) {
	for until := time.Now().Add(15 * time.Second); time.Now().Before(until) && descriptors(s.gateway.pid()) > first.files; {
		time.Sleep(100 * time.Millisecond)
	}
	last, err := s.look(s.soak)
	fmt.Println(last)
	return last, err
}

// judge compares the second quarter with the last, and the end with the
// beginning.
func (s *soak) judge(first, last look) error {
	var errs []error
	if n := s.failed.Load(); n > 0 {
		errs = append(errs, fmt.Errorf("%d connections failed, the first: %s", n, s.failures[0]))
	}
	if lost, most := s.dropped.Load(), int64(s.reloads*10); lost > most {
		errs = append(errs, fmt.Errorf("%d handshakes failed, with %d reloads", lost, s.reloads))
	}
	if spare := 8; last.files > first.files+spare {
		errs = append(errs, fmt.Errorf("%d descriptors at the end, %d at the beginning", last.files, first.files))
	}
	fmt.Printf("\n%d reloads, %d handshakes lost to them, %d failures; descriptors from %d to %d\n",
		s.reloads, s.dropped.Load(), s.failed.Load(), first.files, last.files)
	if quarter := len(s.looks) / 4; quarter >= 2 {
		for _, m := range soakMetrics {
			before, after := mean(s.looks[quarter:2*quarter], m.value), mean(s.looks[3*quarter:], m.value)
			fmt.Printf("%s: %.1f in the second quarter, %.1f in the last\n", m.name, before, after)
			if after > before*1.1+m.spare {
				errs = append(errs, fmt.Errorf("%s grows from %.1f to %.1f", m.name, before, after))
			}
		}
	} else {
		fmt.Println("too short to tell whether memory is flat")
	}
	if len(errs) == 0 {
		fmt.Println("flat")
	}
	return errors.Join(errs...)
}

// soakMetrics are what must not grow, by more than a tenth and what is spare.
var soakMetrics = []struct {
	name  string
	spare float64
	value func(look) float64
}{
	{"RSS, MiB", 8, func(l look) float64 { return l.rss }},
	{"live heap, MiB", 4, func(l look) float64 { return l.heap }},
	{"descriptors", 200, func(l look) float64 { return float64(l.files) }},
}

func mean(looks []look, value func(look) float64) float64 {
	sum := 0.0
	for _, l := range looks {
		sum += value(l)
	}
	return sum / float64(len(looks))
}

// plot draws the soak, where there is a folder for it.
func (s *soak) plot() error {
	if len(s.looks) == 0 {
		return nil
	}
	p := svg.Plot{Title: fmt.Sprintf("%d connections that come and go", s.conns), XLabel: "minutes", YLabel: "MiB"}
	for _, m := range soakMetrics[:2] {
		l := svg.Line{Name: m.name}
		for _, seen := range s.looks {
			l.X, l.Y = append(l.X, seen.at.Minutes()), append(l.Y, m.value(seen))
		}
		p.Lines = append(p.Lines, l)
	}
	return s.write(map[string]string{"soak.svg": p.SVG()})
}
