//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// The soak's connections live between lifeMin and lifeMax, and send a message
// every second or so.
const (
	lifeMin, lifeMax = 5 * time.Second, 55 * time.Second
	soakLooks        = 40 // how often the memory is looked at
)

// soak keeps a gateway under connections that come and go.
type soak struct {
	*bench
	gateway  *gateway
	live     atomic.Int64
	opened   atomic.Int64
	messages atomic.Int64
	reloads  int
	mu       sync.Mutex
	failures []string // the first few
	failed   atomic.Int64
	dropped  atomic.Int64 // handshakes, while there are reloads
	looks    []look
}

// endure runs the soak, prints what it sees, and fails if memory or descriptors
// grow, or connections break.
func (b *bench) endure(ctx context.Context) error {
	if err := b.alone(ctx); err != nil {
		return err
	}
	defer os.RemoveAll(b.workshop.dir)
	defer b.backend.stop()
	b.conns = min(b.conns, b.most())
	s := &soak{bench: b}
	var err error
	if s.gateway, err = b.startGateway(ctx, b.secure, func(*setup) {}); err != nil {
		return err
	}
	defer s.gateway.stop()
	first, err := s.look(0)
	if err != nil {
		return err
	}
	fmt.Printf("%s\n\n%d connections, %s\n\n", b.report.Machine, b.conns, b.soak)
	fmt.Println("| minutes | live | opened | messages | RSS, MiB | live heap, MiB | descriptors |\n| ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
	fmt.Println(first)
	if err := s.watch(ctx); err != nil {
		return err
	}
	last, err := s.settle(first)
	if err != nil {
		return err
	}
	return errors.Join(s.plot(), s.judge(first, last))
}

// watch keeps up the load, and looks now and then.
func (s *soak) watch(ctx context.Context) error {
	load, stop := context.WithTimeout(ctx, s.soak)
	defer stop()
	var all sync.WaitGroup
	defer all.Wait()
	for i := range s.conns {
		all.Go(func() { s.reconnect(load, i) })
	}
	began := time.Now()
	every := time.NewTicker(max(s.soak/soakLooks, time.Second))
	defer every.Stop()
	reload := time.NewTicker(max(s.reload, time.Second))
	defer reload.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-load.Done():
			return nil
		case <-s.gateway.done:
			return errors.New("the gateway died")
		case <-reload.C:
			if s.reload > 0 {
				s.again()
			}
		case <-every.C:
			l, err := s.look(time.Since(began))
			if err != nil {
				return err
			}
			s.looks = append(s.looks, l)
			fmt.Println(l)
		}
	}
}

// reconnect has one connection after another, beginning at some time within the
// first of their lives.
func (s *soak) reconnect(ctx context.Context, number int) {
	pause(ctx, rand.N(10*time.Second)) //nolint:gosec // no secret
	for ctx.Err() == nil {
		if err := s.lead(ctx, uint32(number)); err != nil && ctx.Err() == nil {
			s.complain(err)
			pause(ctx, time.Second)
		}
	}
}

// lead leads one life: messages of random sizes, and one of several ends.
func (s *soak) lead(ctx context.Context, number uint32) error {
	l, err := s.gateway.client.dial("/")
	if err != nil && s.reload > 0 {
		// Caddy drops a few that come in the very moment of a reload, whatever
		// the handler.
		s.dropped.Add(1)
		pause(ctx, 100*time.Millisecond)
		return nil
	}
	if err != nil {
		return err
	}
	defer l.wire.Close()
	s.opened.Add(1)
	s.live.Add(1)
	defer s.live.Add(-1)
	until := time.Now().Add(lifeMin + rand.N(lifeMax-lifeMin)) //nolint:gosec // no secret
	for seq := uint32(1); time.Now().Before(until) && ctx.Err() == nil; seq++ {
		pause(ctx, rand.N(2*time.Second)) //nolint:gosec // no secret
		if err := l.echoAny(stamp{conn: number, seq: seq}); err != nil {
			return err
		}
		s.messages.Add(1)
	}
	return l.endSomehow()
}

// endSomehow closes in order, half, by vanishing, or with a reset.
func (l *link) endSomehow() error {
	_ = l.SetDeadline(time.Now().Add(patience))
	tcp := l.wire.Conn.(*net.TCPConn)
	switch rand.IntN(10) { //nolint:gosec // no secret
	case 0:
		return tcp.Close()
	case 1:
		return errors.Join(tcp.SetLinger(0), tcp.Close())
	case 2:
		err := tcp.CloseWrite()
		_, _ = io.Copy(io.Discard, l)
		return err
	default:
		return l.leave()
	}
}

// soakShapes are the messages, small ones more often; whoever sends one has it
// alone meanwhile.
var soakShapes = func() (pools []*sync.Pool) {
	for _, size := range []int{16, 16, 64, 64, 200, 200, 1 << 10, 1 << 10, 4 << 10, 16 << 10, 64 << 10} {
		pools = append(pools, &sync.Pool{New: func() any { return shapeOf(size) }})
	}
	return pools
}()

// echoAny sends a message of some size and waits for it to come back.
func (l *link) echoAny(st stamp) error {
	pool := soakShapes[rand.IntN(len(soakShapes))] //nolint:gosec // no secret
	shape := pool.Get().(*shape)
	defer pool.Put(shape)
	return l.echo(shape, st)
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

func (s *soak) complain(err error) {
	s.failed.Add(1)
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.failures) < 5 {
		s.failures = append(s.failures, err.Error())
		fmt.Fprintln(os.Stderr, "a connection failed:", err)
	}
}
