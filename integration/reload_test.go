package integration

import (
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// oneOfEach opens a connection over every carrier.
func oneOfEach(t *testing.T, g *gateway) []*wsConn {
	t.Helper()
	var conns []*wsConn
	for _, c := range carriers {
		conns = append(conns, c.open(t, g, "/ws", nil))
	}
	for i, conn := range conns {
		conn.ping(t, "opened over "+carriers[i].name)
	}
	return conns
}

// TestConnectionsSurviveAReload that leaves their upstream configured.
func TestConnectionsSurviveAReload(t *testing.T) {
	b, added := newBackend(t, echo), newBackend(t, named)
	g := start(t, "ws_gateway "+b.addr)
	conns := oneOfEach(t, g)
	sites := map[string]string{
		"other route":    "respond /other hello\nws_gateway " + b.addr,
		"added upstream": "ws_gateway " + b.addr + " " + added.addr,
		"other settings": "ws_gateway /ws " + b.addr + " {\n name renamed\n max_conns 9\n drain_period 0s\n auth {\n bearer x\n }\n }",
		"other handler":  "handle_path /x* {\n ws_gateway " + b.addr + "\n }",
		"the same again": "ws_gateway " + b.addr,
	}
	for name, site := range sites {
		t.Run(name, func(t *testing.T) {
			g.reload(t, site)
			for _, conn := range conns {
				conn.ping(t, "after "+name)
			}
			g.waitConnections(t, len(conns))
		})
	}
	if n := len(book.closedBy(b.addr)); n != 0 {
		t.Errorf("%d connections were closed by reloads", n)
	}
	for _, conn := range conns {
		conn.finish(t)
	}
	g.assertNoLiveSeries(t)
}

// TestReloadDoesNotDisturbAMessageInFlight reloads while large frames stream
// both ways.
func TestReloadDoesNotDisturbAMessageInFlight(t *testing.T) {
	b := newBackend(t, handOver())
	g := start(t, "ws_gateway "+b.addr)
	for _, c := range carriers {
		client, upstream := pair(t, g, b, c)
		stop, stopped := make(chan struct{}), make(chan error, 2)
		big := frame{fin: true, op: opBinary, payload: make([]byte, 300_000)}
		go func() { stopped <- repeat(stop, func() error { return upstream.write(big) }) }()
		read := make(chan struct{}, 1000)
		go func() {
			stopped <- repeat(stop, func() error {
				f, err := client.next()
				if err == nil && len(f.payload) != len(big.payload) {
					err = fmt.Errorf("got %v", f)
				}
				read <- struct{}{}
				return err
			})
		}()
		for i := range 5 {
			receive(t, "a message", read)
			g.reload(t, fmt.Sprintf("respond /%d hello\nws_gateway %s", i, b.addr))
		}
		for range 5 {
			receive(t, "a message after the reloads", read)
		}
		close(stop)
		if err := <-stopped; err != nil {
			t.Errorf("over %s: %v", c.name, err)
		}
		client.kill()
		_ = upstream.Close()
		if err := <-stopped; err != nil {
			t.Logf("over %s the other side ended with %v", c.name, err)
		}
	}
}

// repeat runs f until it fails or stop is closed.
func repeat(stop <-chan struct{}, f func() error) error {
	for {
		select {
		case <-stop:
			return nil
		default:
			if err := f(); err != nil {
				return err
			}
		}
	}
}

// TestRemovedUpstreamIsDrained ends its connections with 1012 within
// drain_period and leaves those of the other upstream alone.
func TestRemovedUpstreamIsDrained(t *testing.T) {
	for _, row := range []struct {
		name, period string
		limit        time.Duration
	}{
		{"at once", "drain_period 0s", patience},
		{"spread over the period", "drain_period 1s", patience},
	} {
		t.Run(row.name, func(t *testing.T) {
			kept, removed := newBackend(t, echo), newBackend(t, handOver())
			site := "ws_gateway /kept " + kept.addr + "\nws_gateway /ws " + removed.addr + " {\n " + row.period + "\n }"
			g := start(t, site)
			staying := overWS.open(t, g, "/kept", nil)
			var leaving []*wsConn
			var ends []*backendConn
			for _, c := range carriers {
				client, upstream := pair(t, g, removed, c)
				leaving, ends = append(leaving, client), append(ends, upstream)
			}
			g.reload(t, "ws_gateway /kept "+kept.addr)
			began := time.Now()
			for i, conn := range leaving {
				conn.expectClose(t, 1012)
				conn.mustSend(t, closing(1012, ""))
				f, err := ends[i].readFrame()
				if err != nil || f.op != opClose {
					t.Errorf("the upstream got %v, %v instead of a close frame", f, err)
				}
				_ = ends[i].Close()
			}
			// Not a measurement: drain_period is one second at most here, and
			// the rest is what a busy machine may need.
			if took := time.Since(began); took > row.limit {
				t.Errorf("draining took %v", took)
			}
			g.waitConnections(t, 1)
			staying.ping(t, "still here")
			eventually(t, "the closed lines", func() bool { return len(book.closedBy(removed.addr)) == len(leaving) })
			for _, line := range book.closedBy(removed.addr) {
				if line.str("by") != "gateway" || line.num("code") != 1012 {
					t.Errorf("logged by %q with code %v, want by gateway with 1012", line.str("by"), line.num("code"))
				}
			}
		})
	}
}

// TestFailingConfigurationChangesNothing loads what cannot be provisioned.
func TestFailingConfigurationChangesNothing(t *testing.T) {
	b := newBackend(t, echo)
	g := start(t, "ws_gateway "+b.addr)
	conns := oneOfEach(t, g)
	fails := func(site string) {
		t.Helper()
		g.setState(t, b.addr, "maintenance")
		_, before := g.adminDo(t, "GET", "/ws_gateway/", "", "")
		if err := g.load(site); err == nil {
			t.Errorf("this was loaded:\n%s", site)
		}
		if _, after := g.adminDo(t, "GET", "/ws_gateway/", "", ""); after != before {
			t.Errorf("a failed load made\n%s of\n%s", after, before)
		}
		g.setState(t, b.addr, "ready")
		for _, conn := range conns {
			conn.ping(t, "after a failed load")
		}
	}
	fails("ws_gateway 127.0.0.1:1 {\n auth {\n bearer {file./no/such/file}\n }\n }")
	fails("ws_gateway 127.0.0.1:1 {\n transport http {\n tls_trust_pool file /no/such/file\n }\n }")
	fails("ws_gateway 127.0.0.1:1\n reverse_proxy 127.0.0.1:2 {\n transport http {\n tls_trust_pool file /no/such/file\n }\n }")
	if a := g.get(t, "/plain", nil); a.body != "plain from "+b.addr {
		t.Errorf("after failed loads a request got %q", a.body)
	}
	overWS.open(t, g, "/ws", nil).ping(t, "new connection")

	// Someone else's port: this fails only when everything is provisioned.
	// Caddy then leaves sockets open that new connections may end up in, so
	// only the old ones are looked at.
	occupied, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer occupied.Close()
	g.sites = "http://" + occupied.Addr().String() + " {\n respond hello\n }"
	fails("ws_gateway 127.0.0.1:1")
}

// TestClientThatDoesNotReadHangsNoReload fills the client's buffers and then
// removes its upstream.
func TestClientThatDoesNotReadHangsNoReload(t *testing.T) {
	b := newBackend(t, handOver())
	g := start(t, "ws_gateway "+b.addr+" {\n drain_period 0s\n write_timeout 1s\n }")
	for _, c := range carriers {
		_, upstream := pair(t, g, b, c)
		stuck := make(chan struct{})
		go func() {
			defer close(stuck)
			chunk := frame{fin: true, op: opBinary, payload: make([]byte, 1<<20)}
			for {
				_ = upstream.SetWriteDeadline(time.Now().Add(300 * time.Millisecond))
				if upstream.write(chunk) != nil {
					return
				}
			}
		}()
		receive(t, "the buffers to fill", stuck)
	}
	g.reload(t, "respond hello")
	g.waitConnections(t, 0)
}

// TestClientThatDoesNotReadKeepsItsConnection through a reload that does not
// concern it, and gets everything as soon as it reads again.
func TestClientThatDoesNotReadKeepsItsConnection(t *testing.T) {
	b := newBackend(t, handOver())
	site := "ws_gateway " + b.addr + " {\n write_timeout 1h\n %s\n }"
	g := start(t, fmt.Sprintf(site, ""))
	chunk := frame{fin: true, op: opBinary, payload: make([]byte, 1<<20)}
	for _, c := range carriers {
		client, upstream := pair(t, g, b, c)
		stuck, done := make(chan struct{}), make(chan struct{})
		var sent atomic.Int64
		go func() {
			defer close(done)
			full := sync.OnceFunc(func() { close(stuck) })
			for upstream.writeUntilTaken(chunk.serverBytes(), full) == nil {
				sent.Add(1)
				select {
				case <-stuck:
					_ = upstream.write(closing(1000, "bye"))
					return
				default:
				}
			}
		}()
		receive(t, "the buffers to fill", stuck)
		g.reload(t, fmt.Sprintf(site, "max_conns 50"))
		for read := int64(0); ; read++ {
			f, err := client.next()
			if err != nil {
				t.Fatalf("over %s after %d messages: %v", c.name, read, err)
			}
			if f.op == opClose {
				receive(t, "the upstream to be done", done)
				if f.closeCode() != 1000 || read != sent.Load() {
					t.Errorf("over %s: %d of %d messages came, then %v", c.name, read, sent.Load(), f)
				}
				break
			}
			if len(f.payload) != len(chunk.payload) {
				t.Fatalf("over %s message %d is %v", c.name, read, f)
			}
		}
		client.kill()
	}
}

// TestUpstreamThatComesBackIsNotDrained removes an upstream and configures it
// again before its connections have been ended.
func TestUpstreamThatComesBackIsNotDrained(t *testing.T) {
	b := newBackend(t, echo)
	site := "ws_gateway " + b.addr + " {\n drain_period 1h\n }"
	g := start(t, site)
	conns := oneOfEach(t, g)
	g.reload(t, "respond hello")
	g.reload(t, site)
	for _, conn := range conns {
		conn.ping(t, "still here")
	}
	overWS.open(t, g, "/ws", nil).ping(t, "new connection")
	if n := len(book.closedBy(b.addr)); n != 0 {
		t.Errorf("%d connections were closed", n)
	}
}

// TestConfigurationThroughTheAdminEndpoint posts the adapted JSON and patches
// one setting of it.
func TestConfigurationThroughTheAdminEndpoint(t *testing.T) {
	b := newBackend(t, echo)
	g := start(t, "respond hello")
	config, err := g.adapt("ws_gateway " + b.addr + " {\n name one\n }")
	if err != nil {
		t.Fatal(err)
	}
	if err := exchange(stacks, func() error { return g.post(t, "application/json", string(config)) }); err != nil {
		t.Fatal(err)
	}
	for _, c := range carriers {
		c.open(t, g, "/ws", nil).finish(t)
	}
	conns := oneOfEach(t, g)
	for _, server := range []string{"srv0", "srv1"} {
		path := "/config/apps/http/servers/" + server + "/routes/0/handle/0"
		if _, handler := g.adminDo(t, "GET", path, "", ""); strings.Contains(handler, `"subroute"`) {
			path += "/routes/0/handle/0" // a site with a host has its routes inside
		}
		if err := exchange(stacks, func() error {
			if status, answer := g.adminDo(t, "PATCH", path+"/name", "application/json", `"two"`); status != 200 {
				return fmt.Errorf("PATCH %s: %d %s", path, status, answer)
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	}
	for _, conn := range conns {
		conn.ping(t, "after the patch")
	}
	overWS.open(t, g, "/ws", nil).ping(t, "new connection")
	if n := g.sum(t, "caddy_ws_gateway_connections", `gateway="two"`); n != 1 {
		t.Errorf("%v connections of gateway two, want the new one", n)
	}
	if n := g.sum(t, "caddy_ws_gateway_connections", `gateway="one"`); n != float64(len(conns)) {
		t.Errorf("%v connections of gateway one, want the %d old ones", n, len(conns))
	}
	if status, _ := g.adminDo(t, "PATCH", "/config/apps/http/servers/srv0/routes/0/handle", "application/json",
		`[{"handler":"ws_gateway","nonsense":1}]`); status < 400 {
		t.Errorf("nonsense was accepted with %d", status)
	}
	conns[0].ping(t, "after nonsense")
}
