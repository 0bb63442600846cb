//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"
)

// What limits may cost.
const (
	mostCPU   = 0.05 // of a message's
	mostBytes = 64   // a quiet connection
)

// pingEvery is how often a client is sent a ping with all limits on.
const pingEvery = 10 * time.Second

// variant is a gateway that is compared with another one.
type variant struct {
	on     bool
	change func(*setup)
}

func (v variant) String() string {
	if v.on {
		return "on"
	}
	return "off"
}

// comparison is two variants.
type comparison struct{ off, on variant }

// inTurns has another one first each time.
func (c comparison) inTurns(round int) []variant {
	if round%2 == 0 {
		return []variant{c.off, c.on}
	}
	return []variant{c.on, c.off}
}

// with is a comparison of a gateway with itself, changed.
func with(change func(*setup)) comparison {
	return comparison{variant{false, func(*setup) {}}, variant{true, change}}
}

var limits = with(func(s *setup) { s.Limits, s.Ping = true, pingEvery })

// pairs are figures of two variants, taken in turns.
type pairs struct{ off, on []float64 }

func (p *pairs) add(v variant, value float64) {
	if v.on {
		p.on = append(p.on, value)
	} else {
		p.off = append(p.off, value)
	}
}

// ratio is computed within a round.
func (p *pairs) ratio() span {
	ratios := make([]float64, len(p.off))
	for i := range ratios {
		ratios[i] = p.on[i] / p.off[i]
	}
	return spanOf(ratios)
}

func (p *pairs) difference() span {
	differences := make([]float64, len(p.off))
	for i := range differences {
		differences[i] = p.on[i] - p.off[i]
	}
	return spanOf(differences)
}

// compareLimits measures the gateway with all limits and pings on against itself with
// all off, in turns.
func (b *bench) compareLimits(ctx context.Context) error {
	if err := b.alone(ctx); err != nil {
		return err
	}
	defer os.RemoveAll(b.workshop.dir)
	defer b.backend.stop()
	loads := []struct {
		what string
		traffic
		pairs
	}{
		{what: "32 B, 64 connections", traffic: traffic{conns: 64, size: 32}},
		{what: "64 KiB, 16 connections", traffic: traffic{conns: 16, size: 64 << 10}},
	}
	var heap, resident pairs
	idle := min(b.idle, b.most())
	for round := range b.rounds {
		for i := range loads {
			if err := b.compareCosts(ctx, limits, round, loads[i].traffic, &loads[i].pairs); err != nil {
				return fmt.Errorf("%s: %w", loads[i].what, err)
			}
		}
		for _, v := range limits.inTurns(round) {
			h, r, err := b.heldBy(ctx, v, idle, 2*pingEvery+b.settle)
			if err != nil {
				return fmt.Errorf("quiet connections, limits %s: %w", v, err)
			}
			heap.add(v, h)
			resident.add(v, r)
		}
		b.say("round %d of %d is over", round+1, b.rounds)
	}
	fmt.Printf("%s\n\nCPU in µs an echoed message, %d rounds:\n\n| | off | on | ratio |\n| --- | ---: | ---: | ---: |\n", b.report.Machine, b.rounds)
	for _, l := range loads {
		fmt.Printf("| %s | %s | %s | %s |\n", l.what, spanOf(l.off), spanOf(l.on), fine(l.ratio(), 3))
	}
	fmt.Printf("\nBytes a quiet connection, of %d, after two pings where they are on:\n\n| | off | on | difference |\n| --- | ---: | ---: | ---: |\n", idle)
	for _, m := range []struct {
		what string
		pairs
	}{{"live heap", heap}, {"resident", resident}} {
		fmt.Printf("| %s | %s | %s | %s |\n", m.what, fine(spanOf(m.off), 0), fine(spanOf(m.on), 0), fine(m.difference(), 0))
	}
	for _, l := range loads {
		fmt.Printf("\n%s: %+.1f %% CPU, which may be %.0f %%", l.what, 100*(l.ratio().median-1), 100*mostCPU)
	}
	fmt.Printf("\n%.0f bytes a connection, which may be %d\n", heap.difference().median, mostBytes)
	return nil
}

// fine shows a span with so many digits behind the point.
func fine(s span, digits int) string {
	return fmt.Sprintf("%.*f (%.*f–%.*f)", digits, s.median, digits, s.low, digits, s.high)
}

// turnsInRound is how often two gateways take turns before fresh ones do.
const turnsInRound = 6

// compareCosts measures the CPU for a message of the traffic, in µs. The two gateways
// stand beside each other, and only one has anything to do at a time.
func (b *bench) compareCosts(ctx context.Context, c comparison, round int, t traffic, costs *pairs) error {
	gateways := make(map[bool]*gateway)
	for _, v := range c.inTurns(round) {
		g, err := b.startGateway(ctx, false, v.change)
		if err != nil {
			return err
		}
		defer g.stop()
		gateways[v.on] = g
	}
	for turn := range turnsInRound {
		for _, v := range c.inTurns(round + turn) {
			g := gateways[v.on]
			o, err := g.client.play(t, b.window(&subject{pid: g.pid()}))
			if err := errors.Join(err, ctx.Err()); err != nil {
				return fmt.Errorf("%s: %w", v, err)
			}
			costs.add(v, float64(b.spent.Nanoseconds())/1e3/float64(o.units))
		}
	}
	return nil
}

// heldBy is the live heap and the resident memory for a quiet connection, of n, after so
// long, in bytes.
func (b *bench) heldBy(ctx context.Context, v variant, n int, wait time.Duration) (heap, resident float64, err error) {
	g, err := b.startGateway(ctx, false, v.change)
	if err != nil {
		return 0, 0, err
	}
	defer g.stop()
	if _, err := g.client.storm(32, window{b.settle / 3, 0, func() {}, func() {}}); err != nil {
		return 0, 0, err
	}
	heapBefore, err := g.heap()
	if err != nil {
		return 0, 0, err
	}
	residentBefore := rss(g.pid())
	var failed error
	look := window{wait, 0, func() {
		if heap, failed = g.heap(); failed == nil {
			heap, resident = (heap-heapBefore)/float64(n), (rss(g.pid())-residentBefore)*1024/float64(n)
		}
	}, func() {}}
	o, err := g.client.play(traffic{conns: n, size: stampSize, quiet: true}, look)
	var s setup
	v.change(&s)
	if err == nil && o.pings > 0 != (s.Ping > 0) {
		err = fmt.Errorf("%d pings came", o.pings)
	}
	return heap, resident, errors.Join(err, failed, ctx.Err())
}
