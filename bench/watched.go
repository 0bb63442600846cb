//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"sync"
	"time"
)

const (
	watchedRate  = 3000 // messages a second, over all connections
	mostSlowdown = 0.10 // of the 99th percentile, while somebody looks
)

// compareWatched measures how long messages take while the metrics are scraped each second
// and the live page is open, against nobody looking, in turns.
func (b *bench) compareWatched(ctx context.Context) error {
	if err := b.alone(ctx); err != nil {
		return err
	}
	defer os.RemoveAll(b.workshop.dir)
	defer b.backend.stop()
	b.length = max(b.length, 10*time.Second) // so that there are some scrapes
	n := min(b.idle, b.most())
	g, err := b.startGateway(ctx, false, func(s *setup) { s.Page = true })
	if err != nil {
		return err
	}
	defer g.stop()
	var half, tail, cores pairs
	looking := with(nil)
	for round := range b.rounds {
		for _, v := range looking.inTurns(round) {
			o, err := b.whileWatched(ctx, g, n, v.on)
			if err != nil {
				return err
			}
			count := len(o.latencies)
			half.add(v, float64(o.latencies[count/2])/1e3)
			tail.add(v, float64(o.latencies[count*99/100])/1e3)
			cores.add(v, b.spent.Seconds()/b.length.Seconds())
		}
		b.say("round %d of %d is over", round+1, b.rounds)
	}
	fmt.Printf("%s\n\n%d connections, %d messages a second, %d rounds; off: nobody looks, on: a scrape each second and the live page open:\n\n| | off | on | ratio |\n| --- | ---: | ---: | ---: |\n",
		b.report.Machine, n, watchedRate, b.rounds)
	for _, row := range []struct {
		what string
		pairs
	}{{"p50, µs", half}, {"p99, µs", tail}, {"the gateway's cores", cores}} {
		fmt.Printf("| %s | %s | %s | %s |\n", row.what, fine(spanOf(row.off), 2), fine(spanOf(row.on), 2), fine(row.ratio(), 3))
	}
	fmt.Printf("\np99: %+.1f %%, which may be %.0f %%\n", 100*(tail.ratio().median-1), 100*mostSlowdown)
	return nil
}

// whileWatched puts traffic on n connections, and looks at the gateway meanwhile if it is to.
func (b *bench) whileWatched(ctx context.Context, g *gateway, n int, looks bool) (outcome, error) {
	ctx, end := context.WithCancel(ctx)
	defer end()
	var looking sync.WaitGroup
	var failed [2]error
	w := b.window(&subject{pid: g.pid()})
	if begin := w.begin; looks {
		w.begin = func() {
			looking.Go(func() { failed[0] = g.scrape(ctx) })
			looking.Go(func() { failed[1] = g.watchPage(ctx) })
			begin()
		}
	}
	o, err := g.client.play(traffic{conns: n, size: 32, rate: watchedRate}, w)
	end()
	looking.Wait()
	if err == nil && len(o.latencies) == 0 {
		err = errors.New("no message came back")
	}
	return o, errors.Join(err, failed[0], failed[1])
}

// scrape reads all metrics each second.
func (g *gateway) scrape(ctx context.Context) error {
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
			if _, err := g.get("/metrics"); err != nil {
				return fmt.Errorf("scraping: %w", err)
			}
		}
	}
}

// watchPage holds the stream of the live page.
func (g *gateway) watchPage(ctx context.Context) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+g.setup.Addr+statusPath+"?view=events", nil)
	if err != nil {
		return err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("the live page: %s", res.Status)
	}
	if got, err := io.Copy(io.Discard, res.Body); ctx.Err() == nil {
		return fmt.Errorf("the live page ended after %d bytes: %w", got, err)
	}
	return nil
}

// statusPath is where the gateway serves its live page.
const statusPath = "/status"
