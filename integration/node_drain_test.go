package integration

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/quic-go/quic-go/http3"
)

// shownNode is the node as the admin endpoint shows it.
type shownNode struct {
	Name, ID, State string
	Live            int
	Since           time.Time
}

// node reads the state of the node, or sets it by a body. It is remembered for as long
// as the process lives: make it ready at the end.
func (g *gateway) node(t *testing.T, body string) (n shownNode) {
	t.Helper()
	method := "GET"
	if body != "" {
		method = "POST"
	}
	status, answer := g.adminDo(t, method, "/ws_gateway/node", "", body)
	if status != 200 {
		t.Fatalf("%s /ws_gateway/node %s: %d %s", method, body, status, answer)
	}
	if err := json.Unmarshal([]byte(answer), &n); err != nil {
		t.Fatalf("%v: %s", err, answer)
	}
	return n
}

const (
	nodeReady = `{"state":"ready"}`
	nodeDrain = `{"state":"drain"}`
	drainAll  = `{"state":"drain","period":"0s"}`
	drainLate = `{"state":"drain","period":"1h"}`
)

// TestNodeDrainEndsEveryoneIdleOnesFirst over every way in, within the period.
func TestNodeDrainEndsEveryoneIdleOnesFirst(t *testing.T) {
	b := newBackend(t, echo)
	g := start(t, "ws_gateway "+b.addr+" {\n drain_period 1h\n }")
	defer g.node(t, nodeReady)
	conns := oneOfEach(t, g)
	for _, i := range []int{2, 0} {
		conns[i].ping(t, "busier")
	}
	began := time.Now()
	if n := g.node(t, `{"state":"drain","period":"4s"}`); n.State != "drain" || n.Live > len(conns) {
		t.Errorf("answered %+v", n)
	}
	ended := make([]chan time.Time, len(conns))
	for i, conn := range conns {
		ended[i] = make(chan time.Time, 1)
		go func() {
			f, err := conn.closeFrame()
			if err != nil || f.closeCode() != 1012 {
				t.Errorf("over %s: closed with %v, %v", carriers[i].name, f, err)
			}
			ended[i] <- time.Now()
			_ = conn.send(closing(1012, ""))
		}()
	}
	var order []time.Time
	for _, i := range []int{1, 3, 2, 0} {
		order = append(order, receive(t, "the end over "+carriers[i].name, ended[i]))
	}
	if !slices.IsSortedFunc(order, time.Time.Compare) {
		t.Errorf("ended at %v, the idlest named first", order)
	}
	if took := order[3].Sub(began); took < 2*time.Second || took > patience {
		t.Errorf("the last one was ended after %s, want 3 to 4s", took)
	}
	g.assertNoLiveSeries(t)
	if n := g.node(t, ""); n.Live != 0 || n.State != "drain" {
		t.Errorf("afterwards: %+v", n)
	}
}

// TestDrainingNodeRefusesHandshakesAndServesPlainRequests before it looks at who
// makes them.
func TestDrainingNodeRefusesHandshakesAndServesPlainRequests(t *testing.T) {
	b := newBackend(t, echo)
	site := "ws_gateway " + b.addr + " {\n auth {\n bearer s3cret-of-the-node\n }\n drain_period 90s\n }"
	g := start(t, site)
	authorized := http.Header{"Authorization": {"Bearer s3cret-of-the-node"}}
	defer g.node(t, nodeReady)
	for _, row := range []struct{ body, wait string }{
		{nodeDrain, "90"},
		{drainAll, "1"},
		{`{"state":"drain","period":"1500ms"}`, "2"},
		{drainLate, "3600"},
	} {
		g.node(t, row.body)
		for _, c := range carriers {
			before := len(book.find(ourLogger, "refused"))
			a := c.refused(t, g, "/ws", nil, 503) // and not 401
			if wait := a.header.Get("Retry-After"); wait != row.wait {
				t.Errorf("%s over %s: Retry-After %q, want %q", row.body, c.name, wait, row.wait)
			}
			line := book.wait(t, "refused", before+1)
			if line.str("result") != "unavailable" || line.num("status") != 503 || line.str("reason") != "the node is draining" {
				t.Errorf("logged %+v", line)
			}
			if n := len(book.find(ourLogger, "refused")) - before; n != 1 {
				t.Errorf("%d lines say so", n)
			}
		}
		if a := g.get(t, "/plain", authorized); a.status != 200 {
			t.Errorf("a plain request: status %d", a.status)
		}
	}
	if n := g.sum(t, "caddy_ws_gateway_handshakes_total", `result="unavailable"`); n < 16 {
		t.Errorf("%v are counted, want 16 or more", n)
	}
	g.node(t, nodeReady)
	eachCarrier(t, func(t *testing.T, c carrier) { c.open(t, g, "/ws", authorized).finish(t) })
	g.assertNoLiveSeries(t)
}

// TestNodeDrainOutlivesAReload and ready undoes it, which the matcher shows to load
// balancers.
func TestNodeDrainOutlivesAReload(t *testing.T) {
	b := newBackend(t, echo)
	site := "@draining ws_gateway_draining\nhandle /ready {\n respond @draining 503\n respond 204\n }\nws_gateway " + b.addr
	g := start(t, site)
	defer g.node(t, nodeReady)
	ready := func(want int) {
		t.Helper()
		if a := g.get(t, "/ready", nil); a.status != want {
			t.Errorf("the readiness route: %d, want %d", a.status, want)
		}
	}
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	before := g.node(t, "")
	if before.State != "ready" || before.Name != host || len(before.ID) != 16 {
		t.Errorf("before: %+v", before)
	}
	ready(204)
	conns := oneOfEach(t, g)
	drained := g.node(t, drainLate)
	ready(503)
	g.reload(t, "respond /new hello\n"+site)
	after := g.node(t, "")
	if after != drained || after.ID != before.ID || after.Since.Before(before.Since) {
		t.Errorf("after a reload: %+v, want %+v", after, drained)
	}
	ready(503)
	if a := overWS.do(t, g, "/ws", nil); a.status != 503 {
		t.Errorf("a handshake after a reload: status %d", a.status)
	}
	if n := g.node(t, nodeReady); n.State != "ready" || n.Since.Before(after.Since) {
		t.Errorf("ready: %+v", n)
	}
	ready(204)
	overWS.open(t, g, "/ws", nil).finish(t)
	for _, conn := range conns {
		conn.ping(t, "still here")
		conn.finish(t)
	}
	g.assertNoLiveSeries(t)
}

// TestHandshakesThatWaitAreRefusedWhenTheNodeDrains in line as well as between two
// rounds of tries.
func TestHandshakesThatWaitAreRefusedWhenTheNodeDrains(t *testing.T) {
	full, dead := newBackend(t, hold), newBackend(t, hold)
	dead.kill()
	for name, row := range map[string]struct {
		site  string
		waits func(g *gateway) bool
	}{
		"in line": {"ws_gateway " + full.addr + " {\n max_conns 1\n queue 9 1h\n }", func(g *gateway) bool {
			return g.sum(t, "caddy_ws_gateway_queue_length") == float64(len(carriers))
		}},
		"between two rounds": {"ws_gateway " + dead.addr + " {\n lb_try_duration 1h\n lb_try_interval 30m\n }", func(g *gateway) bool {
			return g.shown(t, "default", dead.addr).Failed >= len(carriers)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			g := start(t, row.site)
			defer g.node(t, nodeReady)
			if name == "in line" {
				overWS.open(t, g, "/ws", nil)
			}
			var waiting []<-chan answer
			for _, c := range carriers {
				waiting = append(waiting, tryInBackground(t, g, c))
			}
			eventually(t, "the handshakes to wait", func() bool { return row.waits(g) })
			g.node(t, drainLate)
			for i, answered := range waiting {
				a := receive(t, "the answer over "+carriers[i].name, answered)
				if a.status != 503 || a.header.Get("Retry-After") != "3600" {
					t.Errorf("over %s: %d, Retry-After %q", carriers[i].name, a.status, a.header.Get("Retry-After"))
				}
			}
			g.waitQueued(t, 0)
		})
	}
}

// TestHandshakeThatGetsItsUpstreamTooLateIsRefused and leaves neither lease nor seat.
func TestHandshakeThatGetsItsUpstreamTooLateIsRefused(t *testing.T) {
	asked, proceed := make(chan *backendConn), make(chan struct{})
	b := newBackend(t, func(c *backendConn) {
		asked <- c
		<-proceed
		hold(c)
	})
	g := start(t, "ws_gateway "+b.addr+" {\n max_conns 1\n limit {\n connections 1\n }\n }")
	defer g.node(t, nodeReady)
	eachCarrier(t, func(t *testing.T, c carrier) {
		answered := tryInBackground(t, g, c)
		upstream := receive(t, "the handshake at the upstream", asked)
		g.node(t, drainLate)
		proceed <- struct{}{}
		if a := receive(t, "the answer", answered); a.status != 503 || a.header.Get("Retry-After") != "3600" {
			t.Errorf("answered %d, Retry-After %q", a.status, a.header.Get("Retry-After"))
		}
		receive(t, "the end of the upstream's connection", upstream.closed)
		g.node(t, nodeReady)
		answered = tryInBackground(t, g, c)
		receive(t, "the next handshake at the upstream", asked)
		proceed <- struct{}{}
		a := receive(t, "its answer", answered)
		if a.conn == nil {
			t.Fatalf("the next handshake: %d %s", a.status, a.body)
		}
		a.conn.finish(t)
		g.assertNoLiveSeries(t)
	})
}

// overStubbornH3 is a client over HTTP/3 that does not heed a GOAWAY.
var overStubbornH3 = carrier{"h3, stubborn", true, 200, "HTTP/3.0", func(g *gateway, path string, header http.Header) (answer, error) {
	conn, err := dialQUIC(context.Background(), g.httpsAddr, clientTLS("h3"), patientQUIC())
	if err != nil {
		return answer{}, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	a, err := shakeH3(ctx, new(http3.Transport).NewRawClientConn(conn).ClientConn, g, path, header)
	if err == nil && a.conn == nil {
		err = fmt.Errorf("status %d", a.status)
	}
	if err != nil {
		_ = conn.CloseWithError(0, "")
		return a, err
	}
	a.conn.abort = func() { _ = conn.CloseWithError(0, "") }
	return a, nil
}}

// TestExitAfterADrainIsImmediate though the clients keep what their WebSockets came over.
func TestExitAfterADrainIsImmediate(t *testing.T) {
	long(t)
	for _, c := range append(slices.Clone(carriers), overStubbornH3) {
		t.Run(c.name, func(t *testing.T) {
			b := newBackend(t, echo)
			p := startProcess(t, "", "ws_gateway "+b.addr)
			conn := c.open(t, p.gateway, "/ws", nil)
			p.node(t, drainAll)
			conn.expectClose(t, 1012)
			conn.mustSend(t, closing(1012, ""))
			conn.expectEnd(t)
			eventually(t, "nobody to be left", func() bool { return p.node(t, "").Live == 0 })
			began := time.Now()
			if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
			if err := receive(t, "the process to exit", p.exited); err != nil {
				t.Errorf("the process exited with %v", err)
			}
			// Go gives an HTTP/2 client that does not heed a GOAWAY a second. The rest is
			// for a busy machine: without a grace period, Caddy may wait for ever.
			if took := time.Since(began); took > patience/2 {
				t.Errorf("it took %s", took)
			} else {
				t.Logf("it took %s", took)
			}
		})
	}
}
