//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"
)

// bench is one run.
type bench struct {
	options
	workshop  workshop
	self      int // process
	upstreams []string
	backend   *process
	chosen    []peer
	tested    []scenario
	missing   []string
	report    report
	warm      time.Duration
	length    time.Duration
	settle    time.Duration
	spent     time.Duration // CPU of the proxy in the last window
}

// most is how many connections a proxy may have, each of two descriptors.
func (b *bench) most() int { return int((fileLimit() - 500) / 2) }

// run measures everything, and returns after the time that was given even if
// something was left out.
func (b *bench) run(ctx context.Context) error {
	if err := b.prepare(ctx); err != nil {
		return err
	}
	defer os.RemoveAll(b.workshop.dir)
	defer b.backend.stop()
	began := time.Now()
	ctx, cancel := context.WithTimeout(ctx, b.limit)
	defer cancel()
	complete := 0
	if b.smoke {
		b.touchAll(ctx)
		return b.judgeSmoke()
	}
	for round := range b.rounds {
		if err := b.playRound(ctx, round); err != nil {
			b.report.Notes = append(b.report.Notes, fmt.Sprintf("Round %d was cut short: %v.", round+1, err))
			break
		}
		complete++
		b.say("round %d of %d is over after %s", complete, b.rounds, time.Since(began).Round(time.Second))
	}
	b.report.Took = time.Since(began).Round(time.Second).String()
	b.report.Rounds = complete
	return b.publish()
}

// prepare builds the peers that can be had and starts the backends.
func (b *bench) prepare(ctx context.Context) error {
	var err error
	b.self = os.Getpid()
	b.workshop.caddy = b.caddy
	if b.workshop.dir, err = os.MkdirTemp("", "bench"); err != nil {
		return err
	}
	// nginx's workers are somebody else.
	if err := errors.Join(os.Chmod(b.workshop.dir, 0o755), certify(b.workshop.dir)); err != nil { //nolint:gosec // as said
		return err
	}
	for _, p := range peers() {
		if !listed(b.peers, p.name) {
			continue
		}
		if err := p.prepare(&b.workshop); err != nil {
			b.missing = append(b.missing, fmt.Sprintf("%s: %v", p.name, err))
			b.say("WITHOUT %s: %v", p.name, err)
			continue
		}
		b.chosen = append(b.chosen, p)
	}
	for _, s := range scenarios() {
		if b.smoke && firstWord(s.name) == "growth" {
			continue
		}
		if listed(b.scenarios, s.name) || listed(b.scenarios, firstWord(s.name)) || s.name == "idle" && listed(b.scenarios, "growth") {
			b.tested = append(b.tested, s)
		}
	}
	if len(b.chosen) == 0 || len(b.tested) == 0 {
		return errors.New("nothing to measure: look at -peers and -scenarios")
	}
	b.describe()
	return b.startBackend(ctx)
}

func (b *bench) startBackend(ctx context.Context) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	for range 2 {
		addr, err := freeAddr()
		if err != nil {
			return err
		}
		b.upstreams = append(b.upstreams, addr)
	}
	b.backend, err = launch(ctx, exec.Command(self, "-backend", strings.Join(b.upstreams, ",")), b.workshop.dir, b.upstreams[1]) //nolint:gosec // ourselves
	return err
}

// playRound has the peers do each scenario one after the other, so that what
// they are compared by lies close together in time. Who begins changes.
func (b *bench) playRound(ctx context.Context, round int) error {
	for transport := range strings.SplitSeq(b.transports, ",") {
		for i, scenario := range b.tested {
			for j := range b.chosen {
				p := b.chosen[(j+i+round)%len(b.chosen)]
				if !b.fits(p, transport, scenario) {
					continue
				}
				if err := ctx.Err(); err != nil {
					return errors.New("the time was up")
				}
				s := &subject{transport: transport, scenario: scenario, peer: p, round: round}
				if err := b.with(ctx, s, scenario.do); err != nil {
					b.report.Failures = append(b.report.Failures, fmt.Sprintf("round %d, %s over %s, %s: %v", round+1, scenario.name, transport, p.name, err))
					b.say("FAILED: %s over %s, %s: %v", scenario.name, transport, p.name, err)
				}
			}
		}
	}
	return nil
}

// fits says whether a peer takes part.
func (b *bench) fits(p peer, transport string, s scenario) bool {
	return listed(p.only, transport) && listed(s.only, transport) && listed(p.scenarios, firstWord(s.name)) && (b.peers != "" || listed(p.unasked, transport))
}

// with has a fresh process of the peer measured.
func (b *bench) with(ctx context.Context, s *subject, do func(*bench, *subject) error) error {
	addr, err := freeAddr()
	if err != nil {
		return err
	}
	cmd, err := s.peer.start(b.setup(addr, s.transport == "wss"))
	if err != nil {
		return err
	}
	p, err := launch(ctx, cmd, b.workshop.dir, addr)
	if err != nil {
		return err
	}
	defer p.stop()
	s.pid, s.client = p.pid(), clientOf(addr, s.transport == "wss")
	s.client.open = s.peer.open
	if err := b.vouch(s); err != nil {
		return err
	}
	finished := make(chan error, 1)
	go func() { finished <- do(b, s) }()
	select {
	case err := <-finished:
		return err
	case <-p.done:
		return errors.Join(errors.New("it died"), <-finished)
	case <-ctx.Done():
		p.stop() // which ends what is going on
		return errors.Join(ctx.Err(), <-finished)
	}
}

func (b *bench) setup(addr string, secure bool) setup {
	return setup{
		Dir: b.workshop.dir, Caddy: b.workshop.caddy, Addr: addr, Port: portOf(addr), Upstreams: b.upstreams, Token: token,
		TLS: secure, Logs: b.logs, Files: fileLimit(), Connections: uint64(b.most()), Admin: "off",
		Identity: b.opening, Limits: b.opening,
	}
}

// vouch sees that the peer works: it lets the token in, echoes, and lets nobody
// else in unless it cannot tell.
func (b *bench) vouch(s *subject) error {
	var l *link
	var err error
	for range 20 { // its workers may not have begun yet
		if l, err = s.client.dial("/"); err == nil {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	if err != nil {
		return err
	}
	if err := errors.Join(l.echo(shapeOf(100), stamp{seq: 1}), l.leave()); err != nil {
		return err
	}
	if s.peer.open {
		return nil
	}
	if l, err := s.client.dialWith("/", bearer("wrong")); err == nil {
		_ = l.wire.Close()
		return errors.New("it lets a wrong token in")
	} else if !strings.Contains(err.Error(), "401") {
		return fmt.Errorf("a wrong token: %w", err)
	}
	return nil
}

func (b *bench) say(format string, args ...any) {
	if !b.silent {
		fmt.Fprintf(os.Stderr, format+"\n", args...)
	}
}

func listed(list, name string) bool {
	return list == "" || slices.Contains(strings.Split(list, ","), name)
}
