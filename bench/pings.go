//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"
)

// comparePings measures what pings cost a gateway with nothing but quiet connections.
func (b *bench) comparePings(ctx context.Context) error {
	if err := b.alone(ctx); err != nil {
		return err
	}
	defer os.RemoveAll(b.workshop.dir)
	defer b.backend.stop()
	const every = time.Second
	b.length = max(b.length, 10*every) // so that each connection has its share
	n := min(b.conns, b.most())
	pinging := with(func(s *setup) { s.Ping = every })
	var cores pairs
	var pings []float64
	for round := range b.rounds {
		for _, v := range pinging.inTurns(round) {
			used, answered, err := b.quietly(ctx, v, n)
			if err != nil {
				return fmt.Errorf("pings %s: %w", v, err)
			}
			cores.add(v, used)
			if v.on {
				pings = append(pings, answered)
			}
		}
		b.say("round %d of %d is over", round+1, b.rounds)
	}
	more, came := cores.difference().median, spanOf(pings).median
	fmt.Printf("%s\n\n%d quiet connections, %d rounds:\n\n| pings | cores | pings answered a second |\n| --- | ---: | ---: |\n", b.report.Machine, n, b.rounds)
	fmt.Printf("| none | %s | 0 |\n| every %s | %s | %s |\n\n", fine(spanOf(cores.off), 4), every, fine(spanOf(cores.on), 4), fine(spanOf(pings), 0))
	if came == 0 {
		return errors.New("no ping came")
	}
	fmt.Printf("%.2f µs of CPU a ping and its pong\n", more/came*1e6)
	return nil
}

// quietly is how many cores the gateway uses for n quiet connections, and how many pings
// are answered in a second.
func (b *bench) quietly(ctx context.Context, v variant, n int) (cores, pings float64, err error) {
	g, err := b.startGateway(ctx, false, v.change)
	if err != nil {
		return 0, 0, err
	}
	defer g.stop()
	o, err := g.client.play(traffic{conns: n, size: stampSize, quiet: true}, b.window(&subject{pid: g.pid()}))
	return b.spent.Seconds() / b.length.Seconds(), float64(o.units) / b.length.Seconds(), errors.Join(err, ctx.Err())
}
