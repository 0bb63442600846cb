// Command storm drives a built Caddy with clients and upstreams that come and go
// at the worst of moments, and then looks whether anything is the matter with it.
//
//	storm -caddy <binary> [-n <handshakes>] [-clients <number>] [-seed <number>]
//	storm -caddy <binary> -chaos <duration> [-clients <number>] [-seed <number>]
//
// Clients speak WebSocket over HTTP/1.1, with and without TLS, HTTP/2 and HTTP/3.
// They leave in the middle of the request, while the upstream thinks, at the
// microsecond of its answer, within it, and in the middle of a frame. Upstreams
// answer in pieces, late, after interim responses, with refusals and wrongly; they
// reset or end their half of the connection behind any byte. What each side does is
// drawn from the seed, which is printed.
//
// With -chaos, clients talk instead, for so long: messages of all sizes, whole and in
// fragments, pings and bursts, to upstreams that send them back and others of their
// own. Upstreams are processes, which are killed and come back; the configuration is
// reloaded, with other limits and other upstreams; and either side of a connection
// resets it, stalls, half-closes, breaks off within a frame or sends garbage. No message
// may be lost, doubled, moved or changed on a connection that nothing has cut, none may
// come to another, and every cut must have a cause, and be told.
//
// Otherwise, all the while there are witnesses: connections that stay open, quiet ones too.
// Every client checks that each byte of an answer was meant for it.
//
// At the end Caddy must be alive, its counters zero, and no goroutine, descriptor or
// memory left over. The command exits with 1 if anything is not as it must be.
package main

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

func main() {
	var s storm
	var upstream string
	c := chaos{tally: newTally(), weather: weather{kills: make(map[string]time.Time)}}
	flag.StringVar(&s.caddy, "caddy", "", "the `binary` to drive")
	flag.IntVar(&s.handshakes, "n", 10_000, "how many `handshakes` to make")
	flag.IntVar(&s.clients, "clients", 300, "how many `clients` there are at a time")
	flag.Uint64Var(&s.seed, "seed", uint64(time.Now().UnixNano()), "what to draw from")
	flag.DurationVar(&s.limit, "limit", 20*time.Minute, "how long all of it may take")
	flag.DurationVar(&c.length, "chaos", 0, "instead, keep up traffic under chaos for so long")
	flag.DurationVar(&c.killEvery, "kill", 4*time.Second, "how often chaos kills an upstream")
	flag.DurationVar(&c.reloadEvery, "reload", 3*time.Second, "how often chaos reloads the configuration")
	flag.BoolVar(&c.weather.version.bare, "bare", false, "chaos without any limits")
	flag.StringVar(&upstream, "chaos-upstream", "", "be an upstream under chaos, at this `address`")
	flag.StringVar(&c.pem, "pem", "", "the certificate of that upstream; none for one without TLS")
	flag.StringVar(&c.key, "key", "", "the key of it")
	flag.Parse()
	if upstream == "" && s.caddy == "" || flag.NArg() > 0 || s.handshakes < 1 || s.clients < 1 {
		flag.Usage()
		os.Exit(2)
	}
	if err := play(&s, &c, upstream); err != nil {
		fmt.Fprintln(os.Stderr, "storm:", err)
		os.Exit(1)
	}
}

func play(s *storm, c *chaos, upstream string) error {
	switch {
	case upstream != "":
		return serveChaos(upstream, c.pem, c.key)
	case c.length > 0:
		c.storm = s
		fmt.Printf("chaos: %d clients for %s, seed %d\n", s.clients, c.length, s.seed)
		return c.run()
	}
	fmt.Printf("storm: %d handshakes by %d clients, seed %d\n", s.handshakes, s.clients, s.seed)
	return s.run()
}

// storm is one run.
type storm struct {
	caddy               string
	handshakes, clients int
	seed                uint64
	limit               time.Duration

	gateway   *gateway
	upstreams *upstreams
	next      atomic.Int64
	outcomes  outcomes
}

func (s *storm) run() (err error) {
	ctx, cancel := context.WithTimeoutCause(context.Background(), s.limit, fmt.Errorf("it took longer than %s", s.limit))
	defer cancel()
	dir, err := os.MkdirTemp("", "storm")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if s.upstreams, err = openUpstreams(dir); err != nil {
		return err
	}
	defer s.upstreams.close()
	// The garbage collector closes descriptors that were forgotten, so it must not
	// run before it has to.
	if s.gateway, err = startGateway(ctx, s.caddy, dir, s.upstreams.behind, "GOGC=off", "GOMEMLIMIT=1GiB"); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			s.gateway.showLog()
		}
		s.gateway.kill()
	}()
	if err := s.rage(ctx); err != nil {
		return err
	}
	return s.gateway.stop()
}

// rage lets everything happen, and looks at what is left of it.
func (s *storm) rage(ctx context.Context) error {
	if err := s.warmUp(); err != nil {
		return err
	}
	before, err := s.gateway.awaitQuiet(ctx, footprint{}, s.upstreams.live.Load)
	if err != nil {
		return err
	}
	fmt.Println("before:", before)
	w, err := s.placeWitnesses(ctx)
	if err != nil {
		return err
	}
	began := time.Now()
	s.play(ctx)
	took := time.Since(began)
	fmt.Printf("%d handshakes in %.1f s\n%s", s.handshakes, took.Seconds(), &s.outcomes)
	if err := s.gateway.isWell(); err != nil {
		return err
	}
	if err := w.dismiss(); err != nil {
		return err
	}
	if err := s.outcomes.verdict(); err != nil {
		return err
	}
	after, err := s.gateway.awaitQuiet(ctx, before, s.upstreams.live.Load)
	if err != nil {
		return err
	}
	fmt.Println("after:", after)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return s.gateway.isWell()
}

// play lets the clients come, until all handshakes were made or Caddy is gone.
func (s *storm) play(ctx context.Context) {
	var all sync.WaitGroup
	for range s.clients {
		all.Go(func() {
			for ctx.Err() == nil && s.gateway.isWell() == nil && s.turn(ctx) {
				continue
			}
		})
	}
	all.Wait()
}

// warmUp uses each way through the gateway once, so that what Caddy makes on
// first use does not count as left over.
func (s *storm) warmUp() error {
	for _, c := range carriers {
		for _, route := range routes {
			p := plan{ID: "warm-up", carrier: c, route: route, script: script{Does: accepts, Cut: never}, echoes: 1}
			if err := s.once(p); err != nil {
				return fmt.Errorf("warming up: %w", err)
			}
		}
	}
	return nil
}

// random draws for the handshake with the number.
func (s *storm) random(number int64) *rand.Rand {
	return rand.New(rand.NewPCG(s.seed, uint64(number))) //nolint:gosec // it must be possible to draw the same again
}
