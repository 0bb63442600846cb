package integration

import (
	"fmt"
	"maps"
	"net/http"
	"strconv"
	"sync"
	"testing"
	"time"
)

// unannounced are requests that only their answer shows to ask for a stream. They have no
// body: Caddy's access log looks at how much of that was read, when the end of a request
// that is broken off may still be read.
var unannounced = []question{
	{method: http.MethodPost, path: "/"},
	{method: http.MethodGet, path: "/"},
	{method: http.MethodGet, path: "/", header: http.Header{"Accept": {"*/*"}}},
}

func (q question) as(header http.Header) question {
	all := header.Clone()
	maps.Copy(all, q.header)
	q.header = all
	return q
}

// expectRefusedStream has the answer say when to come again.
func (s *follower) expectRefusedStream(t *testing.T, q question, status int) {
	t.Helper()
	s.awaitEnd(t)
	if wait, err := strconv.Atoi(s.header.Get("Retry-After")); s.status != status || err != nil || wait < 1 {
		t.Errorf("%s with %v by %s: %d with Retry-After %q, want %d", q.method, q.header, s.way.name, s.status, s.header.Get("Retry-After"), status)
	}
}

// TestCapsHoldStreams of both kinds: those that say they are refused before the upstream
// has seen them, and those that turn out to be are taken back.
func TestCapsHoldStreams(t *testing.T) {
	for _, row := range []struct {
		name, site string
		status     int
		limit      string // as the metric has it; "" for none of those
	}{
		{"capped_all", "limit {\n connections 2\n }", 503, "connections"},
		{"capped_ip", "limit {\n connections_per_ip 2\n }", 429, "connections_per_ip"},
		{"capped_user", "limit {\n connections_per_user 2\n }", 429, "connections_per_user"},
		{"capped_upstream", "max_conns 2", 503, ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			f := newFeeder(t)
			g := start(t, fmt.Sprintf("ws_gateway %s {\n name %s\n streams\n %s\n auth {\n bearer %s alice\n bearer token-of-bob bob\n }\n }", f.addr, row.name, row.site, endlessToken))
			alice := bearer(endlessToken)
			for _, w := range ways {
				first, up1 := w.pair(t, g, f, events("/", alice))
				_, up2 := w.pair(t, g, f, unannounced[0].as(alice))
				g.waitStreams(t, 2)
				asked, limited := f.count(&f.asked), g.limited(t, row.name, row.limit)

				q := events("/", alice)
				w.ask(t, g, q).expectRefusedStream(t, q, row.status)
				if n := f.count(&f.asked); n != asked {
					t.Errorf("by %s: what was refused reached the upstream", w.name)
				}
				if got := g.limited(t, row.name, row.limit) - limited; got != 1 && row.limit != "" {
					t.Errorf("by %s: limited_total went up by %v", w.name, got)
				}
				for _, q := range unannounced {
					q = q.as(alice)
					w.ask(t, g, q).expectRefusedStream(t, q, row.status)
					receive(t, "the end of the answer that was refused", f.next(t).ended)
				}
				g.expectPlain(t, w, alice)
				if row.limit == "connections_per_user" {
					other, up := w.pair(t, g, f, events("/", bearer("token-of-bob")))
					up.finish()
					other.awaitEnd(t)
				}
				up1.finish()
				first.awaitEnd(t)
				g.waitStreams(t, 1)
				next, up3 := w.pair(t, g, f, events("/", alice))
				up2.finish()
				up3.finish()
				next.awaitEnd(t)
				g.waitStreams(t, 0)
			}
			g.assertNoLiveSeries(t)
		})
	}
}

// expectPlain has plain requests answered.
func (g *gateway) expectPlain(t *testing.T, w way, header http.Header) {
	t.Helper()
	for _, method := range []string{"GET", "POST", "HEAD"} {
		s := w.ask(t, g, question{method: method, path: "/plain", header: header})
		if s.awaitEnd(t); s.status != 200 {
			t.Errorf("a plain %s by %s: %d", method, w.name, s.status)
		}
	}
	q := events("/", header)
	q.method = http.MethodHead
	s := w.ask(t, g, q)
	if s.awaitEnd(t); s.status != 200 {
		t.Errorf("HEAD by %s: %d", w.name, s.status)
	}
}

// TestStreamsWaitInLine for a place at an upstream that is full, all that come to one
// server.
func TestStreamsWaitInLine(t *testing.T) {
	f := newFeeder(t)
	g := start(t, "ws_gateway "+f.addr+" {\n name waiting\n streams\n max_conns 1\n queue 3 1m\n }")
	_, upstream := byTLS.pair(t, g, f, events("/"))
	answered := make([]chan *follower, 3)
	for i, w := range []way{byTLS, byH2, byH3} {
		answered[i] = make(chan *follower, 1)
		go func() {
			s, err := w.try(g, events("/"))
			if err != nil {
				t.Errorf("by %s: %v", w.name, err)
			}
			answered[i] <- s
		}()
		g.waitQueued(t, i+1)
	}
	q := events("/")
	byTLS.ask(t, g, q).expectRefusedStream(t, q, 503)
	q = unannounced[0]
	byTLS.ask(t, g, q).expectRefusedStream(t, q, 503)
	f.next(t)
	for i := range answered {
		upstream.finish()
		s := receive(t, "the answer to the next in line", answered[i])
		if s == nil {
			t.FailNow()
		}
		t.Cleanup(s.leave)
		upstream = f.next(t)
		g.waitQueued(t, len(answered)-1-i)
		upstream.feed(t, "data: x\n\n")
		s.await(t, "data: x\n\n")
	}
	upstream.finish()
	g.waitStreams(t, 0)
	g.assertNoLiveSeries(t)
}

// TestStreamGoesElsewhereWhereAnUpstreamIsFull if it was known for one in time.
func TestStreamGoesElsewhereWhereAnUpstreamIsFull(t *testing.T) {
	one, two := newFeeder(t), newFeeder(t)
	g := start(t, fmt.Sprintf("ws_gateway %s %s {\n streams\n lb_policy first\n max_conns 1\n }", one.addr, two.addr))
	for _, w := range ways {
		first, up1 := w.pair(t, g, one, events("/"))
		second, up2 := w.pair(t, g, two, events("/"))
		q := events("/")
		w.ask(t, g, q).expectRefusedStream(t, q, 503)
		q = unannounced[0]
		w.ask(t, g, q).expectRefusedStream(t, q, 503)
		receive(t, "the end of the answer that was refused", one.next(t).ended)
		up1.finish()
		up2.finish()
		first.awaitEnd(t)
		second.awaitEnd(t)
		g.waitStreams(t, 0)
	}
	if len(two.answers) != 0 {
		t.Error("what turned out to be a stream was tried elsewhere")
	}
	g.assertNoLiveSeries(t)
}

// TestStreamsAreCountedOnce each, by whatever request and when all come at once: nothing
// else could be spread evenly.
func TestStreamsAreCountedOnce(t *testing.T) {
	one, two := newFeeder(t), newFeeder(t)
	g := start(t, fmt.Sprintf("ws_gateway %s %s {\n name once\n streams\n }", one.addr, two.addr))
	asks := append([]question{events("/")}, unannounced...)
	const n = 48
	all := make(chan *follower, n)
	var asking sync.WaitGroup
	for i := range n {
		asking.Go(func() {
			s, err := ways[i%len(ways)].try(g, asks[i/len(ways)%len(asks)])
			if err != nil || s.status != 200 {
				t.Errorf("number %d: %v", i, err)
			}
			all <- s
		})
	}
	asking.Wait()
	for range n {
		if s := <-all; s != nil {
			t.Cleanup(s.leave)
		}
	}
	a, b := one.count(&one.live), two.count(&two.live)
	if a+b != n || max(a, b)-min(a, b) > 1 {
		t.Errorf("the upstreams have %d and %d", a, b)
	}
	g.waitStreams(t, n)
	g.waitConnections(t, n)
	for _, f := range []*feeder{one, two} {
		live := f.count(&f.live)
		if got := g.shown(t, "once", f.addr); got.Live != live || got.Streams != live || got.Opened != live {
			t.Errorf("shown as %+v, and has %d", got, live)
		}
		g.waitStreams(t, live, `upstream="`+f.addr+`"`)
	}
	if rows := g.connectionList(t, "?gateway=once"); len(rows) != n {
		t.Errorf("%d are listed", len(rows))
	}
	if got := g.node(t, "").Live; got != n {
		t.Errorf("the node has %d", got)
	}
	g.killAllStreams(t, "once", n)
	g.waitStreams(t, 0)
	g.assertNoLiveSeries(t)
	if got := g.shown(t, "once", one.addr); got.Live != 0 || got.Streams != 0 {
		t.Errorf("afterwards: %+v", got)
	}
}

// TestDrainingNodeRefusesStreams that say they are, ends others with the rest, and lets
// plain requests and what is live go on.
func TestDrainingNodeRefusesStreams(t *testing.T) {
	f := newFeeder(t)
	g := start(t, "ws_gateway "+f.addr+" {\n streams\n }")
	defer g.node(t, nodeReady)
	for _, w := range ways {
		first, upstream := w.pair(t, g, f, events("/"))
		g.node(t, drainLate)
		q := events("/")
		s := w.ask(t, g, q)
		s.expectRefusedStream(t, q, 503)
		if wait := s.header.Get("Retry-After"); wait != "3600" {
			t.Errorf("Retry-After %q", wait)
		}
		g.expectPlain(t, w, nil)
		upstream.feed(t, "data: lives\n\n")
		first.await(t, "data: lives\n\n")
		for _, q := range unannounced {
			s, _ := w.pair(t, g, f, q)
			g.node(t, drainAll)
			s.awaitEnd(t)
			g.node(t, drainLate)
		}
		first.awaitEnd(t)
		g.waitStreams(t, 0)
		if n := g.node(t, "").Live; n != 0 {
			t.Errorf("%d are live after the drain", n)
		}
		s, _ = w.pair(t, g, f, unannounced[0])
		g.eventuallyOnly(t, "default", "the drain to reach what came later", func(r row) bool { return r.EndsBecause == "drain" })
		g.node(t, nodeReady)
		s.leave()
	}
	if len(f.answers) != 0 {
		t.Error("what said to be a stream reached the upstream")
	}
	g.assertNoLiveSeries(t)
}

// TestUpstreamThatDrainsGetsNoStreams however they are asked for.
func TestUpstreamThatDrainsGetsNoStreams(t *testing.T) {
	one, two := newFeeder(t), newFeeder(t)
	g := start(t, fmt.Sprintf("ws_gateway %s %s {\n streams\n lb_policy first\n drain_period 1h\n }", one.addr, two.addr))
	defer g.setState(t, one.addr, "ready")
	for _, w := range ways {
		g.setState(t, one.addr, "drain")
		for _, q := range append([]question{events("/")}, unannounced...) {
			s, upstream := w.pair(t, g, two, q)
			upstream.finish()
			s.awaitEnd(t)
		}
		g.setState(t, one.addr, "ready")
		s, upstream := w.pair(t, g, one, events("/"))
		g.setState(t, one.addr, "drain")
		g.eventuallyOnly(t, "default", "a drain", func(r row) bool {
			return r.EndsBecause == "drain" && time.Until(r.EndsAt) < time.Hour
		})
		upstream.finish()
		s.awaitEnd(t)
	}
	g.assertNoLiveSeries(t)
}
