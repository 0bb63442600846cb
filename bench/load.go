//go:build linux

package main

import (
	"errors"
	"fmt"
	"runtime"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// traffic is a kind of load on open connections.
type traffic struct {
	conns int
	size  int
	rate  int  // messages a second in all, each in its time; 0: the next when the last is back
	push  bool // the backend sends instead, one a second on each connection
	quiet bool // nobody sends anything, but pings are answered
}

// window is the time that is measured: begin and end are called around it.
type window struct {
	warm, length time.Duration
	begin, end   func()
}

// outcome is what a load came to within the window.
type outcome struct {
	units     int     // messages; pings where it is quiet
	pings     int     // that were answered, before the window too
	latencies []int64 // in ns, sorted
}

// generator puts traffic on connections from one loop.
type generator struct {
	*loop
	traffic
	shape    *shape
	all      []*sock
	every    time.Duration // on each connection
	start    time.Time
	ticks    int
	count    atomic.Int64
	pings    atomic.Int64
	counting *atomic.Bool
	timed    []int64
	failed   error
}

// play opens connections and puts traffic on them.
func (c client) play(t traffic, w window) (outcome, error) {
	path := "/"
	if t.push {
		path = "/push"
	}
	links, err := c.dialMany(t.conns, path)
	if err != nil {
		return outcome{}, err
	}
	defer closeAll(links)
	return playOn(links, t, w)
}

// playOn puts traffic on connections, which are of no more use afterwards.
func playOn(links []*link, t traffic, w window) (outcome, error) {
	var counting atomic.Bool
	loops := make([]*generator, min(runtime.NumCPU(), 2, t.conns))
	for i := range loops {
		g, err := newGenerator(t, &counting)
		if err != nil {
			return outcome{}, err
		}
		defer g.close()
		loops[i] = g
		for at := i; at < len(links); at += len(loops) {
			if err := links[at].give(g.loop, uint32(at)); err != nil {
				return outcome{}, err
			}
		}
	}
	var running sync.WaitGroup
	errs := make([]error, len(loops))
	for i, g := range loops {
		running.Go(func() { errs[i] = g.play() })
	}
	time.Sleep(w.warm + time.Duration(t.conns)*100*time.Microsecond)
	sum := func() (n int) {
		for _, g := range loops {
			if n += int(g.count.Load()); t.quiet {
				n += int(g.pings.Load())
			}
		}
		return n
	}
	runtime.GC()
	defer debug.SetGCPercent(debug.SetGCPercent(-1)) // ours must not look like the proxy's latency
	w.begin()
	counting.Store(true)
	before := sum()
	time.Sleep(w.length)
	counting.Store(false)
	o := outcome{units: sum() - before}
	w.end()
	for _, g := range loops {
		g.stop.Store(true)
	}
	running.Wait()
	for i, g := range loops {
		o.pings += int(g.pings.Load())
		o.latencies = append(o.latencies, g.timed...)
		errs[i] = errors.Join(errs[i], g.failed)
	}
	slices.Sort(o.latencies)
	if o.units == 0 && !t.quiet {
		errs = append(errs, errors.New("nothing came back"))
	}
	return o, errors.Join(errs...)
}

func newGenerator(t traffic, counting *atomic.Bool) (*generator, error) {
	l, err := newLoop()
	if err != nil {
		return nil, err
	}
	g := &generator{loop: l, traffic: t, shape: shapeOf(t.size), counting: counting}
	g.received, g.tick, g.gone = g.receive, g.pace, g.lose
	if t.rate > 0 {
		g.every = time.Duration(t.conns) * time.Second / time.Duration(t.rate)
	}
	return g, nil
}

func (g *generator) play() error {
	for _, s := range g.socks {
		if s != nil {
			g.answerPings(s)
			g.all = append(g.all, s)
		}
	}
	g.start = time.Now()
	switch {
	case g.rate > 0:
		if err := g.startTicks(); err != nil {
			return err
		}
	case !g.push && !g.quiet:
		for _, s := range g.all {
			if err := g.next(s, g.start.UnixNano()); err != nil {
				return err
			}
		}
	}
	return g.run()
}

// answerPings has each connection answer what the gateway asks.
func (g *generator) answerPings(s *sock) {
	s.in.pinged = func(payload []byte) error {
		g.pings.Add(1)
		return g.send(s, append(appendHeader(nil, opPong, len(payload), true), payload...))
	}
}

func (g *generator) next(s *sock, due int64) error {
	s.sent++
	return g.send(s, g.shape.stamped(stamp{due, s.number, s.sent}))
}

// pace sends what has become due. A connection's messages are due in their time,
// whether the ones before are back or not, and waiting counts from then.
func (g *generator) pace(n uint64) {
	for range n {
		due := g.start.Add(time.Duration(g.ticks+1) * tickEvery)
		from, to := g.upTo(g.ticks), g.upTo(g.ticks+1)
		for i := from; i < to; i++ {
			s := g.all[i%len(g.all)]
			if g.socks[s.fd] != s {
				continue
			}
			if err := g.next(s, due.UnixNano()); err != nil {
				g.end(s, err)
			}
		}
		g.ticks++
	}
}

// upTo is how many messages of this loop are due within so many ticks.
func (g *generator) upTo(ticks int) int {
	return int(time.Duration(ticks) * tickEvery * time.Duration(len(g.all)) / g.every)
}

func (g *generator) receive(s *sock, p []byte) error {
	return s.in.take(g.shape, p, func(st stamp) error { return g.got(s, st) })
}

func (g *generator) got(s *sock, st stamp) error {
	s.back++
	g.count.Add(1)
	if st.seq != s.back || !g.push && st.conn != s.number {
		return fmt.Errorf("%w: message %d of connection %d came as number %d of %d", errChanged, st.seq, st.conn, s.back, s.number)
	}
	timed := g.push || g.rate > 0 || g.conns == 1
	now := int64(0)
	if timed {
		now = time.Now().UnixNano()
		if g.counting.Load() {
			g.timed = append(g.timed, now-st.due)
		}
	}
	if g.push || g.rate > 0 {
		return nil
	}
	return g.next(s, now)
}

func (g *generator) lose(s *sock, err error) {
	if g.failed == nil {
		g.failed = fmt.Errorf("connection %d after %d messages: %w", s.number, s.back, err)
	}
}

// storm opens connections, uses each once and closes it in order.
func (c client) storm(workers int, w window) (outcome, error) {
	return stormOf(slices.Repeat([]client{c}, workers), w)
}

// stormOf has clients open connections, one after the other, and use each once.
func stormOf(clients []client, w window) (outcome, error) {
	var count atomic.Int64
	var stop atomic.Bool
	var all sync.WaitGroup
	errs := make([]error, len(clients))
	for i, c := range clients {
		all.Go(func() {
			s := shapeOf(pushSize)
			for n := uint32(0); !stop.Load() && errs[i] == nil; n++ {
				errs[i] = c.useOnce(s, stamp{conn: uint32(i), seq: n})
				count.Add(1)
			}
		})
	}
	time.Sleep(w.warm)
	before := count.Load()
	w.begin()
	time.Sleep(w.length)
	units := count.Load() - before
	w.end()
	stop.Store(true)
	all.Wait()
	return outcome{units: int(units)}, errors.Join(errs...)
}

func (c client) useOnce(s *shape, st stamp) error {
	l, err := c.dial("/")
	if err != nil {
		return err
	}
	if c.returns && st.seq > 0 && !l.resumed() {
		_ = l.wire.Close()
		return errNotResumed
	}
	if err := l.echo(s, st); err != nil {
		_ = l.wire.Close()
		return err
	}
	return l.leave()
}
