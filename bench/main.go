//go:build linux

// Command bench compares this gateway with other proxies before the same two
// backends: the CPU that each takes for a message, how long a message takes, and
// the memory of a quiet connection, over ws and wss.
//
//	go run . [-out ../docs/bench]
//	go run . -peers ws_gateway,nginx -scenarios push,storm -transports wss -rounds 5
//	go run . -soak 20m -conns 5000
//	go run . -limits
//	go run . -messages
//	go run . -pings
//	go run . -opening
//	go run . -watched
//	go run . -stalled 45s
//
// It prints Markdown, and stops by itself. docs/benchmarks.md says how it
// measures. The folder is a module of its own, so that users of the gateway do
// not download it: the commands are for within.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
	"time"
)

// options are what is asked for.
type options struct {
	transports, peers, scenarios string
	rounds, idle                 int
	limit                        time.Duration
	out, caddy                   string
	logs, smoke, silent          bool

	soak   time.Duration
	conns  int
	secure bool
	reload time.Duration

	limits, messages, pings, watched, opening bool

	stalled time.Duration
}

// roles are what the program is when it starts itself.
type roles struct {
	backend          string
	relay, to, certs string
	at               string
	crowd            bool
}

func main() {
	var o options
	var r roles
	b := &bench{}
	flag.StringVar(&o.transports, "transports", "ws,wss", "which, with commas")
	flag.StringVar(&o.peers, "peers", "", "whom to compare, with commas; all if empty")
	flag.StringVar(&o.scenarios, "scenarios", "", "what to measure, with commas; everything if empty")
	flag.IntVar(&o.rounds, "rounds", 3, "how often everything is measured")
	flag.DurationVar(&b.length, "duration", 1500*time.Millisecond, "how long each scenario is measured")
	flag.DurationVar(&b.warm, "warm", 500*time.Millisecond, "how long each scenario runs before that")
	flag.DurationVar(&b.settle, "settle", 2*time.Second, "how long connections are quiet before memory is looked at")
	flag.IntVar(&o.idle, "idle", 9000, "how many quiet connections, if so many fit")
	flag.DurationVar(&o.limit, "limit", 25*time.Minute, "after how long to stop with what there is")
	flag.StringVar(&o.out, "out", "", "a folder for the report, its plots and the raw figures")
	flag.StringVar(&o.caddy, "caddy", "", "a Caddy with this module to take, instead of building it")
	flag.BoolVar(&o.logs, "logs", false, "every proxy logs its connections, to a file")
	flag.BoolVar(&o.smoke, "smoke", false, "only see whether everything here works, in seconds")
	flag.DurationVar(&o.soak, "soak", 0, "instead, keep the gateway under changing connections so long, and watch its memory")
	flag.IntVar(&o.conns, "conns", 5000, "connections of the soak, or with -pings")
	flag.BoolVar(&o.limits, "limits", false, "instead, compare the gateway with all limits on with itself without any")
	flag.BoolVar(&o.messages, "messages", false, "instead, compare the gateway with message handlers with itself without any")
	flag.BoolVar(&o.pings, "pings", false, "instead, measure what pings to quiet connections cost")
	flag.BoolVar(&o.opening, "opening", false, "instead, measure what many connections at once leave behind, and what they do to those that are open")
	flag.BoolVar(&o.watched, "watched", false, "instead, measure what it costs to look at the gateway: metrics and the live page")
	flag.DurationVar(&o.stalled, "stalled", 0, "instead, flood clients who never read for so long, and watch the gateway's memory")
	flag.BoolVar(&o.secure, "tls", false, "wss for the soak, or with -at")
	flag.DurationVar(&o.reload, "reload", 0, "how often the soak reloads the configuration; 0 for never")
	flag.StringVar(&r.backend, "backend", "", "be the backends, at these addresses with commas")
	flag.StringVar(&r.relay, "relay", "", "be the relay in Go at this address")
	flag.StringVar(&r.to, "to", "", "where the relay relays to, with commas")
	flag.StringVar(&r.certs, "certs", "", "the folder of the relay's certificate, for wss")
	flag.BoolVar(&r.crowd, "crowd", false, "be the clients who come at once, as standard input says")
	flag.StringVar(&r.at, "at", "", "put only what listens there under load, for profiling it")
	flag.Parse()
	b.options = o
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := b.play(ctx, r)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func (b *bench) play(ctx context.Context, r roles) error {
	switch {
	case r.backend != "":
		debug.SetGCPercent(800) // its memory is nobody's concern
		return until(ctx, func() error { return serveBackend(r.backend) })
	case r.relay != "":
		return until(ctx, func() error { return serveRelay(r.relay, r.to, r.certs) })
	case r.crowd:
		debug.SetGCPercent(800)
		return serveCrowd(os.Stdin, os.Stdout)
	}
	debug.SetGCPercent(800)
	debug.SetMemoryLimit(4 << 30)
	switch {
	case r.at != "":
		return b.loadOnly(r.at)
	case b.soak > 0:
		return b.endure(ctx)
	case b.limits:
		return b.compareLimits(ctx)
	case b.messages:
		return b.compareMessages(ctx)
	case b.pings:
		return b.comparePings(ctx)
	case b.opening:
		return b.measureOpening(ctx)
	case b.watched:
		return b.compareWatched(ctx)
	case b.stalled > 0:
		return b.watchStalled(ctx)
	case b.smoke:
		b.rounds, b.length, b.warm, b.settle = 1, 50*time.Millisecond, 20*time.Millisecond, 30*time.Millisecond
		b.idle, b.silent = 100, true
		return b.run(ctx)
	}
	return b.run(ctx)
}

// until serves until the time has come to end.
func until(ctx context.Context, serve func() error) error {
	failed := make(chan error, 1)
	go func() { failed <- serve() }()
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
		return nil
	}
}

// loadOnly puts whatever listens at addr under load. It must have backends: see
// -backend.
func (b *bench) loadOnly(addr string) error {
	for _, s := range scenarios() {
		if s.unit == "" || !listed(b.scenarios, s.name) || s.only == "wss" && !b.secure {
			continue
		}
		b.self = os.Getpid()
		err := s.do(b, &subject{transport: "-", scenario: s, pid: b.self, client: clientOf(addr, b.secure)})
		if err != nil {
			return err
		}
		fmt.Printf("%s: %.0f a second\n", s.name, b.report.of("-", s.name, "rate", "").median)
	}
	return nil
}
