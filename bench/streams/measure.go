package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/wsgateway/caddy-ws-gateway/bench/caddy"
)

// bench is what all measurements share.
type bench struct {
	settings
	dir, binary string
	upstreams   []*upstream
}

func newBench(s settings) (*bench, error) {
	dir, err := os.MkdirTemp("", "wsgw-streams")
	if err != nil {
		return nil, err
	}
	b := &bench{settings: s, dir: dir, binary: filepath.Join(dir, "caddy")}
	for range 2 {
		u, err := newUpstream()
		if err != nil {
			b.close()
			return nil, err
		}
		b.upstreams = append(b.upstreams, u)
	}
	return b, nil
}

func (b *bench) build(ctx context.Context) error { return caddy.Build(ctx, b.binary) }

func (b *bench) close() {
	for _, u := range b.upstreams {
		_ = u.ln.Close()
	}
	_ = os.RemoveAll(b.dir)
}

// result is what a proxy took for each stream, and for each event.
type result struct {
	resident, heap, inUse, stack float64 // bytes
	goroutines                   float64
	cpu                          float64 // microseconds
}

// measure starts a proxy, and looks at it while nothing happens and while events come.
func (b *bench) measure(ctx context.Context, p proxy) (*result, error) {
	g, err := b.start(ctx, p)
	if err != nil {
		return nil, err
	}
	defer g.stop()
	if err := b.warm(ctx, g); err != nil {
		return nil, err
	}
	before, err := g.atRest()
	if err != nil {
		return nil, err
	}
	c := newClients(ctx, b.proto, g.address, token("alice"))
	defer c.stop()
	if err := c.start(b.n); err != nil {
		return nil, err
	}
	got, err := b.quiet(g, p, before)
	if err != nil {
		return nil, err
	}
	if got.cpu, err = b.pushed(g, c); err != nil {
		return nil, err
	}
	c.stop()
	return got, b.nothingCounts(g)
}

// warm opens streams and closes them, so that what is made once is there.
func (b *bench) warm(ctx context.Context, g *process) error {
	c := newClients(ctx, b.proto, g.address, token("alice"))
	defer c.stop()
	if err := c.start(min(b.n, 300)); err != nil {
		return err
	}
	c.stop()
	return b.nothingCounts(g)
}

// quiet is what the streams take while nothing comes.
func (b *bench) quiet(g *process, p proxy, before metrics) (*result, error) {
	after, err := g.atRest()
	if err != nil {
		return nil, err
	}
	if live := after["caddy_ws_gateway_connections"]; p.counts && live != float64(b.n) {
		return nil, fmt.Errorf("%v of %d streams are counted", live, b.n)
	}
	if b.profiles != "" {
		profile, err := g.get("/debug/pprof/heap?gc=1")
		if err != nil {
			return nil, err
		}
		name := strings.ReplaceAll(strings.ReplaceAll(p.name, ",", ""), " ", "-") + "-" + b.proto + ".pprof"
		if err := os.WriteFile(filepath.Join(b.profiles, name), []byte(profile), 0o600); err != nil {
			return nil, err
		}
	}
	of := func(name string) float64 { return (after[name] - before[name]) / float64(b.n) }
	return &result{
		resident: of("process_resident_memory_bytes"), heap: of("go_memstats_heap_alloc_bytes"), inUse: of("go_memstats_heap_inuse_bytes"),
		stack: of("go_memstats_stack_inuse_bytes"), goroutines: of("go_goroutines"),
	}, nil
}

// pushed is the CPU for an event, in microseconds.
func (b *bench) pushed(g *process, c *clients) (float64, error) {
	before, err := g.metrics()
	if err != nil {
		return 0, err
	}
	done := make(chan struct{})
	time.AfterFunc(b.pushing, func() { close(done) })
	events := b.push(b.rate, false, done)
	if err := within(time.Minute, "all events have come", func() (bool, error) {
		return c.received.Load() >= int64(events), c.fault()
	}); err != nil {
		return 0, err
	}
	after, err := g.metrics()
	return (after["process_cpu_seconds_total"] - before["process_cpu_seconds_total"]) * 1e6 / float64(events), err
}

// push sends events from both upstreams, and returns how many.
func (b *bench) push(rate int, halves bool, done <-chan struct{}) int {
	other := make(chan int)
	go func() { other <- b.upstreams[1].push(rate/2, halves, done) }()
	sent := b.upstreams[0].push(rate-rate/2, halves, done)
	return sent + <-other
}

// nothingCounts waits until no stream counts any more, neither at the proxy nor upstream.
func (b *bench) nothingCounts(g *process) error {
	return within(time.Minute, "nothing counts any more", func() (bool, error) {
		m, err := g.metrics()
		return m.counting() == 0 && b.upstreams[0].count()+b.upstreams[1].count() == 0, err
	})
}

// drain has one upstream serve all streams, and drains it while events come in halves.
func (b *bench) drain(ctx context.Context) error {
	g, err := b.start(ctx, gatewayWithStreams)
	if err != nil {
		return err
	}
	defer g.stop()
	from, to := b.upstreams[0], b.upstreams[1]
	turn := func(u *upstream, state string) error {
		_, err := g.post("/ws_gateway/upstreams/"+u.address(), `{"state":"`+state+`"}`)
		return err
	}
	c := newClients(ctx, b.proto, g.address, token("alice"))
	defer c.stop()
	if err := errors.Join(turn(to, "maintenance"), c.start(b.n), turn(to, "ready")); err != nil {
		return err
	}
	done := make(chan struct{})
	pushed := make(chan struct{})
	go func() { b.push(b.rate, true, done); close(pushed) }()
	began := time.Now()
	err = turn(from, "drain")
	if err == nil {
		err = within(b.period+time.Minute, "all clients are back", func() (bool, error) {
			return c.back.Load() >= int64(b.n), c.fault()
		})
	}
	close(done)
	<-pushed
	if err != nil {
		return err
	}
	if err := b.reportDrain(c, began, from, to); err != nil {
		return err
	}
	c.stop()
	return errors.Join(c.fault(), b.nothingCounts(g))
}

func (b *bench) reportDrain(c *clients, began time.Time, from, to *upstream) error {
	ends := c.endings()
	tenths := make([]int, 10)
	late := 0
	for _, end := range ends {
		if i := int(end.Sub(began) * 10 / b.period); i < len(tenths) {
			tenths[i]++
		} else {
			late++
		}
	}
	fmt.Printf("\n%d streams drained over %s, with events in halves: ends in each tenth %v (%d to %d), %d later, the last after %s; %d came back, %d of them to the other upstream; none torn.\n",
		b.n, b.period, tenths, slices.Min(tenths), slices.Max(tenths), late, slices.MaxFunc(ends, time.Time.Compare).Sub(began).Round(10*time.Millisecond), c.back.Load(), to.count())
	if len(ends) != b.n || to.count() != b.n || from.count() != 0 {
		return fmt.Errorf("%d of %d streams have ended, %d are upstream again, and %d where they were", len(ends), b.n, to.count(), from.count())
	}
	return nil
}
