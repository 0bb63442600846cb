package integration

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
)

// of is the sum of a gateway's series of one of our metrics.
func (g *gateway) of(t *testing.T, name, metric string, labels ...string) float64 {
	t.Helper()
	return g.sum(t, "caddy_ws_gateway_"+metric, append(labels, `gateway="`+name+`"`)...)
}

// waitBalanced waits until what was opened is what has ended and what is live.
func (g *gateway) waitBalanced(t *testing.T, name string, live float64) {
	t.Helper()
	var opened, closed, now float64
	defer func() {
		if t.Failed() {
			t.Logf("opened %v, closed %v, live %v", opened, closed, now)
		}
	}()
	eventually(t, fmt.Sprintf("opened − closed = live = %v", live), func() bool {
		opened, closed, now = g.of(t, name, "handshakes_total", `result="ok"`), g.of(t, name, "closes_total"), g.of(t, name, "connections")
		return opened-closed == now && now == live
	})
	if lasted := g.of(t, name, "connection_duration_seconds_count"); lasted != closed {
		t.Errorf("%v connections have ended, and %v durations are counted", closed, lasted)
	}
	if all, took := g.of(t, name, "handshakes_total"), g.of(t, name, "handshake_duration_seconds_count"); all != took {
		t.Errorf("%v handshakes, and %v durations are counted", all, took)
	}
}

// TestNumbersAddUpOverReloads of two handlers with one name in each of two sites.
func TestNumbersAddUpOverReloads(t *testing.T) {
	one, two := newBackend(t, echo), newBackend(t, echo)
	site := func(more string) string {
		return fmt.Sprintf("ws_gateway /one %s {\n name sums\n %s\n }\nws_gateway /two %s {\n name sums\n %s\n }", one.addr, more, two.addr, more)
	}
	g := start(t, site(""))
	var conns []*wsConn
	for _, c := range carriers {
		conns = append(conns, c.open(t, g, "/one", nil), c.open(t, g, "/two", nil), c.open(t, g, "/two", nil))
		c.refused(t, g, "/one", http.Header{"Sec-WebSocket-Version": {"9"}}, 426)
	}
	n := len(carriers)
	g.waitBalanced(t, "sums", float64(3*n))
	conns[0].finish(t)
	g.reload(t, site("write_timeout 1m"))
	conns[1].finish(t)
	conns = append(conns, overWS.open(t, g, "/one", nil))
	g.waitBalanced(t, "sums", float64(3*n-1))
	for _, conn := range conns[2:] {
		conn.finish(t)
	}
	g.waitBalanced(t, "sums", 0)
	if got := g.of(t, "sums", "handshakes_total", `result="bad_request"`); got != float64(n) {
		t.Errorf("%v bad requests, want %d", got, n)
	}
	if got := g.of(t, "sums", "closes_total", `by="client"`, `code="1000"`); got != float64(3*n+1) {
		t.Errorf("%v closes by clients with 1000, want %d", got, 3*n+1)
	}
}

// labelsOf are the label names and values of our series, whatever client sent.
func (g *gateway) labelsOf(t *testing.T, name string) (series map[string]int) {
	t.Helper()
	series = make(map[string]int)
	samples, _ := g.metrics(t)
	for _, s := range samples {
		if strings.HasPrefix(s.name, "caddy_ws_gateway_") && strings.Contains(s.labels, `gateway="`+name+`"`) {
			series[s.name]++
		}
	}
	return series
}

// TestSeriesDoNotGrowWithWhatClientsSend in targets, fields, close codes and reasons.
func TestSeriesDoNotGrowWithWhatClientsSend(t *testing.T) {
	b := newBackend(t, echo)
	g := start(t, "ws_gateway {\n name grown\n to "+b.addr+"\n auth {\n optional\n bearer good-token alice\n }\n }")
	round := func(i int) {
		for _, c := range carriers {
			conn := c.open(t, g, fmt.Sprintf("/%d?x=%d", rand.Uint64(), i), http.Header{
				"User-Agent": {fmt.Sprint(i)}, "Sec-WebSocket-Protocol": {fmt.Sprint("p", i)},
			})
			code := 4000 + rand.IntN(1000)
			conn.mustSend(t, closing(code, fmt.Sprint("reason ", i)))
			conn.expectClose(t, code) // who leaves before may be taken for one that vanished
			conn.kill()
			c.refused(t, g, "/", bearer(fmt.Sprint("token", i)), 401)
		}
	}
	round(0)
	g.waitBalanced(t, "grown", 0)
	before := g.labelsOf(t, "grown")
	for i := range 20 {
		round(i)
	}
	g.waitBalanced(t, "grown", 0)
	if after := g.labelsOf(t, "grown"); !maps.Equal(before, after) {
		t.Errorf("series before: %v, after: %v", before, after)
	}
}

// TestWaitsInLineAreMeasured of those that got in and of those that did not.
func TestWaitsInLineAreMeasured(t *testing.T) {
	b := newBackend(t, echo)
	g := start(t, "ws_gateway {\n name measured_line\n to "+b.addr+"\n max_conns 1\n queue 5 300ms\n }")
	first := overWS.open(t, g, "/ws", nil)
	if got := g.of(t, "measured_line", "queue_wait_seconds_count"); got != 0 {
		t.Errorf("%v waits are counted, and nobody has waited", got)
	}
	overWS.refused(t, g, "/ws", nil, 503)
	count, sum := g.of(t, "measured_line", "queue_wait_seconds_count"), g.of(t, "measured_line", "queue_wait_seconds_sum")
	if count != 1 || sum < .29 || sum > patience.Seconds() {
		t.Errorf("%v waits of %v s are counted", count, sum)
	}
	if took := g.of(t, "measured_line", "handshake_duration_seconds_sum"); took < sum {
		t.Errorf("handshakes took %v s, without the wait of %v s", took, sum)
	}
	first.finish(t)
}

// TestAnswersToPingsAreMeasured and show in the closed line.
func TestAnswersToPingsAreMeasured(t *testing.T) {
	b := newBackend(t, echo)
	g := start(t, "ws_gateway {\n name pinged\n to "+b.addr+"\n ping 20ms 10s\n }")
	for i, c := range carriers {
		conn := c.open(t, g, "/ws", nil)
		before := g.of(t, "pinged", "ping_rtt_seconds_count")
		f, err := conn.next()
		if err != nil || f.op != opPing {
			t.Fatalf("%s: got %v, %v, want a ping", c.name, f, err)
		}
		conn.mustSend(t, frame{fin: true, op: opPong, payload: f.payload})
		eventually(t, "an answer that is measured", func() bool { return g.of(t, "pinged", "ping_rtt_seconds_count") == before+1 })
		conn.mustSend(t, closing(1000, ""))
		conn.expectClose(t, 1000)
		conn.kill()
		eventually(t, "the closed line", func() bool { return len(book.closedBy(b.addr)) == i+1 })
		if line := book.closedBy(b.addr)[i]; line.num("ping_rtt") <= 0 || line.num("ping_rtt") > patience.Seconds() || line.str("ends_by") != "" {
			t.Errorf("%s: the line is %s", c.name, line.raw)
		}
	}
}

// TestClosedLineSaysWhichDeadlineEndedTheConnection and says none where none has.
func TestClosedLineSaysWhichDeadlineEndedTheConnection(t *testing.T) {
	for endsBy, row := range map[string]struct {
		config string
		header func() http.Header
		do     func(t *testing.T, g *gateway, b *backend)
	}{
		"token": {config: "auth {\n jwt {\n key \"" + jwtSecret + "\"\n leeway 0s\n }\n }", header: func() http.Header {
			return bearer(shortLived())
		}},
		"max_age":      {config: "max_age 300ms 0"},
		"idle_timeout": {config: "idle_timeout 300ms"},
		"drain": {config: "drain_period 0s", do: func(t *testing.T, g *gateway, b *backend) {
			if status, body := g.adminDo(t, "POST", "/ws_gateway/upstreams/"+b.addr, "application/json", `{"state":"drain"}`); status != 200 {
				t.Fatalf("draining: %d %s", status, body)
			}
		}},
		"": {do: func(t *testing.T, g *gateway, b *backend) {
			if status, body := g.adminDo(t, "DELETE", "/ws_gateway/connections?upstream="+b.addr, "", ""); status != 200 {
				t.Fatalf("ending: %d %s", status, body)
			}
		}},
	} {
		t.Run(endsBy, func(t *testing.T) {
			b := newBackend(t, echo)
			g := start(t, "ws_gateway "+b.addr+" {\n "+row.config+"\n }")
			var conns []*wsConn
			for _, c := range carriers {
				var header http.Header
				if row.header != nil {
					header = row.header()
				}
				conns = append(conns, c.open(t, g, "/ws", header))
			}
			book.wait(t, "opened", len(conns)) // before that the admin API may not know of them
			if row.do != nil {
				row.do(t, g, b)
			}
			for _, conn := range conns {
				if _, err := conn.closeFrame(); err != nil {
					t.Fatal(err)
				}
				conn.kill()
			}
			eventually(t, "the closed lines", func() bool { return len(book.closedBy(b.addr)) == len(carriers) })
			for _, line := range book.closedBy(b.addr) {
				if line.str("by") != "gateway" || line.str("ends_by") != endsBy {
					t.Errorf("the line is %s", line.raw)
				}
				if _, has := line.fields["ends_by"]; has != (endsBy != "") {
					t.Errorf("ends_by is there: %t", has)
				}
			}
		})
	}
}

// TestLinesThatAreLeftOutAreCountedAllTheSame and known to the admin API.
func TestLinesThatAreLeftOutAreCountedAllTheSame(t *testing.T) {
	b := newBackend(t, echo)
	sampled := "ws_gateway {\n name sampled\n to " + b.addr + "\n log_sampling {\n opened {\n interval 1h\n first 1\n thereafter 4\n }\n" +
		" closed {\n interval 1h\n first 0\n thereafter 0\n }\n refused {\n interval 1h\n first 2\n thereafter 0\n }\n }\n }"
	g := start(t, sampled)
	const each = 9
	var conns []*wsConn
	for range each {
		conns = append(conns, overWS.open(t, g, "/ws", nil))
		overWS.refused(t, g, "/ws", http.Header{"Sec-WebSocket-Version": {"9"}}, 426)
	}
	g.waitBalanced(t, "sampled", each)
	status, list := g.adminDo(t, "GET", "/ws_gateway/connections?upstream="+b.addr, "", "")
	if n := strings.Count(list, `"opened_at"`); status != 200 || n != each {
		t.Errorf("%d: the admin API lists %d connections, want %d", status, n, each)
	}
	for _, conn := range conns {
		conn.finish(t)
	}
	g.waitBalanced(t, "sampled", 0)
	for msg, want := range map[string]int{"opened": 3, "closed": 0, "refused": 2} {
		lines := slices.DeleteFunc(book.find(ourLogger, msg), func(l logLine) bool { return msg != "refused" && l.str("upstream") != b.addr })
		if n := len(lines); n != want {
			t.Errorf("%d lines %s, want %d", n, msg, want)
		}
	}
	if got := g.of(t, "sampled", "handshakes_total", `result="bad_request"`); got != each {
		t.Errorf("%v refusals are counted", got)
	}
	conns = []*wsConn{overWS.open(t, g, "/ws", nil)}
	g.reload(t, "ws_gateway {\n name sampled\n to "+b.addr+"\n }")
	conns[0].finish(t)
	eventually(t, "the closed line that the new configuration does not leave out", func() bool { return len(book.closedBy(b.addr)) == 1 })
}

// TestPlainRequestsHaveTheirUserInTheAccessLog as handshakes have.
func TestPlainRequestsHaveTheirUserInTheAccessLog(t *testing.T) {
	b := newBackend(t, echo)
	g := start(t, "ws_gateway "+b.addr+" {\n auth {\n bearer good-token alice\n }\n }")
	if a := g.get(t, "/plain", bearer("good-token")); a.status != 200 {
		t.Fatalf("status %d", a.status)
	}
	if line := book.waitAccess(t, "/plain"); line.str("user_id") != "alice" || strings.Contains(line.raw, "good-token") {
		t.Errorf("the line is %s", line.raw)
	}
}

// httpMetric sums up one of Caddy's own metrics for requests.
func (g *gateway) httpMetric(t *testing.T, name string, labels ...string) float64 {
	t.Helper()
	return g.sum(t, "caddy_http_"+name, labels...)
}

// TestLongConnectionsAndCaddysOwnMetrics holds what docs/operations.md says of them: over
// HTTP/1.1 a connection is none of Caddy's business once it is upgraded, over HTTP/2 and
// HTTP/3 it is a request with the method CONNECT until it ends.
func TestLongConnectionsAndCaddysOwnMetrics(t *testing.T) {
	b := newBackend(t, echo)
	const long = 500 * time.Millisecond
	g := startWith(t, "metrics {\n per_host\n }", "ws_gateway "+b.addr+" {\n max_age 500ms 0\n }")
	eachCarrier(t, func(t *testing.T, c carrier) {
		method := `method="GET"`
		if c.status == 200 {
			method = `method="CONNECT"`
		}
		before := g.httpMetric(t, "request_duration_seconds_count", method)
		firstByte := g.httpMetric(t, "response_duration_seconds_count", method)
		sum := g.httpMetric(t, "request_duration_seconds_sum", method)
		conn := c.open(t, g, "/ws", nil)
		opened := time.Now()
		conn.ping(t, "hello")
		eventually(t, "the time to the first byte", func() bool {
			return g.httpMetric(t, "response_duration_seconds_count", method) == firstByte+1
		})
		inFlight := 1.0
		if c.status == 101 {
			inFlight = 0
			eventually(t, "the request in Caddy's metrics", func() bool {
				return g.httpMetric(t, "request_duration_seconds_count", method) == before+1
			})
		}
		if got := g.httpMetric(t, "requests_in_flight", `handler="subroute"`); got != inFlight {
			t.Errorf("%v requests in flight, want %v", got, inFlight)
		}
		conn.expectClose(t, 1012)
		conn.kill()
		eventually(t, "the request in Caddy's metrics", func() bool {
			return g.httpMetric(t, "request_duration_seconds_count", method) == before+1
		})
		took := g.httpMetric(t, "request_duration_seconds_sum", method) - sum
		if lasted := time.Since(opened).Seconds(); (took >= long.Seconds()) != (c.status == 200) || took > lasted+1 {
			t.Errorf("the request took %v s of the %v s that the connection lasted", took, lasted)
		}
	})
}

// TestMetricsHaveTheirNamesAndLabels as documented, and are all documented.
func TestMetricsHaveTheirNamesAndLabels(t *testing.T) {
	b := newBackend(t, echo)
	g := start(t, "ws_gateway {\n name named\n to "+b.addr+"\n }")
	overWS.open(t, g, "/ws", nil).finish(t)
	g.waitBalanced(t, "named", 0)
	samples, _ := g.metrics(t)
	labels := make(map[string][]string)
	for _, s := range samples {
		if !strings.HasPrefix(s.name, "caddy_ws_gateway_") || !strings.Contains(s.labels, `gateway="named"`) {
			continue
		}
		var names []string
		for pair := range strings.SplitSeq(strings.Trim(s.labels, "{}"), ",") {
			name, _, _ := strings.Cut(pair, "=")
			if name != "le" {
				names = append(names, name)
			}
		}
		name := strings.TrimPrefix(s.name, "caddy_ws_gateway_")
		for _, suffix := range []string{"_bucket", "_sum", "_count"} {
			name = strings.TrimSuffix(name, suffix)
		}
		labels[name] = names
	}
	for name, want := range map[string][]string{
		"connections": {"gateway", "upstream"}, "handshakes_total": {"gateway", "result"}, "handshake_duration_seconds": {"gateway"},
		"messages_total": {"direction", "gateway", "type"}, "bytes_total": {"direction", "gateway"},
		"closes_total": {"by", "code", "gateway"}, "connection_duration_seconds": {"gateway"}, "queue_length": {"gateway"},
		"upstream_state": {"gateway", "state", "upstream"}, "pending_bytes": {"gateway"},
	} {
		if got := labels[name]; !slices.Equal(got, want) {
			t.Errorf("%s has the labels %v, want %v", name, got, want)
		}
	}
}

// TestMessagesInTheMetricsAreThoseThatTheBackendCounts of live connections and of those
// that have ended, over a reload.
func TestMessagesInTheMetricsAreThoseThatTheBackendCounts(t *testing.T) {
	b := newBackend(t, handOver())
	g := start(t, "ws_gateway {\n name counted_messages\n to "+b.addr+"\n }")
	sent := map[string]float64{}
	var conns []*wsConn
	for i, c := range carriers {
		client, upstream := pair(t, g, b, c)
		conns = append(conns, client)
		for range i + 3 {
			for _, f := range []frame{
				text("hello"), {fin: true, op: opBinary, payload: []byte{1, 2}}, {fin: true, op: opPing}, {fin: true, op: opPong},
			} {
				kind := map[byte]string{opText: "text", opBinary: "binary", opPing: "ping", opPong: "pong"}[f.op]
				client.mustSend(t, f)
				if got, err := upstream.readFrame(); err != nil || got.op != f.op {
					t.Fatalf("the backend has %v, %v, want %v", got, err, f)
				}
				sent["from_client "+kind]++
				if f.op == opText {
					if err := upstream.write(f); err != nil {
						t.Fatal(err)
					}
					client.expect(t, f)
					sent["from_upstream text"]++
				}
			}
		}
	}
	check := func(when string) {
		t.Helper()
		for _, direction := range []string{"from_client", "from_upstream"} {
			for _, kind := range []string{"text", "binary", "ping", "pong"} {
				got := g.of(t, "counted_messages", "messages_total", `direction="`+direction+`"`, `type="`+kind+`"`)
				if want := sent[direction+" "+kind]; got != want {
					t.Errorf("%s: %v messages %s %s, want %v", when, got, kind, direction, want)
				}
			}
			want := 5*sent[direction+" text"] + 2*sent[direction+" binary"]
			if got := g.of(t, "counted_messages", "bytes_total", `direction="`+direction+`"`); got != want {
				t.Errorf("%s: %v bytes %s, want %v", when, got, direction, want)
			}
		}
	}
	check("while all are live")
	g.reload(t, "ws_gateway {\n name counted_messages\n to "+b.addr+"\n write_timeout 1m\n }")
	check("after a reload")
	for _, conn := range conns {
		conn.kill()
	}
	g.waitBalanced(t, "counted_messages", 0)
	check("when all have ended")
}
