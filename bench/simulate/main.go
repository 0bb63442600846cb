// Command simulate plays a fleet of hosts and the clients of their long-lived
// connections in virtual time, and compares ways to choose a host.
//
//	go run ./simulate [-clients 100000] [-hosts 20] [-seed 1] [-o dir]
//
// It prints a table for each scenario as Markdown; with -o it writes a plot of
// the imbalance over time as well. What is called ours is package balance
// itself, going by the simulation's clock.
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"
)

func main() {
	var s settings
	flag.IntVar(&s.clients, "clients", 100_000, "how many clients there are")
	flag.IntVar(&s.hosts, "hosts", 20, "how many hosts there are")
	flag.Uint64Var(&s.seed, "seed", 1, "of what is random; ties in package balance fall as they like")
	flag.DurationVar(&s.lifetime, "lifetime", time.Hour, "how long a connection lasts on average if nobody ends it")
	flag.DurationVar(&s.latency, "latency", 50*time.Millisecond, "from the choice of a host to the connection")
	flag.DurationVar(&s.drain, "drain", 30*time.Second, "the drain period of ours")
	flag.DurationVar(&s.slowStart, "slow-start", 30*time.Second, "the slow start of ours")
	flag.Float64Var(&s.rebalance, "rebalance", 10, "how many percent of all connections ours moves in a minute")
	dir := flag.String("o", "", "where to write the plots; not at all where empty")
	flag.Parse()
	if err := s.check(); err != nil {
		fmt.Fprintln(os.Stderr, "simulate:", err)
		os.Exit(2)
	}
	if err := run(s, *dir); err != nil {
		fmt.Fprintln(os.Stderr, "simulate:", err)
		os.Exit(1)
	}
}

// settings are the same for all scenarios and models.
type settings struct {
	clients, hosts    int
	seed              uint64
	lifetime, latency time.Duration
	drain, slowStart  time.Duration
	rebalance         float64
}

func (s settings) check() error {
	switch {
	case s.clients < 1 || s.hosts < 2:
		return fmt.Errorf("there must be clients, and 2 hosts at least, not %d and %d", s.clients, s.hosts)
	case s.lifetime <= 0 || s.latency <= 0 || s.drain <= 0 || s.slowStart < 0:
		return fmt.Errorf("lifetime, latency and drain must be above 0")
	case s.rebalance <= 0 || s.rebalance > 100:
		return fmt.Errorf("rebalance must be above 0 and up to 100, not %g", s.rebalance)
	}
	return nil
}

func run(s settings, dir string) error {
	fmt.Printf("%d clients, %d hosts, connections of %v, handshakes of %v, seed %d\n", s.clients, s.hosts, s.lifetime, s.latency, s.seed)
	for _, sc := range scenarios {
		results := play(s, sc)
		fmt.Printf("\n### %s\n\n%s\n\n%s", sc.title, sc.what, table(results))
		if dir == "" {
			continue
		}
		if err := os.MkdirAll(dir, 0o750); err != nil {
			return err
		}
		file := filepath.Join(dir, sc.name+".svg")
		if err := os.WriteFile(file, []byte(plot(sc.title, results)), 0o600); err != nil {
			return fmt.Errorf("writing the plot: %w", err)
		}
	}
	return nil
}

// play runs a scenario for each model, all at once: worlds share nothing.
func play(s settings, sc scenario) []result {
	results := make([]result, len(models))
	var all sync.WaitGroup
	for i, m := range models {
		all.Go(func() {
			w := newWorld(s)
			results[i] = w.play(m.name, m.make(w), sc)
		})
	}
	all.Wait()
	return results
}
