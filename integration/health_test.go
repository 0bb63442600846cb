package integration

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// dropping accepts and breaks the connection off at once.
func dropping(c *backendConn) {
	if c.accept() == nil {
		c.end()
		c.reset()
	}
}

// goodbye accepts and ends in order, with the code.
func goodbye(code int) script {
	return func(c *backendConn) {
		if c.accept() != nil {
			return
		}
		defer c.end()
		_ = c.write(closing(code, ""))
		_, _ = c.readFrame()
	}
}

// TestEarlyClosesTakeAnUpstreamOut after as many as are set, for the time that
// is set, unless they end ordinarily.
func TestEarlyClosesTakeAnUpstreamOut(t *testing.T) {
	for _, row := range []struct {
		name   string
		script script
		out    bool
	}{{"broken off", dropping, true}, {"going away", goodbye(1001), true}, {"failing", goodbye(1011), true},
		{"accusing the client", goodbye(1008), false}, {"normal", goodbye(1000), false}, {"the application's", goodbye(4000), false}} {
		t.Run(row.name, func(t *testing.T) {
			b, other := newBackend(t, row.script), newBackend(t, echo)
			g := start(t, fmt.Sprintf("ws_gateway %s %s {\n lb_policy first\n fail_duration 1h\n early_close_count 3\n }", b.addr, other.addr))
			for i := range 3 {
				conn := overWS.open(t, g, "/ws", nil)
				_, _ = conn.closeFrame()
				conn.kill()
				eventually(t, "the closed line", func() bool { return len(book.closedBy(b.addr)) == i+1 })
			}
			overWS.open(t, g, "/ws", nil)
			want := 4
			if row.out {
				want = 3
				overH2.open(t, g, "/ws", nil).ping(t, "elsewhere")
				if a := g.get(t, "/plain", nil); a.body != "plain from "+other.addr {
					t.Errorf("a plain request got %q", a.body)
				}
			}
			if n := b.count(&b.opened); n != want {
				t.Errorf("it was given %d connections, want %d", n, want)
			}
		})
	}
}

// goesTo waits until handshakes over HTTP/1.1 reach the backend: each handler of
// the site probes for itself.
func goesTo(t *testing.T, g *gateway, want *backend) {
	t.Helper()
	eventually(t, "handshakes to go to "+want.addr, func() bool {
		a, err := overWS.try(g, "/ws", nil)
		if err != nil || a.conn == nil {
			return false
		}
		defer a.conn.kill()
		f, err := a.conn.next()
		return err == nil && string(f.payload) == want.addr
	})
}

// TestWebSocketProbesSeeWhatPlainOnesDoNot takes out an upstream whose pages are
// fine and whose handshakes fail, and lets it in again.
func TestWebSocketProbesSeeWhatPlainOnesDoNot(t *testing.T) {
	const failing = "HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n"
	works := make(chan struct{})
	ill := newBackend(t, func(c *backendConn) {
		select {
		case <-works:
			named(c)
		default:
			_ = c.reply(failing)
		}
	})
	well := newBackend(t, named)
	g := start(t, fmt.Sprintf("ws_gateway /ws %s %s {\n lb_policy first\n health_websocket /probe\n health_interval 50ms\n health_timeout 2s\n }", ill.addr, well.addr))
	eventually(t, "the probes to take it out", func() bool { return g.shown(t, "default", ill.addr).State == "unhealthy" })
	goesTo(t, g, well)
	if up := g.shown(t, "default", well.addr); up.State != "ready" {
		t.Errorf("the other one is shown as %+v", up)
	}
	for range 5 {
		if got, _ := where(t, g, nil); got != well.addr {
			t.Fatalf("a handshake went to %s", got)
		}
	}
	if a := g.get(t, "/ws", nil); a.body != "plain from "+well.addr {
		t.Errorf("a plain request got %q", a.body)
	}
	close(works)
	eventually(t, "the probes to let it in", func() bool { return g.shown(t, "default", ill.addr).State == "ready" })
	goesTo(t, g, ill)
	g.waitConnections(t, 5) // probes do not count
	for _, c := range ill.everSeen() {
		if strings.HasPrefix(c.head, "GET /ws") {
			continue
		}
		if !strings.HasPrefix(c.head, "GET /probe HTTP/1.1\r\n") || len(headerLines(c.head, "Sec-WebSocket-Key")) != 1 {
			t.Errorf("a probe was %q", firstLine(c.head))
		}
	}
}

// TestPanicThresholdIgnoresHealthThatIsTooBad, and honours it otherwise.
func TestPanicThresholdIgnoresHealthThatIsTooBad(t *testing.T) {
	all, addrs := backends(t, 4, named)
	for _, b := range all[:2] {
		b.kill()
	}
	g := start(t, "ws_gateway "+addrs+" {\n fail_duration 1h\n panic_threshold 50%\n }")
	for range 8 {
		where(t, g, nil)
	}
	for _, b := range all[:2] {
		eventually(t, "it to be down", func() bool { return g.shown(t, "default", b.addr).State == "unhealthy" })
		b.revive(t)
	}
	for range 8 {
		where(t, g, nil)
	}
	for _, b := range all[:2] {
		if n := b.count(&b.accepted); n != 0 {
			t.Errorf("one that is down was dialed %d times: half of them are healthy", n)
		}
	}
	all[2].kill() // now it is one in four
	for i, b := range all[:2] {
		eventually(t, fmt.Sprintf("upstream %d to be given some, since too few are healthy for health to count", i), func() bool {
			where(t, g, nil)
			return b.count(&b.opened) > 0
		})
	}
}

// TestAllDownIsAnsweredAtOnce, whatever line there is to wait in.
func TestAllDownIsAnsweredAtOnce(t *testing.T) {
	b := newBackend(t, echo)
	b.kill()
	g := start(t, "ws_gateway "+b.addr+" {\n fail_duration 1h\n max_conns 5\n queue 5 1h\n }")
	overWS.refused(t, g, "/ws", nil, 503)
	b.revive(t)
	eachCarrier(t, func(t *testing.T, c carrier) {
		began := time.Now()
		a := c.refused(t, g, "/ws", nil, 503)
		if a.header.Get("Retry-After") == "" {
			t.Error("503 without Retry-After")
		}
		if took := time.Since(began); took > patience/2 {
			t.Errorf("answered after %v", took)
		}
	})
	if n := b.count(&b.accepted); n != 0 {
		t.Errorf("it was dialed %d times while it is down", n)
	}
}

// TestWebSocketProbesOfAUnixSocket have a Host that HTTP allows, and say what
// health_headers say.
func TestWebSocketProbesOfAUnixSocket(t *testing.T) {
	t.Setenv("PROBE_KEY", "sesame")
	b := newUnixBackend(t, named)
	g := start(t, "ws_gateway "+b.addr+" {\n health_websocket /probe\n health_interval 50ms\n health_timeout 2s\n"+
		" health_headers {\n X-Key {env.PROBE_KEY}\n X-Target {http.reverse_proxy.active.target_upstream}\n }\n }")
	head := receive(t, "a probe", b.requests)
	for name, want := range map[string]string{"Host": "localhost", "X-Key": "sesame", "X-Target": b.addr} {
		if got := headerLines(head, name); len(got) != 1 || got[0] != want {
			t.Errorf("%s of the probe is %q, want %q", name, got, want)
		}
	}
	for range 3 {
		receive(t, "further probes", b.requests)
	}
	if up := g.shown(t, "default", b.addr); up.State != "ready" {
		t.Errorf("it is shown as %+v", up)
	}
	goesTo(t, g, b)
}

// TestHostOfAUnixSocket may be asked for by its address, which is none: handshakes
// go on as plain requests do.
func TestHostOfAUnixSocket(t *testing.T) {
	b := newUnixBackend(t, named)
	g := start(t, "ws_gateway "+b.addr+" {\n header_up Host {upstream_hostport}\n }")
	plain := g.get(t, "/page", nil)
	if plain.status != 200 {
		t.Fatalf("a plain request: %d", plain.status)
	}
	want := headerLines(receive(t, "the request", b.requests), "Host")
	_, conn := where(t, g, nil)
	defer conn.kill()
	if got := headerLines(receive(t, "the handshake", b.requests), "Host"); !slices.Equal(got, want) {
		t.Errorf("Host of the handshake is %q, that of a plain request %q", got, want)
	}
}
