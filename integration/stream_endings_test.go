package integration

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// streamEnding is something that ends streams.
type streamEnding struct {
	name, reason string
	more         string               // of the gateway's configuration
	life         time.Duration        // of the first token that a client tries; 0 for none
	process      bool                 // a Caddy of its own
	timed        bool                 // it may end them before the test has seen them all
	end          func(e *endingScene) // nil where that comes by itself
}

// endingScene is a gateway with streams over every protocol: ones that are quiet after
// an event, and ones that are always within one.
type endingScene struct {
	*gateway
	t        *testing.T
	f        *feeder
	name     string
	site     string
	process  *process
	clients  []*follower
	upstream []*feed
}

const endlessToken = "endless-token"

var streamEndings = []streamEnding{
	{name: "drain by an operator", reason: "service restart", end: func(e *endingScene) {
		e.t.Cleanup(func() { e.setState(e.t, e.f.addr, "ready") })
		e.setState(e.t, e.f.addr, "drain")
	}},
	{name: "reload that removes the upstream", reason: "service restart", end: func(e *endingScene) {
		e.reload(e.t, strings.ReplaceAll(e.site, e.f.addr, newFeeder(e.t).addr))
	}},
	{name: "reload that takes the credential out", reason: "token revoked", end: func(e *endingScene) {
		e.reload(e.t, strings.ReplaceAll(e.site, endlessToken, "another-token"))
	}},
	{name: "end of a token", reason: "token expired", life: time.Second, timed: true},
	{name: "revocation", reason: "token revoked", life: time.Hour, end: func(e *endingScene) {
		if r := e.revoke(e.t, `{"user":"sse-user"}`); r.Ended != len(e.clients) {
			e.t.Errorf("%d were ended", r.Ended)
		}
	}},
	{name: "revocation that says why", reason: "out with you", life: time.Hour, end: func(e *endingScene) {
		e.revoke(e.t, `{"jti":"sse-token","code":4003,"reason":"out with you"}`)
	}},
	{name: "kill", reason: "token revoked", end: func(e *endingScene) { e.killStreams(e.t, e.name, "") }},
	{name: "kill that says why", reason: "told to", end: func(e *endingScene) { e.killStreams(e.t, e.name, "?code=1013&reason=told+to") }},
	{name: "max_age", reason: "connection is too old", more: "max_age 400ms 50", timed: true},
	{name: "node drain", reason: "service restart", end: func(e *endingScene) {
		e.t.Cleanup(func() { e.node(e.t, nodeReady) })
		e.node(e.t, drainAll)
	}},
	{name: "exit", reason: "server is shutting down", process: true, end: func(e *endingScene) {
		if err := e.process.cmd.Process.Signal(syscall.SIGTERM); err != nil {
			e.t.Fatal(err)
		}
	}},
	{name: "exit with a grace period", reason: "server is shutting down", process: true, end: func(e *endingScene) {
		if err := e.process.cmd.Process.Signal(syscall.SIGTERM); err != nil {
			e.t.Fatal(err)
		}
	}},
}

// killStreams ends every stream of a gateway, one by one, by its ID.
func (g *gateway) killStreams(t *testing.T, name, query string) {
	t.Helper()
	for _, r := range g.connectionList(t, "?gateway="+name) {
		if status, answer := g.adminDo(t, "DELETE", "/ws_gateway/connections/"+r.ID+query, "", ""); status != 200 {
			t.Errorf("ending %s: %d %s", r.ID, status, answer)
		}
	}
}

// TestWhatEndsAWebSocketEndsAStream between events, by the proper end of its body, over
// every protocol, and says so.
func TestWhatEndsAWebSocketEndsAStream(t *testing.T) {
	for _, row := range streamEndings {
		t.Run(row.name, func(t *testing.T) {
			e := row.stage(t)
			row.open(e)
			if !row.timed {
				e.expectLive()
			}
			if row.end != nil {
				row.end(e)
			}
			e.expectEnded(row.reason)
		})
	}
}

// stage starts the gateway.
func (row *streamEnding) stage(t *testing.T) *endingScene {
	e := &endingScene{t: t, f: newFeeder(t)}
	e.name = e.f.named("ending")
	e.site = fmt.Sprintf("ws_gateway %s {\n name %s\n streams\n drain_period 0s\n %s\n auth {\n bearer %s\n jwt {\n key %q\n leeway 0s\n }\n }\n }",
		e.f.addr, e.name, row.more, endlessToken, jwtSecret)
	if !row.process {
		e.gateway = start(t, e.site)
		return e
	}
	long(t)
	options := ""
	if strings.Contains(row.name, "grace") {
		options = "grace_period 30s"
	}
	e.process = startProcess(t, options, e.site)
	e.gateway = e.process.gateway
	return e
}

// open opens the streams.
func (row *streamEnding) open(e *endingScene) {
	for _, w := range ways {
		for _, path := range []string{"/quiet", "/busy"} {
			s := row.follow(e, w, path)
			upstream := e.f.next(e.t)
			e.clients, e.upstream = append(e.clients, s), append(e.upstream, upstream)
			if path == "/busy" {
				go upstream.stayWithinEvents()
			} else {
				upstream.write("id: 1\ndata: quiet\n\n")
			}
		}
	}
}

// follow opens a stream, with a token that lives for longer each time that it has not
// been for long enough.
func (row *streamEnding) follow(e *endingScene, w way, path string) *follower {
	if row.life == 0 {
		return w.follow(e.t, e.gateway, events(path, bearer(endlessToken)))
	}
	for life := row.life; ; life *= 2 {
		s := w.ask(e.t, e.gateway, events(path, bearer(tokenFor("sse-user", life, `"jti":"sse-token"`))))
		if s.status == http.StatusOK {
			return s
		}
		if s.status != http.StatusUnauthorized || life > patience {
			e.t.Fatalf("%s by %s: %d", path, w.name, s.status)
		}
	}
}

// stayWithinEvents sends event after event in pieces of which none ends one, until they
// are not taken any more.
func (a *feed) stayWithinEvents() {
	pace := time.NewTicker(2 * time.Millisecond)
	defer pace.Stop()
	for n := 1; a.write(fmt.Sprintf("id: %d\ndata: be", n)) && a.write(fmt.Sprintf("gun\ndata: %d\n\n: comment\nevent: e\n", n)); n++ {
		<-pace.C
	}
}

// expectLive has all streams listed and counted.
func (e *endingScene) expectLive() {
	t := e.t
	t.Helper()
	for i, s := range e.clients {
		if i%2 == 0 {
			s.await(t, "id: 1\ndata: quiet\n\n")
		}
	}
	e.waitStreams(t, len(e.clients), `gateway="`+e.name+`"`, `upstream="`+e.f.addr+`"`)
	e.waitConnections(t, len(e.clients))
	rows := e.connectionList(t, "?gateway="+e.name)
	for _, r := range rows {
		if r.Protocol != "sse" || r.Upstream != e.f.addr || r.RemoteIP != "127.0.0.1" || r.MessagesFromClient != 0 {
			t.Errorf("listed: %+v", r)
		}
	}
	if len(rows) != len(e.clients) {
		t.Errorf("%d are listed, want %d", len(rows), len(e.clients))
	}
	if got := e.shown(t, e.name, e.f.addr); got.Live != len(e.clients) || got.Streams != len(e.clients) {
		t.Errorf("the upstream is shown as %+v", got)
	}
}

// expectEnded compares what the clients have with what the upstream sent, and with the
// log.
func (e *endingScene) expectEnded(reason string) {
	t := e.t
	t.Helper()
	var want []string
	for i, s := range e.clients {
		got := s.awaitEnd(t)
		receive(t, "the end of the upstream's answer", e.upstream[i].ended)
		s.expectWhole(t, e.upstream[i])
		want = append(want, fmt.Sprintf("%s, %d events, %d bytes", s.way.proto, strings.Count(got, "\n\n"), len(got)))
	}
	slices.Sort(want)
	var lines []logLine
	eventually(t, "the lines of their ends", func() bool {
		lines = e.closedLines()
		return len(lines) >= len(want)
	})
	var logged []string
	for _, line := range lines {
		logged = append(logged, fmt.Sprintf("%s, %v events, %.0f bytes", line.str("proto"), line.num("messages_from_upstream"), line.num("bytes_from_upstream")))
		_, code := line.fields["code"]
		if line.str("by") != "gateway" || line.str("reason") != reason || line.str("protocol") != "sse" || code || line.str("upstream") != e.f.addr {
			t.Errorf("logged %s", line.raw)
		}
	}
	slices.Sort(logged)
	if !slices.Equal(logged, want) {
		t.Errorf("logged:\n%s\nwant:\n%s", strings.Join(logged, "\n"), strings.Join(want, "\n"))
	}
	if e.process != nil {
		if err := receive(t, "the process to exit", e.process.exited); err != nil {
			t.Errorf("the process exited with %v", err)
		}
		return
	}
	e.waitStreams(t, 0)
	e.assertNoLiveSeries(t)
	if n := e.sum(t, "caddy_ws_gateway_closes_total", `gateway="`+e.name+`"`, `by="gateway"`, `code="none"`); n != float64(len(want)) {
		t.Errorf("closes_total is %v", n)
	}
}

// closedLines are those of the gateway.
func (e *endingScene) closedLines() []logLine {
	if e.process == nil {
		return slices.DeleteFunc(book.find(ourLogger, "closed"), func(l logLine) bool { return l.str("gateway") != e.name })
	}
	var lines []logLine
	for raw := range bytes.Lines(e.process.log.bytes()) {
		line := logLine{raw: string(raw)}
		if json.Unmarshal(raw, &line.fields) == nil && line.str("logger") == ourLogger && line.str("msg") == "closed" {
			lines = append(lines, line)
		}
	}
	return lines
}
