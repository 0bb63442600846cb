package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"
)

// chaos is a run in which connections carry traffic while faults befall them.
type chaos struct {
	*storm
	length                 time.Duration
	killEvery, reloadEvery time.Duration

	pem, key  string
	processes []*upstreamProcess
	weather   weather
	tally     tally
	number    atomic.Int64
}

// messagesPerSecond is about what all clients send together.
const messagesPerSecond = 1500

func (c *chaos) run() (err error) {
	ctx, cancel := context.WithTimeoutCause(context.Background(), c.limit, fmt.Errorf("it took longer than %s", c.limit))
	defer cancel()
	dir, err := os.MkdirTemp("", "chaos")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if _, c.pem, c.key, err = makeCertificate(dir); err != nil {
		return err
	}
	defer c.stopUpstreams()
	if err := c.startUpstreams(); err != nil {
		return err
	}
	caddyfile := func(g *gateway) string { return c.fill(g, c.weather.version) }
	if c.gateway, err = startGateway(ctx, c.caddy, dir, caddyfile); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			c.gateway.showLog()
		}
		c.gateway.kill()
	}()
	if err := c.reign(ctx); err != nil {
		return err
	}
	if err := c.gateway.stop(); err != nil {
		return err
	}
	return c.checkLog()
}

// startUpstreams starts two plain ones and one with TLS.
func (c *chaos) startUpstreams() error {
	for i := range 3 {
		address, err := freeAddress()
		if err != nil {
			return err
		}
		p := &upstreamProcess{address: address, wrong: c.tally.wrong}
		if i == 2 {
			p.pem, p.key = c.pem, c.key
		}
		if err := p.start(); err != nil {
			return err
		}
		c.processes = append(c.processes, p)
	}
	return nil
}

func (c *chaos) stopUpstreams() {
	for _, p := range c.processes {
		p.kill()
	}
}

// behind is how many connections upstreams have.
func (c *chaos) behind() (sum int64) {
	for _, p := range c.processes {
		n, err := p.live()
		if err != nil {
			return -1
		}
		sum += n
	}
	return sum
}

// reign lets everything happen, and looks at what is left of it.
func (c *chaos) reign(ctx context.Context) error {
	fillers()
	if err := c.everyWayOnce(ctx); err != nil {
		return err
	}
	before, err := c.gateway.awaitQuiet(ctx, footprint{}, c.behind)
	if err != nil {
		return err
	}
	held, err := c.gateway.memory()
	if err != nil {
		return err
	}
	playing, stop := context.WithTimeout(ctx, c.length)
	defer stop()
	peak := c.watch(playing)
	weather := make(chan error, 1)
	go func() { weather <- c.blow(playing) }()
	c.play(playing)
	if err := <-weather; err != nil {
		return err
	}
	kills, reloads := len(c.weather.kills), len(c.weather.reloads)
	fmt.Printf("%s%-20s %-28s %8d\n%-20s %-28s %8d\n", &c.tally, "weather", "upstreams killed", kills, "", "reloads", reloads)
	if err := c.gateway.isWell(); err != nil {
		return err
	}
	after, err := c.gateway.awaitQuiet(ctx, before, c.behind)
	if err != nil {
		return errors.Join(c.verdict(), err)
	}
	left, err := c.gateway.memoryBack(held)
	fmt.Printf("before: %s; %s\nafter:  %s; %s; %d MiB resident at most\n", before, held, after, left, <-peak>>20)
	return errors.Join(c.verdict(), err)
}

func (c *chaos) verdict() error { return c.tally.verdict(filepath.Join(c.gateway.dir, logFile)) }

// everyWayOnce uses each way through the gateway, so that what Caddy makes on first use
// does not count as left over. Its messages are the same as later ones.
func (c *chaos) everyWayOnce(ctx context.Context) error {
	for i, carrier := range carriers {
		for j, route := range []string{plainRoute, encryptedRoute, limitedRoute, tightRoute} {
			l := life{
				ID: fmt.Sprintf("warm-%d-%d", i, j), Seed: c.seed, Carrier: carrier, Route: route,
				Messages: 5, Think: time.Millisecond, Burst: 1, Pushes: 10 * time.Millisecond,
			}
			c.lead(ctx, l)
		}
	}
	return c.verdict()
}

// play has clients lead one life after another, until the time is up.
func (c *chaos) play(ctx context.Context) {
	think := time.Duration(c.clients) * time.Second / messagesPerSecond
	var all sync.WaitGroup
	for range c.clients {
		all.Go(func() {
			first := c.random(c.number.Add(1) | 1<<40)
			select {
			case <-ctx.Done():
			case <-time.After(time.Duration(first.Int64N(int64(think)*10 + 1))):
			}
			for ctx.Err() == nil && c.gateway.isWell() == nil {
				c.lead(ctx, drawLife(c.seed, c.number.Add(1), think))
			}
		})
	}
	all.Wait()
}

// watch looks at Caddy's memory now and then, and tells in the end how many bytes were
// resident at most.
func (c *chaos) watch(ctx context.Context) <-chan int64 {
	peak := make(chan int64, 1)
	go func() {
		most := int64(0)
		for ctx.Err() == nil {
			most = max(most, c.gateway.resident())
			select {
			case <-ctx.Done():
			case <-time.After(250 * time.Millisecond):
			}
		}
		peak <- most
	}()
	return peak
}
