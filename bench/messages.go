//go:build linux

package main

import (
	"context"
	"fmt"
	"os"
)

// chains are what messages go through. The empty one, a comment, only looks at frames, and
// may cost three times what a message costs without.
var chains = []struct{ what, handlers string }{
	{"empty chain", "# nothing"},
	{"`filter msg.size < 1000000`", "filter msg.size < 1000000"},
}

// compareMessages measures the gateway with message handlers against itself without, in
// turns.
func (b *bench) compareMessages(ctx context.Context) error {
	if err := b.alone(ctx); err != nil {
		return err
	}
	defer os.RemoveAll(b.workshop.dir)
	defer b.backend.stop()
	fmt.Printf("%s\n\n%d rounds.\n", b.report.Machine, b.rounds)
	for _, chain := range chains {
		if err := b.compareChain(ctx, chain.what, with(func(s *setup) { s.Messages = chain.handlers })); err != nil {
			return fmt.Errorf("%s: %w", chain.what, err)
		}
	}
	return nil
}

func (b *bench) compareChain(ctx context.Context, what string, c comparison) error {
	fmt.Printf("\n%s, CPU in µs an echoed message:\n\n| | without | with | ratio |\n| --- | ---: | ---: | ---: |\n", what)
	for _, t := range []traffic{{conns: 64, size: 128}, {conns: 64, size: 4 << 10}, {conns: 16, size: 64 << 10}} {
		var costs pairs
		for round := range b.rounds {
			if err := b.compareCosts(ctx, c, round, t, &costs); err != nil {
				return err
			}
		}
		fmt.Printf("| %d B, %d connections | %s | %s | %s |\n", t.size, t.conns, spanOf(costs.off), spanOf(costs.on), fine(costs.ratio(), 2))
	}
	var heap, resident pairs
	idle := min(b.idle, b.most())
	for round := range b.rounds {
		for _, v := range c.inTurns(round) {
			h, r, err := b.heldBy(ctx, v, idle, b.settle)
			if err != nil {
				return err
			}
			heap.add(v, h)
			resident.add(v, r)
		}
	}
	fmt.Printf("\nBytes a quiet connection, of %d: live heap %s without and %s with, resident %s and %s\n", idle,
		fine(spanOf(heap.off), 0), fine(spanOf(heap.on), 0), fine(spanOf(resident.off), 0), fine(spanOf(resident.on), 0))
	return nil
}
