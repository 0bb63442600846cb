package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"strconv"
	"time"
)

// footprint is what Caddy holds.
type footprint struct {
	goroutines, descriptors int
	live                    int     // connections, by the admin endpoint
	counted                 float64 // and by the metrics
	behind                  int64   // connections that upstreams have
}

// String shows it.
func (f footprint) String() string {
	return fmt.Sprintf("%d goroutines, %d descriptors, %d connections (%g in the metrics), %d at upstreams",
		f.goroutines, f.descriptors, f.live, f.counted, f.behind)
}

// gauges must be zero when no client is connected, and panics always.
var gauges = []string{"caddy_ws_gateway_connections", "caddy_ws_gateway_queue_length", "caddy_ws_gateway_panics_total"}

func (g *gateway) footprint(behind func() int64) (f footprint, err error) {
	if f.live, err = g.live(); err != nil {
		return f, err
	}
	if f.counted, err = g.measured(gauges...); err != nil {
		return f, err
	}
	profile, err := g.ask("/debug/pprof/goroutine?debug=1")
	if err != nil {
		return f, err
	}
	first, _, _ := bytes.Cut(profile, []byte("\n"))
	if f.goroutines, err = strconv.Atoi(string(bytes.TrimPrefix(first, []byte("goroutine profile: total ")))); err != nil {
		return f, err
	}
	f.descriptors = descriptorsOf(g.command.Process.Pid)
	f.behind = behind()
	return f, nil
}

// memory is what Caddy's process holds, in bytes.
type memory struct{ heap, resident int64 }

// String shows it.
func (m memory) String() string {
	return fmt.Sprintf("%.1f MiB of heap, %d MiB resident", float64(m.heap)/(1<<20), m.resident>>20)
}

// memory collects garbage before it looks.
func (g *gateway) memory() (m memory, err error) {
	var profile []byte
	for range 3 { // pools are emptied by the second collection
		if profile, err = g.ask("/debug/pprof/heap?gc=1&debug=1"); err != nil {
			return m, err
		}
	}
	const label = "# HeapAlloc = "
	_, rest, _ := bytes.Cut(profile, []byte(label))
	number, _, _ := bytes.Cut(rest, []byte("\n"))
	if m.heap, err = strconv.ParseInt(string(number), 10, 64); err != nil {
		return m, fmt.Errorf("in the profile of the heap: %w", err)
	}
	m.resident = g.resident()
	return m, nil
}

// resident is zero where it cannot be known.
func (g *gateway) resident() int64 {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", g.command.Process.Pid))
	if err != nil {
		return 0
	}
	_, rest, _ := bytes.Cut(status, []byte("VmRSS:"))
	number, _, _ := bytes.Cut(bytes.TrimSpace(rest), []byte(" "))
	kib, _ := strconv.ParseInt(string(number), 10, 64)
	return kib << 10
}

// What Caddy may hold at the end beyond what it held before. What it has learned of
// clients and of upstreams counts for something, and the collector gives memory back in
// its own time.
const (
	spareHeap     = 8 << 20
	spareResident = 96 << 20
)

// memoryBack waits until Caddy holds about as much as before.
func (g *gateway) memoryBack(before memory) (now memory, err error) {
	if !poll(quietPatience, func() bool {
		now, err = g.memory()
		return err != nil || now.heap <= before.heap+spareHeap && now.resident <= before.resident*3/2+spareResident
	}) {
		err = fmt.Errorf("memory is not given back: %s, and before it was %s", now, before)
	}
	return now, err
}

// descriptorsOf counts the descriptors of a process; it is zero where that cannot
// be known.
func descriptorsOf(pid int) int {
	open, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	if err != nil {
		return 0
	}
	return len(open)
}

// settling is how long the footprint is watched while no client is connected, to find
// its least value: looking costs something, too.
const settling = 2 * time.Second

// awaitQuiet waits until no client is connected, and Caddy holds no more than before.
// Where before is zero, it finds out how little Caddy can hold.
func (g *gateway) awaitQuiet(ctx context.Context, before footprint, behind func() int64) (footprint, error) {
	var now, least footprint
	var since time.Time
	var err error
	quiet := poll(quietPatience, func() bool {
		if now, err = g.footprint(behind); err != nil || ctx.Err() != nil {
			return true
		}
		if now.live != 0 || now.counted != 0 || now.behind != 0 {
			return false
		}
		if before != (footprint{}) {
			return now.goroutines <= before.goroutines && now.descriptors <= before.descriptors
		}
		if since.IsZero() {
			since, least = time.Now(), now
		}
		least.goroutines = min(least.goroutines, now.goroutines)
		least.descriptors = min(least.descriptors, now.descriptors)
		now = least
		return time.Since(since) > settling
	})
	switch {
	case err != nil:
		return now, err
	case ctx.Err() != nil:
		return now, context.Cause(ctx)
	case !quiet:
		if stacks, err := g.ask("/debug/pprof/goroutine?debug=1"); err == nil {
			fmt.Fprintf(os.Stderr, "%s\n", stacks)
		}
		return now, fmt.Errorf("something is left over: %s; before there were %s", now, before)
	}
	return now, nil
}
