package integration

import (
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
)

// TestSettingsOfReverseProxyApplyToHandshakes takes subdirectives of
// reverse_proxy and looks for their effect on both kinds of traffic.
func TestSettingsOfReverseProxyApplyToHandshakes(t *testing.T) {
	b := newBackend(t, echo)
	_, port, _ := net.SplitHostPort(b.addr)
	rows := []struct {
		name, config string
		check        func(t *testing.T, head string)
	}{
		{"rewrite", "to %s\n rewrite /app{uri}", func(t *testing.T, head string) {
			if line := firstLine(head); !strings.HasPrefix(line, "GET /app/ws") {
				t.Errorf("request line %q", line)
			}
		}},
		{"header_up Host", "to %s\n header_up Host inner.example", func(t *testing.T, head string) {
			if got := headerLines(head, "Host"); len(got) != 1 || got[0] != "inner.example" {
				t.Errorf("Host is %q", got)
			}
		}},
		{"header_up with a search", "to %s\n header_up X-Kind ^old$ new", func(t *testing.T, head string) {
			if got := headerLines(head, "X-Kind"); len(got) != 1 || got[0] != "new" {
				t.Errorf("X-Kind is %q", got)
			}
		}},
		{"placeholder as upstream", "to {header.X-Upstream}", func(*testing.T, string) {}},
		{"dynamic a", "dynamic a localhost " + port + " {\n versions ipv4\n }", func(*testing.T, string) {}},
		{"lb_retries", "to 127.0.0.1:1 %s\n lb_policy round_robin\n lb_retries 1", func(*testing.T, string) {}},
	}
	header := http.Header{"X-Kind": {"old"}, "X-Upstream": {b.addr}}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			g := start(t, "ws_gateway {\n "+strings.ReplaceAll(row.config, "%s", b.addr)+"\n }")
			eachCarrier(t, func(t *testing.T, c carrier) {
				conn := c.open(t, g, "/ws", header)
				conn.ping(t, "hello")
				row.check(t, receive(t, "handshake", b.requests))
				conn.finish(t)
			})
			if a := g.get(t, "/ws", header); a.status != 200 {
				t.Errorf("plain request: status %d", a.status)
			}
			row.check(t, receive(t, "plain request", b.requests))
			g.assertNoLiveSeries(t)
		})
	}
}

// TestUnixSocketUpstream reaches an upstream on a unix socket.
func TestUnixSocketUpstream(t *testing.T) {
	b := newBackend(t, echo)
	path := filepath.Join(filepath.Dir(newGateway(t, "").socket), "upstream")
	ln, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	b.done.Add(1)
	go b.acceptConns(ln)
	g := start(t, "ws_gateway unix/"+path)
	eachCarrier(t, func(t *testing.T, c carrier) {
		conn := c.open(t, g, "/ws", nil)
		conn.ping(t, "hello")
		conn.finish(t)
	})
	if a := g.get(t, "/plain", nil); a.status != 200 {
		t.Errorf("plain request: status %d", a.status)
	}
}

// TestHandleResponseSeesTheUpstreamsRefusal lets the site replace it.
func TestHandleResponseSeesTheUpstreamsRefusal(t *testing.T) {
	b := newBackend(t, answering("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno"))
	g := start(t, fmt.Sprintf(`ws_gateway %s {
		@denied status 403
		handle_response @denied {
			respond "denied by {rp.status_code}" 418
		}
	}`, b.addr))
	eachCarrier(t, func(t *testing.T, c carrier) {
		if a := c.refused(t, g, "/ws", nil, 418); a.body != "denied by 403" {
			t.Errorf("body %q", a.body)
		}
	})
}

// TestUnderOtherHandlers wraps the response in every writer that Caddy has.
func TestUnderOtherHandlers(t *testing.T) {
	b := newBackend(t, echo)
	g := startWith(t, "metrics", fmt.Sprintf(`encode gzip
	templates
	header >X-Deferred yes
	header X-Plain yes
	tracing
	intercept {
		@never status 599
		handle_response @never {
			respond nothing
		}
	}
	ws_gateway %s`, b.addr))
	eachCarrier(t, func(t *testing.T, c carrier) {
		conn := c.open(t, g, "/ws", http.Header{"Accept-Encoding": {"gzip"}})
		for _, name := range []string{"X-Deferred", "X-Plain"} {
			if conn.header.Get(name) != "yes" {
				t.Errorf("%s is %q", name, conn.header.Get(name))
			}
		}
		for range 3 {
			conn.ping(t, strings.Repeat("something to compress ", 1000))
		}
		conn.finish(t)
	})
}

// TestWebSocketMatcher matches a handshake over every protocol and nothing else.
func TestWebSocketMatcher(t *testing.T) {
	g := start(t, "@ws websocket\nrespond @ws handshake 418\nrespond other 200")
	eachCarrier(t, func(t *testing.T, c carrier) {
		if a := c.refused(t, g, "/room", nil, 418); a.body != "handshake" {
			t.Errorf("body %q", a.body)
		}
	})
	for _, header := range []http.Header{{}, {"Upgrade": {"websocket"}}, {"Connection": {"Upgrade"}, "Upgrade": {"h2c"}}} {
		if a := g.get(t, "/room", header); a.body != "other" {
			t.Errorf("a request with %v got %q", header, a.body)
		}
	}
}

// TestEchoHandler tries the echo backend alone and behind a gateway.
func TestEchoHandler(t *testing.T) {
	echoAddr := freePort(t)
	g := newGateway(t, "")
	g.sites = "http://" + port(echoAddr) + " {\n ws_echo \"hello from {path}\"\n }"
	g.run(t, "handle /direct {\n ws_echo \"hello from {path}\"\n }\nws_gateway "+echoAddr)
	greeted := func(c carrier, path string) {
		conn := c.open(t, g, path, nil)
		conn.expect(t, text("hello from "+path))
		conn.ping(t, "hello")
		conn.finish(t)
	}
	greeted(overWS, "/direct")
	greeted(overWSS, "/direct")
	for _, c := range carriers {
		greeted(c, "/room")
	}
}

// TestConnectionOverH1HoldsNoRequest looks for Caddy's request handling in the
// stacks while connections are open: the handler has returned.
func TestConnectionOverH1HoldsNoRequest(t *testing.T) {
	b := newBackend(t, echo)
	g := start(t, "ws_gateway "+b.addr)
	for _, c := range []carrier{overWS, overWSS} {
		for range 5 {
			c.open(t, g, "/ws", nil).ping(t, "hello")
		}
	}
	var left string
	if !poll(patience, func() bool {
		left = moreThan(goroutines("caddyhttp.(*Server).ServeHTTP", "net/http.(*conn).serve"), nil)
		return left == ""
	}) {
		t.Errorf("live connections hold their requests:\n%s", left)
	}
	g.waitConnections(t, 10)
}
