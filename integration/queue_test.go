package integration

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"
)

// waitQueued waits until n handshakes wait in line.
func (g *gateway) waitQueued(t *testing.T, n int) {
	t.Helper()
	eventually(t, fmt.Sprint(n, " handshakes in line"), func() bool {
		return g.sum(t, "caddy_ws_gateway_queue_length") == float64(n)
	})
}

// tryInBackground sends a handshake whose answer takes its time.
func tryInBackground(t *testing.T, g *gateway, c carrier) <-chan answer {
	t.Helper()
	answered := make(chan answer, 1)
	go func() {
		a, err := c.try(g, "/ws", nil)
		if err != nil {
			t.Errorf("handshake over %s: %v", c.name, err)
		}
		answered <- a
	}()
	return answered
}

// yielding is hold, except that it counts a WebSocket as over before the gateway
// can know: who is given its place then does not seem to be one too many.
func yielding(c *backendConn) {
	if c.accept() != nil {
		return
	}
	for {
		f, err := readFrame(c.br)
		if err != nil || f.op == opClose {
			c.end()
			if err == nil {
				_ = c.write(f)
			}
			return
		}
	}
}

// TestHandshakesWaitInOrder over all that come to one server by different
// versions of HTTP, and the one too many is refused at once.
func TestHandshakesWaitInOrder(t *testing.T) {
	b := newBackend(t, yielding)
	g := start(t, "ws_gateway "+b.addr+" {\n max_conns 1\n queue 3 1m\n }")
	last := overWSS.open(t, g, "/ws", nil)
	var waiting []<-chan answer
	for i, c := range []carrier{overWSS, overH2, overH3} {
		waiting = append(waiting, tryInBackground(t, g, c))
		g.waitQueued(t, i+1)
	}
	if a := overWSS.refused(t, g, "/ws", nil, 503); a.header.Get("Retry-After") == "" {
		t.Error("503 without Retry-After")
	}
	for i := range waiting {
		last.finish(t)
		a := receive(t, "the next in line", waiting[i])
		if a.conn == nil {
			t.Fatalf("number %d in line: status %d", i+1, a.status)
		}
		t.Cleanup(a.conn.kill)
		last = a.conn
		g.waitQueued(t, len(waiting)-1-i)
		for _, later := range waiting[i+1:] {
			if len(later) != 0 {
				t.Fatalf("someone overtook number %d in line", i+2)
			}
		}
	}
	g.waitConnections(t, 1)
	last.kill()
	g.assertNoLiveSeries(t)
	if peak := b.count(&b.peak); peak != 1 {
		t.Errorf("the upstream held %d at once", peak)
	}
}

// TestWaitingEndsWithTheTimeout by 503 with Retry-After; plain requests
// do not wait.
func TestWaitingEndsWithTheTimeout(t *testing.T) {
	b := newBackend(t, hold)
	g := start(t, "ws_gateway "+b.addr+" {\n max_conns 1\n queue 10 200ms\n }")
	held := overWS.open(t, g, "/ws", nil)
	eachCarrier(t, func(t *testing.T, c carrier) {
		began := time.Now()
		a := c.refused(t, g, "/ws", nil, 503)
		if took := time.Since(began); took < 200*time.Millisecond {
			t.Errorf("answered after %v", took)
		}
		if a.header.Get("Retry-After") == "" {
			t.Error("503 without Retry-After")
		}
	})
	g.waitQueued(t, 0)
	if a := g.get(t, "/plain", nil); a.status != 200 {
		t.Errorf("a plain request: status %d", a.status)
	}
	held.kill()
	g.assertNoLiveSeries(t)
	if n := b.count(&b.opened); n != 1 {
		t.Errorf("the upstream saw %d handshakes", n)
	}
}

// TestClientThatLeavesFreesItsPlaceInLine however it came.
func TestClientThatLeavesFreesItsPlaceInLine(t *testing.T) {
	b := newBackend(t, hold)
	g := start(t, "ws_gateway "+b.addr+" {\n max_conns 1\n queue 1 1m\n }")
	held := overWS.open(t, g, "/ws", nil)
	for name, wait := range map[string]func(t *testing.T) (leave func()){
		"h1": func(t *testing.T) func() {
			conn := dialRaw(t, g)
			conn.send(t, handshakeH1("/ws", g.httpAddr, nil))
			return func() { _ = conn.Close() }
		},
		"h2": func(t *testing.T) func() {
			cc, conn, err := connH2(g)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = conn.Close() })
			ctx, cancel := context.WithCancel(t.Context())
			go func() { _, _ = shakeH2(ctx, cc, g, "/ws", nil) }()
			return cancel
		},
		"h3": func(t *testing.T) func() {
			cc, conn, err := connH3(t.Context(), g)
			if err != nil {
				t.Fatal(err)
			}
			go func() { _, _ = shakeH3(t.Context(), cc, g, "/ws", nil) }()
			return func() { _ = conn.CloseWithError(0x100, "") }
		},
	} {
		t.Run(name, func(t *testing.T) {
			leave := wait(t)
			g.waitQueued(t, 1)
			leave()
			g.waitQueued(t, 0)
		})
	}
	next := tryInBackground(t, g, overWS)
	g.waitQueued(t, 1)
	held.kill()
	if a := receive(t, "the one who stayed", next); a.conn == nil {
		t.Errorf("status %d", a.status)
	} else {
		g.waitConnections(t, 1)
		a.conn.kill()
	}
	g.assertNoLiveSeries(t)
	if n := b.count(&b.opened); n != 2 {
		t.Errorf("the upstream saw %d handshakes, want those of the two who stayed", n)
	}
}

// TestCrowdThroughTheLineNeverExceedsTheCap lets 120 clients through 15
// places.
func TestCrowdThroughTheLineNeverExceedsTheCap(t *testing.T) {
	const perUpstream = 5
	all, addrs := backends(t, 3, yielding)
	g := start(t, fmt.Sprintf("ws_gateway %s {\n max_conns %d\n queue 1000 1m\n }", addrs, perUpstream))
	var wg sync.WaitGroup
	var served counter
	for i := range 120 {
		c := carriers[i%len(carriers)]
		wg.Go(func() {
			a, err := c.try(g, "/ws", nil)
			if err != nil || a.conn == nil {
				t.Errorf("over %s: status %d, %v", c.name, a.status, err)
				return
			}
			defer a.conn.kill()
			served.add()
			if a.conn.send(closing(1000, "")) == nil {
				_, _ = a.conn.closeFrame()
			}
		})
	}
	wg.Wait()
	if n := served.value(); n != 120 {
		t.Errorf("%d were served, want 120", n)
	}
	for _, b := range all {
		if peak := b.count(&b.peak); peak > perUpstream {
			t.Errorf("an upstream held %d, more than %d", peak, perUpstream)
		}
	}
	g.waitQueued(t, 0)
	g.assertNoLiveSeries(t)
	if left := strings.Join(waitersLeft(), "\n"); left != "" {
		t.Errorf("still waiting:\n%s", left)
	}
}

// waitersLeft lists the goroutines that still wait in line.
func waitersLeft() (left []string) {
	poll(patience, func() bool {
		left = nil
		for stack := range goroutines("waitInLine") {
			left = append(left, stack)
		}
		return len(left) == 0
	})
	return left
}

// TestWaitingHandshakeOutlivesAReload neither hangs the reload nor loses its
// turn.
func TestWaitingHandshakeOutlivesAReload(t *testing.T) {
	b := newBackend(t, hold)
	site := "ws_gateway " + b.addr + " {\n max_conns 1\n queue 5 1m\n }"
	g := start(t, site)
	held := overWS.open(t, g, "/ws", nil)
	waiting := tryInBackground(t, g, overWS)
	g.waitQueued(t, 1)
	g.reload(t, "respond /new hello\n"+site)
	held.kill()
	a := receive(t, "the one who waits", waiting)
	if a.conn == nil {
		t.Fatalf("status %d", a.status)
	}
	g.waitConnections(t, 1)
	a.conn.kill()
	g.assertNoLiveSeries(t)
}
