//go:build linux

package main

import (
	"fmt"
	"slices"
	"time"
)

// scenario is one thing that is measured of each peer, in a process of its own.
type scenario struct {
	name string
	what string
	unit string // of what CPU is given for
	only string // the one transport that it is for, if not both
	do   func(b *bench, s *subject) error
}

func scenarios() []scenario {
	list := make([]scenario, 0, 16)
	list = append(list, []scenario{
		{"echo", "64 connections, 32 bytes, each sent when the last is back", "message", "", load(traffic{conns: 64, size: 32})},
		{"echo64k", "16 connections, 64 KiB, each sent when the last is back", "message", "", load(traffic{conns: 16, size: 64 << 10})},
		{"bulk", "4 connections, 1 MiB, each sent when the last is back", "message", "", load(traffic{conns: 4, size: 1 << 20})},
		{"push", "5,000 connections, on each a message of 32 bytes a second from upstream", "message", "", load(traffic{conns: 5000, size: pushSize, push: true})},
		{"paced", "1,000 connections, 4,000 echoes of 32 bytes a second in all", "message", "", load(traffic{conns: 1000, size: 32, rate: 4000})},
		{"ping-pong", "1 connection, 32 bytes, each sent when the last is back", "message", "", load(traffic{conns: 1, size: 32})},
		{"storm", "16 clients that connect, show a token, use the connection once, close it, and begin again", "connection", "", storm},
		{"storm-resumed", "the same 16 clients, each of which resumes the TLS session that it had before", "connection", "wss", stormResumed},
		{"idle", "memory of quiet connections", "", "", quiet}, // and the last step of growth
	}...)
	for _, n := range growthSteps {
		list = append(list, scenario{fmt.Sprintf("growth %d", n),
			fmt.Sprintf("%d connections, 4,000 echoes of 32 bytes a second in all", n), "message", "", growth(n)})
	}
	return list
}

// growthSteps are as many connections as come before those of idle.
var growthSteps = []int{500, 2000}

// growthTraffic is the same however many connections there are.
func growthTraffic(n int) traffic { return traffic{conns: n, size: 32, rate: 4000} }

// subject is a peer that is measured.
type subject struct {
	transport string
	scenario  scenario
	peer      peer
	round     int
	pid       int
	client    client
}

func load(t traffic) func(*bench, *subject) error {
	return func(b *bench, s *subject) error {
		t := t
		t.conns = min(t.conns, b.most())
		if b.smoke {
			t.conns = min(t.conns, 100)
		}
		o, err := s.client.play(t, b.window(s))
		if err != nil {
			return err
		}
		b.noteLoad(s, o)
		return nil
	}
}

// stormClients are as many as connect at once.
const stormClients = 16

func storm(b *bench, s *subject) error {
	return b.noteStorm(s, slices.Repeat([]client{s.client}, stormClients))
}

func stormResumed(b *bench, s *subject) error {
	clients := make([]client, stormClients)
	for i := range clients {
		clients[i] = s.client.returning()
	}
	return b.noteStorm(s, clients)
}

func (b *bench) noteStorm(s *subject, clients []client) error {
	o, err := stormOf(clients, b.window(s))
	if err != nil {
		return err
	}
	b.noteLoad(s, o)
	return nil
}

// window is the time that is measured, with what CPU was used in it.
func (b *bench) window(s *subject) window {
	var before, after [3]time.Duration
	pids := [3][]int{tree(s.pid), {b.self}, {b.backend.pid()}}
	var began time.Time
	return window{
		b.warm, b.length,
		func() {
			began = time.Now()
			for i, pid := range pids {
				before[i] = cpu(pid...)
			}
		},
		func() {
			took := time.Since(began).Seconds()
			for i, pid := range pids {
				after[i] = cpu(pid...)
			}
			b.spent = after[0] - before[0]
			b.note(s, "proxy's cores", b.spent.Seconds()/took)
			b.note(s, "generator's cores", (after[1]-before[1]).Seconds()/took)
			b.note(s, "backend's cores", (after[2]-before[2]).Seconds()/took)
		},
	}
}

func (b *bench) noteLoad(s *subject, o outcome) {
	b.note(s, "CPU", float64(b.spent.Nanoseconds())/1e3/float64(o.units))
	b.note(s, "rate", float64(o.units)/b.length.Seconds())
	if n := len(o.latencies); n > 0 {
		b.note(s, "p50", float64(o.latencies[n/2])/1e3)
		b.note(s, "p99", float64(o.latencies[n*99/100])/1e3)
	}
}

// quiet opens many connections and looks at the memory, then has each of them
// send 1 KiB at once, and looks again.
func quiet(b *bench, s *subject) error {
	n := min(b.idle, b.most())
	links, before, err := b.open(s, n)
	if err != nil {
		return err
	}
	defer closeAll(links)
	grown := *s
	grown.scenario.name = fmt.Sprintf("growth %d", n)
	for _, s := range []*subject{s, &grown} {
		b.note(s, "RSS", (rss(s.pid)-before.rss)/float64(n))
	}
	b.note(s, "sockets", (socketMemory()-before.sockets)/float64(n))
	if err := burst(links); err != nil {
		return err
	}
	time.Sleep(b.settle)
	b.note(s, "RSS after burst", (rss(s.pid)-before.rss)/float64(n))
	b.note(s, "sockets after burst", (socketMemory()-before.sockets)/float64(n))
	o, err := playOn(links, growthTraffic(n), b.window(&grown))
	if err != nil {
		return err
	}
	b.noteLoad(&grown, o)
	return nil
}

// burst has each connection send 1 KiB, and then reads what comes back.
func burst(links []*link) error {
	shape := shapeOf(1 << 10)
	for i, l := range links {
		_ = l.SetDeadline(time.Now().Add(patience))
		if _, err := l.Write(shape.stamped(stamp{conn: uint32(i)})); err != nil {
			return err
		}
	}
	for i, l := range links {
		if err := l.expect(shape, stamp{conn: uint32(i)}); err != nil {
			return err
		}
	}
	return nil
}

// growth measures memory and CPU with n connections; the messages of all of
// them are as many, however many they are.
func growth(n int) func(*bench, *subject) error {
	return func(b *bench, s *subject) error {
		if n > b.most() {
			return fmt.Errorf("%d connections do not fit the limit of open files", n)
		}
		links, before, err := b.open(s, n)
		if err != nil {
			return err
		}
		defer closeAll(links)
		b.note(s, "RSS", (rss(s.pid)-before.rss)/float64(n))
		o, err := playOn(links, growthTraffic(n), b.window(s))
		if err != nil {
			return err
		}
		b.noteLoad(s, o)
		return nil
	}
}

// memory is what was there before connections were opened.
type memory struct{ rss, sockets float64 }

// open opens n quiet connections. Before, the proxy is warmed up with some that
// are closed again, so that its own memory is not taken for theirs.
func (b *bench) open(s *subject, n int) ([]*link, memory, error) {
	if _, err := s.client.storm(32, window{b.settle / 3, 0, func() {}, func() {}}); err != nil {
		return nil, memory{}, err
	}
	time.Sleep(b.settle / 3)
	before := memory{rss(s.pid), socketMemory()}
	links, err := s.client.dialMany(n, "/")
	if err == nil {
		time.Sleep(b.settle)
	}
	return links, before, err
}
