//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
)

// touchAll has one process of each peer do a little of everything.
func (b *bench) touchAll(ctx context.Context) {
	for transport := range strings.SplitSeq(b.transports, ",") {
		for _, p := range b.chosen {
			all := func(b *bench, in *subject) error {
				for _, in.scenario = range b.tested {
					if !b.fits(p, transport, in.scenario) {
						continue
					}
					if err := in.scenario.do(b, in); err != nil {
						return err
					}
				}
				return nil
			}
			if !b.fits(p, transport, scenario{name: "echo64k"}) {
				continue
			}
			s := &subject{transport: transport, peer: p}
			if err := b.with(ctx, s, all); err != nil {
				b.report.Failures = append(b.report.Failures, fmt.Sprintf("%s over %s, %s: %v", s.scenario.name, transport, p.name, err))
			}
		}
	}
}

// judgeSmoke says what worked, and fails if the gateway did not: the others are
// not ours to keep working.
func (b *bench) judgeSmoke() error {
	for _, transport := range b.report.transports() {
		for _, name := range b.report.names(transport) {
			n := 0
			for _, s := range b.tested {
				if b.report.of(transport, s.name, "CPU", name).n+b.report.of(transport, s.name, "RSS", name).n > 0 {
					n++
				}
			}
			fmt.Printf("%s over %s: %d scenarios\n", name, transport, n)
		}
	}
	for _, line := range b.missing {
		fmt.Println("without", line)
	}
	for _, line := range b.report.Failures {
		fmt.Println("failed:", line)
	}
	for _, transport := range []string{"ws", "wss"} {
		if listed(b.transports, transport) && b.report.of(transport, "idle", "RSS", nameGateway).n == 0 {
			return errors.New("the gateway did not come through all scenarios over " + transport)
		}
	}
	return nil
}
