// Command streams shows what it costs a gateway to treat thousands of event streams as live
// connections, beside what passes them on as plain answers, and that it drains them evenly.
//
//	go run ./streams [-n 5000] [-proto h1|h2] [-rounds 3] [-profiles dir]
//
// Each proxy is a fresh process, on loopback only; within a round, all have their turn.
// It prints Markdown, and fails where a stream is torn or an event lost, and where something
// still counts after the end. This process and the proxy need two descriptors for each stream.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"time"
)

// settings are what can be chosen.
type settings struct {
	n, rate, rounds int
	proto           string
	pushing         time.Duration
	period          time.Duration // of the drain
	profiles        string
}

func main() {
	var s settings
	flag.IntVar(&s.n, "n", 5000, "how many streams there are")
	flag.StringVar(&s.proto, "proto", "h1", "h1 or h2, in plaintext: what clients speak")
	flag.IntVar(&s.rounds, "rounds", 3, "how often each proxy has its turn")
	flag.IntVar(&s.rate, "rate", 2000, "events a second, over all streams")
	flag.DurationVar(&s.pushing, "duration", 8*time.Second, "for how long events are sent while CPU is measured")
	flag.DurationVar(&s.period, "drain", 10*time.Second, "the drain_period; 0s for no drain")
	flag.StringVar(&s.profiles, "profiles", "", "where to write heap profiles of quiet streams; none where empty")
	flag.Parse()
	if s.proto != "h1" && s.proto != "h2" {
		fmt.Fprintln(os.Stderr, "streams: -proto is h1 or h2")
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, s); err != nil {
		fmt.Fprintln(os.Stderr, "streams:", err)
		os.Exit(1) //nolint:gocritic // nothing is deferred but the end of a signal
	}
}

func run(ctx context.Context, s settings) error {
	b, err := newBench(s)
	if err != nil {
		return err
	}
	defer b.close()
	if err := b.build(ctx); err != nil {
		return err
	}
	all := make(results)
	for round := range s.rounds {
		for i := range proxies {
			p := proxies[(i+round)%len(proxies)]
			got, err := b.measure(ctx, p)
			if err != nil {
				return fmt.Errorf("%s: %w", p.name, err)
			}
			all[p.name] = append(all[p.name], *got)
			fmt.Fprintf(os.Stderr, "%s: %+v\n", p.name, *got)
		}
	}
	all.print(s)
	if s.period == 0 {
		return nil
	}
	return b.drain(ctx)
}
