package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"time"
)

// phase is a part of the story.
type phase struct {
	name          string
	from, to      int // samples
	lasted        float64
	before, after load
}

// simulate tells the story of a fleet.
func simulate(ctx context.Context, s settings) error {
	if s.nodes < 2 || s.conns < s.nodes || s.rate < 1 || s.perUser < 1 {
		return errors.New("there must be 2 nodes, a connection for each, a handshake a second and a connection for each user at least")
	}
	dir, err := os.MkdirTemp("", "wsgw-fleet")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	server, err := startRedis(dir)
	if err != nil {
		return err
	}
	defer func() { server.kill() }()
	empty, err := server.load()
	if err != nil {
		return err
	}
	w := newWorld(s)
	if err := w.join("redis://" + server.addr); err != nil {
		return err
	}
	st := &story{world: w, server: server, empty: empty}
	err = st.tell(ctx)
	w.inFlight.Wait()
	for _, n := range w.nodes {
		n.stop()
	}
	if err != nil {
		return err
	}
	fmt.Print(st.table())
	if s.plots != "" {
		if err := st.plot(s.plots); err != nil {
			return err
		}
	}
	return st.verdict()
}

// story is what happens, and what was measured of it.
type story struct {
	world  *world
	server *server
	empty  load
	phases []phase
}

func (st *story) tell(ctx context.Context) error {
	w := st.world
	never := func() bool { return false }
	full := func() bool { return int(w.live.Load()) >= w.caps.Connections*99/100 }
	void := 3*w.settings.heartbeat + time.Second
	away := min(3*time.Second, w.settings.phase)
	st.phase("all come", func() { w.play(ctx, false, time.Hour, full) })
	st.phase("storm at the caps", func() { w.play(ctx, true, w.settings.phase, never) })
	st.phase("a node is killed: until its share is void", func() {
		killed := w.nodes[0]
		w.nodes = w.nodes[1:]
		killed.kill()
		w.play(ctx, true, void, never)
	})
	st.phase("after that", func() { w.play(ctx, true, w.settings.phase, never) })
	st.phase("Redis is killed, and away", func() {
		st.server.kill()
		w.play(ctx, true, away, never)
	})
	if err := st.server.start(); err != nil {
		return err
	}
	st.phase("Redis is back, and empty", func() { w.play(ctx, true, w.settings.phase, never) })
	return ctx.Err()
}

// phase measures what happens meanwhile. What cannot be had of the server is not a number.
func (st *story) phase(name string, happens func()) {
	p := phase{name: name, from: len(st.world.samples), before: st.load()}
	began := time.Now()
	happens()
	p.lasted, p.to, p.after = time.Since(began).Seconds(), len(st.world.samples), st.load()
	st.phases = append(st.phases, p)
}

func (st *story) load() load {
	l, err := st.server.load()
	if err != nil {
		none := math.NaN()
		return load{none, none, none, none}
	}
	return l
}
