package integration

import (
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
)

// backends makes n of them and lists their addresses.
func backends(t testing.TB, n int, s script) (all []*backend, addrs string) {
	t.Helper()
	var list []string
	for range n {
		b := newBackend(t, s)
		all = append(all, b)
		list = append(list, b.addr)
	}
	return all, strings.Join(list, " ")
}

// storm opens n connections at the same time and returns what came of them, by
// status.
func storm(t *testing.T, g *gateway, c carrier, n int) (conns []*wsConn, byStatus map[int]int) {
	t.Helper()
	return atOnce(t, n, func(int) (answer, error) { return c.try(g, "/ws", nil) })
}

// atOnce is storm for handshakes of any kind, of which each has its number.
func atOnce(t *testing.T, n int, try func(i int) (answer, error)) (conns []*wsConn, byStatus map[int]int) {
	t.Helper()
	var mu sync.Mutex
	var wg sync.WaitGroup
	byStatus = map[int]int{}
	begin := make(chan struct{})
	for i := range n {
		wg.Go(func() {
			<-begin
			a, err := try(i)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				t.Errorf("handshake: %v", err)
				return
			}
			byStatus[a.status]++
			if a.conn != nil {
				conns = append(conns, a.conn)
			}
		})
	}
	close(begin)
	wg.Wait()
	t.Cleanup(func() { killAll(conns) })
	return conns, byStatus
}

func killAll(conns []*wsConn) {
	for _, c := range conns {
		c.kill()
	}
}

// spread is the fewest and the most WebSockets that backends hold.
func spread(all []*backend) (fewest, most int) {
	fewest = all[0].count(&all[0].live)
	for _, b := range all {
		n := b.count(&b.live)
		fewest, most = min(fewest, n), max(most, n)
	}
	return fewest, most
}

// TestTwoThousandClientsAtOnceSpreadEvenly counts at the backends.
func TestTwoThousandClientsAtOnceSpreadEvenly(t *testing.T) {
	const clients = 2000
	all, addrs := backends(t, 4, hold)
	g := start(t, "ws_gateway "+addrs)
	conns, byStatus := storm(t, g, overWS, clients)
	if len(conns) != clients {
		t.Fatalf("answers by status: %v, want %d successes", byStatus, clients)
	}
	if fewest, most := spread(all); most-fewest > 1 {
		t.Errorf("backends hold between %d and %d connections", fewest, most)
	}
	g.waitConnections(t, clients)
	for _, b := range all {
		if got, want := g.connections(t, b.addr), float64(b.count(&b.live)); got != want {
			t.Errorf("the metric says %v for a backend that holds %v", got, want)
		}
	}
	killAll(conns)
	g.assertNoLiveSeries(t)
	for _, b := range all {
		eventually(t, "the backends to be left", func() bool { return b.count(&b.live) == 0 })
	}
}

// TestMaxConnsIsExactUnderAStorm lets in the cap, not one more, and answers the
// rest 503 with Retry-After; plain requests pass at the cap.
func TestMaxConnsIsExactUnderAStorm(t *testing.T) {
	const perUpstream = 25
	all, addrs := backends(t, 3, hold)
	g := start(t, fmt.Sprintf("ws_gateway %s {\n max_conns %d\n }", addrs, perUpstream))
	for round := range 3 {
		conns, byStatus := storm(t, g, overWS, 200)
		if len(conns) != 3*perUpstream || byStatus[503] != 200-3*perUpstream {
			t.Fatalf("round %d: answers by status: %v, want %d successes and else 503", round, byStatus, 3*perUpstream)
		}
		for _, b := range all {
			if peak := b.count(&b.peak); peak > perUpstream {
				t.Errorf("a backend held %d connections", peak)
			}
		}
		eachCarrier(t, func(t *testing.T, c carrier) {
			if a := c.refused(t, g, "/ws", nil, 503); a.header.Get("Retry-After") == "" {
				t.Error("503 without Retry-After")
			}
		})
		if a := g.get(t, "/plain", nil); a.status != 200 {
			t.Errorf("a plain request at the cap: status %d", a.status)
		}
		// A slot is free again as soon as a connection is over.
		g.waitConnections(t, 3*perUpstream)
		conns[0].kill()
		g.waitConnections(t, 3*perUpstream-1)
		overWS.open(t, g, "/ws", nil).kill()
		killAll(conns)
		g.waitConnections(t, 0)
		for _, b := range all {
			eventually(t, "the backends to be left", func() bool { return b.count(&b.live) == 0 })
		}
	}
}

// TestDeadUpstreamIsSkipped tries each dead upstream at most once a handshake.
func TestDeadUpstreamIsSkipped(t *testing.T) {
	dead1, dead2, alive := newBackend(t, echo), newBackend(t, echo), newBackend(t, echo)
	dead1.kill()
	dead2.kill()
	g := start(t, fmt.Sprintf("ws_gateway %s %s %s {\n lb_policy first\n }", dead1.addr, dead2.addr, alive.addr))
	eachCarrier(t, func(t *testing.T, c carrier) {
		c.open(t, g, "/ws", nil).finish(t)
	})
	alive.kill()
	eachCarrier(t, func(t *testing.T, c carrier) {
		if a := c.refused(t, g, "/ws", nil, 503); a.header.Get("Retry-After") == "" {
			t.Error("503 without Retry-After")
		}
	})
	g.assertNoLiveSeries(t)
}

// TestUpstreamThatDropsEveryoneIsSkipped, and is asked at most once a handshake;
// what a second one drops as well is asked of nobody else.
func TestUpstreamThatDropsEveryoneIsSkipped(t *testing.T) {
	for name, onDial := range map[string]func(net.Conn) bool{"resets": resetOnDial, "accepts, then closes": closeOnDial} {
		t.Run(name, func(t *testing.T) {
			ill, well := newBackend(t, echo), newBackend(t, echo)
			ill.set(func() { ill.onDial = onDial })
			g := start(t, fmt.Sprintf("ws_gateway %s %s {\n lb_policy first\n }", ill.addr, well.addr))
			eachCarrier(t, func(t *testing.T, c carrier) {
				c.open(t, g, "/ws", nil).finish(t)
			})
			well.set(func() { well.onDial = onDial })
			eachCarrier(t, func(t *testing.T, c carrier) {
				c.refused(t, g, "/ws", nil, 502)
			})
			for _, b := range []*backend{ill, well} {
				if n := b.count(&b.accepted); n > 2*len(carriers) {
					t.Errorf("an upstream was dialed %d times for %d handshakes", n, 2*len(carriers))
				}
			}
			g.assertNoLiveSeries(t)
		})
	}
}

// TestTryDurationWaitsForAnUpstream keeps trying for lb_try_duration.
func TestTryDurationWaitsForAnUpstream(t *testing.T) {
	b := newBackend(t, echo)
	b.kill()
	g := start(t, "ws_gateway "+b.addr+" {\n lb_try_duration 15s\n lb_try_interval 20ms\n }")
	opened := make(chan answer, 1)
	go func() {
		a, err := overWS.try(g, "/ws", nil)
		if err != nil {
			t.Error(err)
		}
		opened <- a
	}()
	b.revive(t)
	a := receive(t, "a handshake that waits for its upstream", opened)
	if a.conn == nil {
		t.Fatalf("status %d", a.status)
	}
	t.Cleanup(a.conn.kill)
	a.conn.ping(t, "hello")
}

// TestFailDurationTakesAnUpstreamOut remembers a failed handshake, and shares
// the memory with plain requests.
func TestFailDurationTakesAnUpstreamOut(t *testing.T) {
	dead, alive := newBackend(t, echo), newBackend(t, echo)
	dead.set(func() { dead.onDial = resetOnDial })
	g := start(t, fmt.Sprintf("ws_gateway %s %s {\n lb_policy first\n fail_duration 1h\n max_fails 1\n }", dead.addr, alive.addr))
	for range 5 {
		overWS.open(t, g, "/ws", nil).finish(t)
	}
	for range 3 {
		if a := g.get(t, "/plain", nil); a.status != 200 {
			t.Errorf("plain request: status %d", a.status)
		}
	}
	if n := dead.count(&dead.accepted); n != 1 {
		t.Errorf("the dead upstream was dialed %d times, want once: fail_duration takes it out", n)
	}
}

// TestActiveHealthChecksApplyToHandshakes takes out an upstream whose health
// page says so, and lets it in again.
func TestActiveHealthChecksApplyToHandshakes(t *testing.T) {
	ill, well := newBackend(t, named), newBackend(t, named)
	var mu sync.Mutex
	status := 500
	health := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		if strings.HasPrefix(r.Host, ill.addr) {
			w.WriteHeader(status)
		}
	})
	for _, b := range []*backend{ill, well} {
		b.set(func() { b.health = health })
	}
	g := start(t, fmt.Sprintf("ws_gateway %s %s {\n lb_policy first\n health_uri /health\n health_interval 50ms\n }", ill.addr, well.addr))
	reaches := func(want *backend) func() bool {
		return func() bool {
			a, err := overWS.try(g, "/ws", nil)
			if err != nil || a.conn == nil {
				return false
			}
			defer a.conn.kill()
			f, err := a.conn.next()
			return err == nil && string(f.payload) == want.addr
		}
	}
	eventually(t, "handshakes to leave the ill upstream", reaches(well))
	opened := ill.count(&ill.opened)
	for range 20 {
		if !reaches(well)() {
			t.Fatal("a handshake went to an unhealthy upstream")
		}
	}
	if n := ill.count(&ill.opened); n != opened {
		t.Errorf("an unhealthy upstream got %d more handshakes", n-opened)
	}
	mu.Lock()
	status = 200
	mu.Unlock()
	eventually(t, "handshakes to come back to the healthy upstream", reaches(ill))
}
