//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/wsgateway/caddy-ws-gateway/bench/svg"
)

const (
	stalledClients = 2000
	stalledLook    = 100 * time.Millisecond
)

// held is what was seen at a time, in MiB.
type held struct {
	at           time.Duration
	rss, sockets float64
}

// watchStalled has upstreams flood clients who never read, and watches the gateway's
// memory.
func (b *bench) watchStalled(ctx context.Context) error {
	if err := b.alone(ctx); err != nil {
		return err
	}
	defer os.RemoveAll(b.workshop.dir)
	defer b.backend.stop()
	n := min(stalledClients, b.most())
	fmt.Printf("%s\n\n%d clients never read; the upstream sends each up to %d MiB, for %s.\n\n", b.report.Machine, n, floodSize>>20, b.stalled)
	fmt.Println("| buffers | MiB at the start | at most | at the end | MiB a second in the second half | of sockets, at most | ended |\n| --- | ---: | ---: | ---: | ---: | ---: | --- |")
	p := svg.Plot{Title: fmt.Sprintf("%d clients who never read, flooded", n), XLabel: "seconds", YLabel: "MiB resident"}
	for _, budget := range []string{"", "64MiB"} {
		looks, closes, err := b.floodStalled(ctx, budget, n)
		if err != nil {
			return err
		}
		name := budget
		if name == "" {
			name = "default"
		}
		fmt.Println(stalledRow(name, looks, closes))
		line := svg.Line{Name: "buffers " + name}
		for _, l := range looks {
			line.X, line.Y = append(line.X, l.at.Seconds()), append(line.Y, l.rss)
		}
		p.Lines = append(p.Lines, line)
	}
	return b.write(map[string]string{"stalled.svg": p.SVG()})
}

// floodStalled returns what the gateway held in the time, and how connections ended.
func (b *bench) floodStalled(ctx context.Context, budget string, n int) (looks []held, closes map[string]float64, err error) {
	g, err := b.startGateway(ctx, false, func(s *setup) { s.Budget = budget })
	if err != nil {
		return nil, nil, err
	}
	defer g.stop()
	began := time.Now()
	before := socketMemory()
	look := func() {
		looks = append(looks, held{at: time.Since(began), rss: rss(g.pid()) / 1024, sockets: (socketMemory() - before) / 1024})
	}
	look()
	opened := make(chan struct{})
	var links []*link
	var failed error
	go func() {
		defer close(opened)
		links, failed = g.client.dialMany(n, floodPath)
	}()
	every := time.NewTicker(stalledLook)
	defer every.Stop()
	for time.Since(began) < b.stalled {
		select {
		case <-ctx.Done():
			err = ctx.Err()
		case <-g.done:
			err = errors.New("the gateway died")
		case <-every.C:
			look()
			continue
		}
		break
	}
	<-opened
	defer closeAll(links)
	if err := errors.Join(err, failed); err != nil {
		return nil, nil, err
	}
	closes, err = g.metrics("caddy_ws_gateway_closes_total")
	return looks, closes, err
}

// stalledRow sums it up.
func stalledRow(name string, looks []held, closes map[string]float64) string {
	most, sockets := 0.0, 0.0
	for _, l := range looks {
		most, sockets = max(most, l.rss), max(sockets, l.sockets)
	}
	ended := make([]string, 0, len(closes))
	for _, series := range slices.Sorted(maps.Keys(closes)) {
		if code := label(series, "code"); code != "1000" { // those that only tried whether it works
			ended = append(ended, fmt.Sprintf("%.0f by the %s with %s", closes[series], label(series, "by"), code))
		}
	}
	if len(ended) == 0 {
		ended = []string{"none"}
	}
	return fmt.Sprintf("| %s | %.1f | %.1f | %.1f | %+.3f | %.1f | %s |", name, looks[0].rss, most, looks[len(looks)-1].rss,
		slopeOf(looks[len(looks)/2:]), sockets, strings.Join(ended, ", "))
}

// slopeOf is how fast resident memory grows, in MiB a second: the line that fits best.
func slopeOf(looks []held) float64 {
	n := float64(len(looks))
	var x, y, xx, xy float64
	for _, l := range looks {
		at := l.at.Seconds()
		x, y, xx, xy = x+at, y+l.rss, xx+at*at, xy+at*l.rss
	}
	if below := n*xx - x*x; below != 0 {
		return (n*xy - x*y) / below
	}
	return 0
}

// label is the value of a label in the name of a series.
func label(series, name string) string {
	_, rest, _ := strings.Cut(series, name+`="`)
	value, _, _ := strings.Cut(rest, `"`)
	return value
}
