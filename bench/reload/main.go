// Command reload shows what reloads do to live connections: a gateway with
// thousands of them, half over ws and half over wss, is reloaded a hundred times
// while all of them echo.
//
//	go run ./reload [-conns 9000] [-reloads 100] [-profiles <directory>]
//
// The gateway, its upstreams and its clients are processes of their own, on
// loopback only. The exit code tells whether every connection that should have
// stayed did, byte for byte, nothing was left behind, and all were told when the
// gateway exited in the end.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

func main() {
	conns := flag.Int("conns", 9000, "how many connections there are; the gateway needs two descriptors for each")
	reloads := flag.Int("reloads", 100, "how often to reload")
	role := flag.String("role", "", "which part of this program to run; it starts the others by itself")
	profiles := flag.String("profiles", "", "where to put profiles of the gateway's heap, before and after")
	flag.Parse()
	var err error
	switch *role {
	case "":
		err = direct(*conns, *reloads, *profiles)
	case "upstreams":
		err = serveUpstreams()
	case "clients":
		err = runClients()
	default:
		err = fmt.Errorf("there is no role %q", *role)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "reload:", *role, err)
		os.Exit(1)
	}
}

// movers is how many of the connections are opened anew whenever an upstream is
// added, so that they go there, and are drained when it is removed.
func movers(conns int) int { return max(1, conns/30) }

// direct starts the processes, reloads and reports.
func direct(conns, reloads int, profiles string) error {
	if conns < 10 || reloads < 1 {
		return fmt.Errorf("there must be 10 connections and 1 reload at least, not %d and %d", conns, reloads)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	dir, err := os.MkdirTemp("", "wsgw-reload")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	b := &bench{conns: conns, profiles: profiles}
	defer b.stop()
	if err := b.start(ctx, dir); err != nil {
		return err
	}
	if err := b.run(reloads); err != nil {
		return err
	}
	b.report()
	if broken := b.broken(); len(broken) > 0 {
		return errors.New(strings.Join(broken, "; "))
	}
	return nil
}

// bench is the processes together.
type bench struct {
	gateway            *gateway
	upstreams, clients *child
	addresses          []string // of the upstreams, the last being added and removed
	conns              int
	profiles           string

	took          []time.Duration // of each reload
	lasted        time.Duration   // all of them together
	before, after footprint
	exited        time.Duration // how long the exit took
	seen          summary
}

func (b *bench) start(ctx context.Context, dir string) error {
	var err error
	if b.upstreams, err = startChild(ctx, "upstreams"); err != nil {
		return err
	}
	if err := b.upstreams.receive(&b.addresses); err != nil {
		return fmt.Errorf("waiting for the upstreams: %w", err)
	}
	if b.gateway, err = startGateway(ctx, dir, b.conns, b.addresses); err != nil {
		return err
	}
	if b.clients, err = startChild(ctx, "clients"); err != nil {
		return err
	}
	_, err = b.clients.ask(order{
		Do: "open", Plain: b.gateway.plain, TLS: b.gateway.tls,
		Conns: b.conns, Movers: movers(b.conns), Leaving: b.addresses[len(b.addresses)-1],
	})
	return err
}

// run reloads, one kind of change after the other, and exits in the end.
func (b *bench) run(reloads int) error {
	var err error
	if b.before, err = b.measure("before"); err != nil {
		return err
	}
	began := time.Now()
	for i := range reloads {
		if err := b.reload(i); err != nil {
			return fmt.Errorf("reload %d: %w", i+1, err)
		}
	}
	b.lasted = time.Since(began)
	if b.after, err = b.measure("after"); err != nil {
		return err
	}
	if _, err := b.clients.ask(order{Do: "hush"}); err != nil {
		return err
	}
	if b.exited, err = b.gateway.exit(); err != nil {
		return fmt.Errorf("the gateway exits: %w", err)
	}
	b.seen, err = b.clients.ask(order{Do: "part"})
	return err
}

// measure looks at the gateway while every connection is open.
func (b *bench) measure(when string) (footprint, error) {
	f, err := b.gateway.footprint()
	if err != nil || b.profiles == "" {
		return f, err
	}
	return f, b.gateway.saveHeap(filepath.Join(b.profiles, when+".pprof"))
}

// reload makes the i-th change and what belongs to it.
func (b *bench) reload(i int) error {
	c := &b.gateway.config
	then := "pause"
	switch i % 4 {
	case 0:
		c.route++
	case 1:
		c.added = true
		then = "move"
	case 2:
		c.limits++
	case 3:
		c.added = false
		if _, err := b.clients.ask(order{Do: "expect"}); err != nil {
			return err
		}
		then = "settle"
	}
	took, err := b.gateway.load()
	if err != nil {
		return err
	}
	b.took = append(b.took, took)
	_, err = b.clients.ask(order{Do: then})
	return err
}

// stop ends the processes that this one started.
func (b *bench) stop() {
	b.clients.stop()
	b.upstreams.stop()
	b.gateway.stop()
}
