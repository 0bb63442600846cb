// Command fleet shows what it costs gateways to count together in a real Redis, and how
// well they do.
//
//	go run ./fleet [-nodes 20] [-conns 100000] [-rate 10000] [-o dir]
//	go run ./fleet -small
//	go run ./fleet -handshakes 3000
//
// It plays a fleet of many nodes in this process, each with its own ledgers and its own
// part in the fleet, on a redis-server that it starts: connections are opened and closed
// under caps that are reached, a node is killed, and Redis is restarted. It prints a table
// as Markdown; with -o it writes plots as well. -small is a fleet that takes seconds.
//
// With -handshakes it measures real ones instead, at a Caddy with a fleet and one without,
// by turns.
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
	nodes, conns, rate int
	perUser            int
	heartbeat, timeout time.Duration
	phase              time.Duration
	plots              string
}

func main() {
	var s settings
	flag.IntVar(&s.nodes, "nodes", 20, "how many nodes there are")
	flag.IntVar(&s.conns, "conns", 100_000, "the cap on all connections, which are opened up to it")
	flag.IntVar(&s.rate, "rate", 10_000, "handshakes a second, over all nodes")
	flag.IntVar(&s.perUser, "per-user", 5, "the cap on the connections of a user and of an address")
	flag.DurationVar(&s.heartbeat, "heartbeat", 3*time.Second, "of each node")
	flag.DurationVar(&s.timeout, "timeout", 50*time.Millisecond, "an answer later than that is an outage")
	flag.DurationVar(&s.phase, "phase", 15*time.Second, "how long each phase lasts after the connections are open")
	flag.StringVar(&s.plots, "o", "", "where to write plots; not at all where empty")
	small := flag.Bool("small", false, "a small fleet, for a look at whether all works")
	handshakes := flag.Int("handshakes", 0, "measure so many real handshakes of each kind instead, with a fleet and without")
	flag.Parse()
	if *small {
		s.nodes, s.conns, s.rate, s.heartbeat, s.timeout, s.phase = 5, 2000, 1000, 500*time.Millisecond, 500*time.Millisecond, 3*time.Second
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	run := func() error { return simulate(ctx, s) }
	if *handshakes > 0 {
		run = func() error { return measure(ctx, *handshakes, s.timeout) }
	}
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "fleet:", err)
		os.Exit(1) //nolint:gocritic // nothing is deferred but the end of a signal
	}
}
