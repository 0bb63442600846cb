package integration

import (
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// TestLogLinesOfAConnection checks every field of opened and closed.
func TestLogLinesOfAConnection(t *testing.T) {
	b := newBackend(t, echo)
	g := start(t, fmt.Sprintf(`ws_gateway %s {
		name logged
		auth {
			bearer good-token alice
		}
	}`, b.addr))
	for i, c := range carriers {
		t.Run(c.name, func(t *testing.T) {
			header := bearer("good-token")
			header["Sec-WebSocket-Protocol"] = []string{"chat"}
			conn := c.open(t, g, "/ws", header)
			opened := book.wait(t, "opened", i+1)
			conn.ping(t, "hello")
			for _, f := range []frame{
				{op: opBinary, payload: []byte("frag")}, {fin: true, op: opPing, payload: []byte("p")}, {fin: true, payload: []byte("ment")},
			} {
				conn.mustSend(t, f)
				conn.expect(t, f)
			}
			conn.mustSend(t, closing(4000, "a \"reason\"\nwith two lines"))
			conn.expectClose(t, 4000)
			conn.kill()
			eventually(t, "the closed line", func() bool { return len(book.closedBy(b.addr)) == i+1 })
			closed := book.closedBy(b.addr)[i]

			common := map[string]string{
				"level": "info", "logger": ourLogger, "gateway": "logged", "remote_ip": "127.0.0.1", "proto": c.proto,
				"user_id": "alice", "protocol": "websocket", "upstream": b.addr, "subprotocol": "chat", "connection": opened.str("connection"),
			}
			for _, line := range []logLine{opened, closed} {
				for field, want := range common {
					if got := line.str(field); got != want || got == "" {
						t.Errorf("%s: %s is %q, want %q", line.str("msg"), field, got, want)
					}
				}
			}
			if closed.str("by") != "client" || closed.str("reason") != "a \"reason\"\nwith two lines" {
				t.Errorf("by %q, reason %q", closed.str("by"), closed.str("reason"))
			}
			for field, want := range map[string]float64{
				"code": 4000, "messages_from_client": 2, "messages_from_upstream": 2,
			} {
				if got := closed.num(field); got != want {
					t.Errorf("%s is %v, want %v", field, got, want)
				}
			}
			if from, to := closed.num("bytes_from_client"), closed.num("bytes_from_upstream"); from != to || from < 13 {
				t.Errorf("bytes_from_client %v and bytes_from_upstream %v, want equal payloads", from, to)
			}
			if closed.num("duration") <= 0 {
				t.Errorf("duration is %v", closed.fields["duration"])
			}
		})
	}
}

// TestHandshakeIsInTheAccessLogWithItsUser as any other request.
func TestHandshakeIsInTheAccessLogWithItsUser(t *testing.T) {
	b := newBackend(t, echo)
	g := start(t, "ws_gateway "+b.addr+" {\n auth {\n bearer good-token alice\n }\n }")
	for i, c := range carriers {
		path := fmt.Sprintf("/logged%d", i)
		conn := c.open(t, g, path, bearer("good-token"))
		conn.ping(t, "hello")
		conn.finish(t)
		line := book.waitAccess(t, path)
		if line.num("status") != float64(c.status) || line.str("user_id") != "alice" {
			t.Errorf("%s: status %v, user_id %q", c.name, line.num("status"), line.str("user_id"))
		}
		if strings.Contains(line.raw, "good-token") {
			t.Errorf("%s: the token is in the access log: %s", c.name, line.raw)
		}
	}
}

// TestAccessLogHasWhatReverseProxyGivesThere for handshakes, whatever comes of them,
// as for requests.
func TestAccessLogHasWhatReverseProxyGivesThere(t *testing.T) {
	var g *gateway
	pauses := make(chan time.Duration, 1)
	b := newBackend(t, func(c *backendConn) {
		began := time.Now()
		g.get(t, "/meanwhile", nil) // it takes its time
		pauses <- time.Since(began)
		switch c.req.URL.Path {
		case "/refused":
			_ = c.reply("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno")
		case "/wrong":
			_ = c.reply("HTTP/1.1 101 Switching Protocols\r\n\r\n")
		default:
			echo(c)
		}
	})
	dead := newBackend(t, echo)
	dead.kill()
	host, port, _ := net.SplitHostPort(b.addr)
	placeholders := []string{
		"upstream.address", "upstream.hostport", "upstream.host", "upstream.port", "upstream.requests", "upstream.max_requests",
		"upstream.fails", "upstream.latency_ms", "upstream.latency", "upstream.duration_ms", "status_code", "status_text", "retries", "duration_ms",
	}
	site := ""
	for _, name := range placeholders {
		site += fmt.Sprintf("log_append %s {http.reverse_proxy.%s}\n", name, name)
	}
	site += fmt.Sprintf("ws_gateway /plain %s\nws_gateway %s %s {\n lb_policy first\n }", b.addr, dead.addr, b.addr)
	g = start(t, site)
	for _, row := range []struct {
		path   string
		status float64 // of the upstream; 0 for no sound answer
		plain  bool
	}{{path: "/upgraded", status: 101}, {path: "/refused", status: 403}, {path: "/wrong"}, {path: "/plain", status: 200, plain: true}} {
		for _, c := range carriers {
			path := row.path + "?" + strings.ReplaceAll(c.name, " ", "")
			var least time.Duration
			switch {
			case row.plain && c.name != overWS.name:
				continue
			case row.plain:
				g.get(t, path, nil)
			default:
				if a := c.do(t, g, path, nil); a.conn != nil {
					a.conn.finish(t)
				}
				least = receive(t, "the pause", pauses)
			}
			t.Run(path, func(t *testing.T) {
				line := book.waitAccess(t, path)
				for name, want := range map[string]string{
					"upstream.address": "tcp/" + b.addr, "upstream.hostport": b.addr, "upstream.host": host, "upstream.port": port,
				} {
					if got := fmt.Sprint(line.fields[name]); got != want {
						t.Errorf("%s is %q, want %q", name, got, want)
					}
				}
				if row.status != 0 {
					expectAnswerInLog(t, line, row.status, !row.plain, least)
				}
			})
		}
	}
}

// expectAnswerInLog of an upstream, which took at least so long, and was asked
// after another one if it was retried.
func expectAnswerInLog(t *testing.T, line logLine, status float64, retried bool, least time.Duration) {
	t.Helper()
	if got := line.num("status_code"); got != status {
		t.Errorf("status_code is %v, want %v", line.fields["status_code"], status)
	}
	if got := line.str("status_text"); !strings.HasPrefix(got, fmt.Sprint(status, " ")) {
		t.Errorf("status_text is %q", got)
	}
	if got := line.num("retries"); got != 1 && retried {
		t.Errorf("retries is %v, want the one after the dead upstream", line.fields["retries"])
	}
	latency, total := line.num("upstream.latency_ms"), line.num("duration_ms")
	if latency < least.Seconds()*1e3 || total < latency || latency <= 0 {
		t.Errorf("latency_ms is %v, duration_ms %v; the upstream took %v", latency, total, least)
	}
}

// TestAccessLogHasTheStatusOfTheLastUpstream where the one before refused and the
// next was tried for that.
func TestAccessLogHasTheStatusOfTheLastUpstream(t *testing.T) {
	busy := newBackend(t, answering("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"))
	b := newBackend(t, echo)
	g := start(t, fmt.Sprintf("log_append status_code {rp.status_code}\nws_gateway %s %s {\n lb_policy first\n"+
		" lb_retry_match expression `{rp.status_code} == 503`\n }", busy.addr, b.addr))
	overWS.open(t, g, "/ws", nil).finish(t)
	if line := book.waitAccess(t, "/ws"); line.num("status_code") != 101 {
		t.Errorf("status_code is %v", line.fields["status_code"])
	}
	if n := busy.count(&busy.accepted); n != 1 {
		t.Errorf("the one that is busy was asked %d times", n)
	}
}

// TestRefusalsAreLoggedAndCounted by what came of the handshake.
func TestRefusalsAreLoggedAndCounted(t *testing.T) {
	b := newBackend(t, echo)
	refusing := newBackend(t, answering("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno"))
	invalid := newBackend(t, answering("HTTP/1.1 101 Switching Protocols\r\n\r\n"))
	quiet := newBackend(t, silent)
	rows := []struct {
		name, site string
		header     http.Header
		status     int
		result     string
	}{
		{"no token", "auth {\n bearer good-token alice\n }", nil, 401, "unauthorized"},
		{"wrong token", "auth {\n bearer good-token alice\n }", bearer("other-token"), 401, "unauthorized"},
		{"origin", "origins https://good.com", http.Header{"Origin": {"https://evil.com"}}, 403, "forbidden"},
		{"version", "", http.Header{"Sec-WebSocket-Version": {"9"}}, 426, "bad_request"},
		{"refused by the upstream", "to " + refusing.addr, nil, 403, "refused"},
		{"invalid 101", "to " + invalid.addr, nil, 502, "upstream_error"},
		{"silent upstream", "to " + quiet.addr + "\n handshake_timeout 200ms", nil, 504, "upstream_error"},
		{"dead upstream", "to 127.0.0.1:1", nil, 503, "unavailable"},
	}
	for i, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			site := row.site
			if !strings.HasPrefix(site, "to ") {
				site += "\n to " + b.addr
			}
			name := fmt.Sprintf("row%d", i)
			g := start(t, "ws_gateway {\n name "+name+"\n "+site+"\n }")
			for n, c := range carriers {
				c.refused(t, g, "/ws", row.header, row.status)
				line := book.wait(t, "refused", n+1)
				if line.num("status") != float64(row.status) || line.str("result") != row.result || line.str("reason") == "" {
					t.Errorf("status %v, result %q, reason %q", line.num("status"), line.str("result"), line.str("reason"))
				}
				if line.str("gateway") != name || line.str("remote_ip") != "127.0.0.1" || line.str("proto") != c.proto {
					t.Errorf("gateway %q, remote_ip %q, proto %q", line.str("gateway"), line.str("remote_ip"), line.str("proto"))
				}
				if strings.Contains(line.raw, "other-token") {
					t.Errorf("the token is in the log: %s", line.raw)
				}
			}
			got := g.sum(t, "caddy_ws_gateway_handshakes_total", `gateway="`+name+`"`, `result="`+row.result+`"`)
			if all := g.sum(t, "caddy_ws_gateway_handshakes_total", `gateway="`+name+`"`); got != float64(len(carriers)) || all != got {
				t.Errorf("handshakes_total: %v of result %s and %v in all, want %d", got, row.result, all, len(carriers))
			}
			if n := len(book.find(ourLogger, "opened")); n != 0 {
				t.Errorf("%d opened lines", n)
			}
		})
	}
}

// TestSuccessesAreCounted and plain requests are not.
func TestSuccessesAreCounted(t *testing.T) {
	b := newBackend(t, echo)
	g := start(t, "ws_gateway {\n name fine\n to "+b.addr+"\n }")
	for _, c := range carriers {
		c.open(t, g, "/ws", nil).finish(t)
	}
	g.get(t, "/plain", nil)
	for _, labels := range [][]string{{`gateway="fine"`}, {`gateway="fine"`, `result="ok"`}} {
		if got := g.sum(t, "caddy_ws_gateway_handshakes_total", labels...); got != float64(len(carriers)) {
			t.Errorf("handshakes_total%v is %v, want %d", labels, got, len(carriers))
		}
	}
}

// TestConnectionsMetricFollowsTheConnections by gateway and upstream.
func TestConnectionsMetricFollowsTheConnections(t *testing.T) {
	one, two := newBackend(t, echo), newBackend(t, echo)
	g := start(t, fmt.Sprintf(`ws_gateway /ws %s {
		name left
	}
	ws_gateway /other %s {
		name right
	}`, one.addr, two.addr))
	var conns []*wsConn
	for _, c := range carriers {
		conns = append(conns, c.open(t, g, "/ws", nil), c.open(t, g, "/ws", nil), c.open(t, g, "/other", nil))
	}
	for labels, want := range map[string]int{
		`gateway="left",upstream="` + one.addr + `"`: 2 * len(carriers), `gateway="right",upstream="` + two.addr + `"`: len(carriers),
	} {
		if got := g.sum(t, "caddy_ws_gateway_connections", labels); got != float64(want) {
			t.Errorf("connections{%s} is %v, want %d", labels, got, want)
		}
	}
	for i, conn := range conns {
		if i%2 == 0 {
			conn.finish(t)
		}
		conn.kill()
	}
	g.assertNoLiveSeries(t)
}
