package integration

import (
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"testing"
)

// drops are the ways in which an application gives a handshake no answer.
var drops = map[string]script{
	"closes": func(*backendConn) {},
	"resets": func(c *backendConn) { c.reset() },
	"closes after half a status": func(c *backendConn) {
		_ = c.reply("HTTP/1.1 1")
	},
	"closes after half a head": func(c *backendConn) {
		_ = c.reply("HTTP/1.1 101 Switching Protocols\r\nUpgrade: webs")
	},
	"resets after half a head": func(c *backendConn) {
		_ = c.reply("HTTP/1.1 101 Switching Protocols\r\nUpgrade: webs")
		c.reset()
	},
	"closes after a hint": func(c *backendConn) {
		_ = c.reply("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n")
	},
}

// droppingPath drops handshakes for one path in the way given, and serves others.
func droppingPath(path string, drop script) script {
	return func(c *backendConn) {
		if c.req.URL.Path == path {
			drop(c)
			return
		}
		named(c)
	}
}

// onUnixSocket makes a backend on a unix socket.
func onUnixSocket(t *testing.T, s script) *backend {
	t.Helper()
	path := filepath.Join(filepath.Dir(newGateway(t, "").socket), "upstream")
	ln, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	b := &backend{script: s, ln: ln, conns: map[*backendConn]bool{}, addr: "unix/" + path,
		requests: make(chan string, 1000), upgraded: make(chan *backendConn, 1000)}
	b.done.Add(1)
	go b.acceptConns(ln)
	t.Cleanup(b.kill)
	return b
}

// failed is how many failures are shown of the upstreams. They are remembered for as
// long as the process lives, and the port may have been another's.
func (g *gateway) failed(t *testing.T, addresses ...string) (n int) {
	t.Helper()
	for _, address := range addresses {
		n += g.shown(t, "default", address).Failed
	}
	return n
}

// TestDroppedHandshakeTakesNoUpstreamFromOthers, whoever sends it, however often,
// over whatever carrier, and however it is dropped: it is answered 502 after the
// second drop, and nothing is marked.
func TestDroppedHandshakeTakesNoUpstreamFromOthers(t *testing.T) {
	places := map[string]struct {
		make    func(*testing.T, script) *backend
		address func(*backend) string
		options string
	}{
		"by address": {func(t *testing.T, s script) *backend { return newBackend(t, s) }, func(b *backend) string { return b.addr }, ""},
		"by name": {func(t *testing.T, s script) *backend { return newBackend(t, s) }, func(b *backend) string {
			return strings.Replace(b.addr, "127.0.0.1", "localhost", 1)
		}, ""},
		"by the transport": {func(t *testing.T, s script) *backend { return newBackend(t, s) }, func(b *backend) string { return b.addr },
			"transport http {\n local_address 127.0.0.1\n }"},
		"over TLS": {func(t *testing.T, s script) *backend { return newTLSBackend(t, s) }, func(b *backend) string { return b.addr },
			"transport http {\n tls_insecure_skip_verify\n }"},
		"at a unix socket": {onUnixSocket, func(b *backend) string { return b.addr }, ""},
	}
	for place, at := range places {
		for how, drop := range drops {
			t.Run(place+"/"+how, func(t *testing.T) {
				var all []*backend
				var addrs []string
				for range 3 {
					b := at.make(t, droppingPath("/bad", drop))
					all, addrs = append(all, b), append(addrs, at.address(b))
				}
				g := start(t, fmt.Sprintf("ws_gateway %s {\n fail_duration 1h\n %s\n }", strings.Join(addrs, " "), at.options))
				failed := g.failed(t, addrs...)
				for _, c := range carriers {
					c.refused(t, g, "/bad", nil, 502)
				}
				if n := g.failed(t, addrs...) - failed; n != 0 {
					t.Errorf("%d failures are counted", n)
				}
				for i, b := range all {
					if up := g.shown(t, "default", addrs[i]); up.State != "ready" {
						t.Errorf("upstream %d is shown as %+v", i, up)
					}
					for len(b.requests) > 0 {
						<-b.requests
					}
				}
				seen := map[string]bool{}
				for range 3 {
					address, _ := where(t, g, nil)
					seen[address] = true
				}
				if len(seen) != len(all) {
					t.Errorf("everyone else is given %d upstreams of %d", len(seen), len(all))
				}
			})
		}
	}
}

// TestDroppedHandshakeIsReplayedOnce and its dropper marked where the other one
// answers, be it with a refusal.
func TestDroppedHandshakeIsReplayedOnce(t *testing.T) {
	answers := map[string]script{
		"upgrades": named,
		"refuses":  answering("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"),
	}
	for how, answer := range answers {
		t.Run(how, func(t *testing.T) {
			ill, well := newBackend(t, drops["closes"]), newBackend(t, answer)
			g := start(t, fmt.Sprintf("ws_gateway %s %s {\n lb_policy first\n fail_duration 1h\n }", ill.addr, well.addr))
			failedIll, failedWell := g.failed(t, ill.addr), g.failed(t, well.addr)
			for range 3 {
				a := overWS.do(t, g, "/ws", nil)
				if a.status != 101 && a.status != 404 {
					t.Fatalf("answered %d", a.status)
				}
			}
			if n := ill.count(&ill.accepted); n != 1 {
				t.Errorf("the one that drops was asked %d times, want once", n)
			}
			if up := g.shown(t, "default", ill.addr); up.State != "unhealthy" || up.Failed != failedIll+1 {
				t.Errorf("the one that drops is shown as %+v", up)
			}
			if up := g.shown(t, "default", well.addr); up.State != "ready" || up.Failed != failedWell {
				t.Errorf("the one that answers is shown as %+v", up)
			}
		})
	}
}

// TestDroppedHandshakeUnderEverySetting that has to do with more attempts or with
// health.
func TestDroppedHandshakeUnderEverySetting(t *testing.T) {
	for _, settings := range []string{
		"lb_retries 5",
		"lb_try_duration 10s\n lb_try_interval 10ms",
		"lb_policy round_robin\n lb_try_duration 10s",
		"lb_policy cookie",
		"max_conns 10\n queue 5 10s",
		"panic_threshold 60%",
		"early_close_count 1",
		"max_fails 1\n unhealthy_request_count 100",
		"lb_retry_match expression `{rp.status_code} >= 500`",
	} {
		t.Run(firstLine(strings.ReplaceAll(settings, "\n", "\r\n")), func(t *testing.T) {
			all, addrs := backends(t, 3, droppingPath("/bad", drops["resets"]))
			g := start(t, "ws_gateway "+addrs+" {\n fail_duration 1h\n "+settings+"\n }")
			failed := g.failed(t, strings.Fields(addrs)...)
			for range 4 {
				overWS.refused(t, g, "/bad", nil, 502)
			}
			if n := g.failed(t, strings.Fields(addrs)...) - failed; n != 0 {
				t.Errorf("%d failures are counted", n)
			}
			asked := 0
			for _, b := range all {
				asked += b.count(&b.accepted)
				if up := g.shown(t, "default", b.addr); up.State != "ready" || up.Live != 0 {
					t.Errorf("shown as %+v", up)
				}
			}
			if asked != 8 {
				t.Errorf("4 handshakes were sent %d times, want twice each", asked)
			}
			where(t, g, nil)
		})
	}
	t.Run("dynamic", func(t *testing.T) {
		all, _ := backends(t, 3, droppingPath("/bad", drops["resets"]))
		shift(nil, all...)
		g := start(t, "ws_gateway {\n dynamic integration_pool\n fail_duration 1h\n }")
		for range 4 {
			overWS.refused(t, g, "/bad", nil, 502)
		}
		for _, b := range all {
			if up := g.shown(t, "default", b.addr); up.State != "ready" {
				t.Errorf("shown as %+v", up)
			}
		}
		where(t, g, nil)
	})
}

// TestOneHandshakeWithoutAnAnswerTakesNoUpstream where the application never
// answers it, or wrongly: nobody else is asked, so that nobody can tell whose fault
// it is. An operator can say that slow ones count.
func TestOneHandshakeWithoutAnAnswerTakesNoUpstream(t *testing.T) {
	for _, row := range []struct {
		name, settings string
		script         script
		status         int
		state          string
	}{
		{"silent", "", silent, 504, "ready"},
		{"wrong", "", answering("HTTP/1.1 101 Switching Protocols\r\n\r\n"), 502, "ready"},
		{"not HTTP", "", answering("garbage\r\n\r\n"), 502, "ready"},
		{"silent, as slow ones count", "unhealthy_latency 50ms", silent, 504, "unhealthy"},
	} {
		t.Run(row.name, func(t *testing.T) {
			b := newBackend(t, droppingPath("/bad", row.script))
			g := start(t, "ws_gateway "+b.addr+" {\n fail_duration 1h\n handshake_timeout 100ms\n "+row.settings+"\n }")
			failed := g.failed(t, b.addr)
			overWS.refused(t, g, "/bad", nil, row.status)
			if up := g.shown(t, "default", b.addr); up.State != row.state || up.Failed != failed+1 {
				t.Errorf("shown as %+v", up)
			}
			if row.state == "ready" {
				where(t, g, nil)
			}
		})
	}
}
