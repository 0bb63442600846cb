package integration

import (
	"fmt"
	"syscall"
	"testing"
)

// TestStreamsAndWebSocketsAreCountedTogether by caps, and by upstreams that have both.
func TestStreamsAndWebSocketsAreCountedTogether(t *testing.T) {
	f, b := newFeeder(t), newBackend(t, yielding)
	const site = "ws_gateway %s %s {\n name mixed\n streams\n limit {\n connections 2\n }\n }\n"
	g := start(t, fmt.Sprintf(site, "/ws", b.addr)+fmt.Sprintf(site, "", f.addr))
	for i, w := range ways {
		c := carriers[i]
		q := events("/")
		conn := c.open(t, g, "/ws", nil)
		s, upstream := w.pair(t, g, f, q)
		g.waitStreams(t, 1)
		g.waitConnections(t, 2)
		c.refused(t, g, "/ws", nil, 503)
		w.ask(t, g, q).expectRefusedStream(t, q, 503)
		conn.finish(t)
		g.waitConnections(t, 1)
		_, next := w.pair(t, g, f, q)
		c.refused(t, g, "/ws", nil, 503)
		upstream.finish()
		s.awaitEnd(t)
		g.waitConnections(t, 1)
		conn = c.open(t, g, "/ws", nil)
		next.finish()
		conn.finish(t)
		g.waitStreams(t, 0)
		g.assertNoLiveSeries(t)
	}
}

// TestStreamGoesElsewhereWhereAnUpstreamCannotBeReached if it says that it is one, and
// can be sent again.
func TestStreamGoesElsewhereWhereAnUpstreamCannotBeReached(t *testing.T) {
	f, dead := newFeeder(t), newBackend(t, hold)
	dead.kill()
	g := start(t, fmt.Sprintf("ws_gateway %s %s {\n streams\n lb_policy first\n }", dead.addr, f.addr))
	for _, w := range ways {
		s, upstream := w.pair(t, g, f, events("/"))
		upstream.feed(t, "data: 1\n\n")
		s.await(t, "data: 1\n\n")
		g.waitStreams(t, 1, `upstream="`+f.addr+`"`)
		upstream.finish()
		s.awaitEnd(t)
	}
	g.assertNoLiveSeries(t)
}

// TestPanicEndsOneStream and leaves nothing counted.
func TestPanicEndsOneStream(t *testing.T) {
	f := newFeeder(t)
	g := start(t, "ws_gateway "+f.addr+" {\n name panics\n streams\n limit {\n connections 2\n }\n max_conns 2\n }")
	defer book.panicNoMore()
	for _, msg := range []string{"opened", "closed"} {
		for _, w := range ways {
			stays, upstream := w.pair(t, g, f, events("/"))
			book.panicOver(msg, f.addr)
			if msg == "opened" {
				if s, err := w.try(g, events("/")); err == nil {
					<-s.ended
				}
				receive(t, "the end of the upstream's answer", f.next(t).ended)
			} else {
				s, other := w.pair(t, g, f, events("/"))
				other.finish()
				<-s.ended
			}
			book.panicNoMore()
			g.waitStreams(t, 1)
			g.waitConnections(t, 1)
			upstream.feed(t, "data: lives\n\n")
			stays.await(t, "data: lives\n\n")
			upstream.finish()
			stays.awaitEnd(t)
			g.waitStreams(t, 0)
		}
	}
	g.assertNoLiveSeries(t)
}

// TestExitWaitsForNoEvent that does not come to its end, however long it may wait for
// requests.
func TestExitWaitsForNoEvent(t *testing.T) {
	long(t)
	f := newFeeder(t)
	p := startProcess(t, "", "ws_gateway "+f.addr+" {\n streams\n }")
	var clients []*follower
	for _, w := range ways {
		s, upstream := w.pair(t, p.gateway, f, events("/"))
		upstream.feed(t, "data: 1\n\ndata: ha")
		s.await(t, "data: 1\n\ndata: ha")
		clients = append(clients, s)
	}
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	for _, s := range clients {
		if got := s.awaitCut(t); got != "data: 1\n\ndata: ha" {
			t.Errorf("by %s came %q", s.way.name, got)
		}
	}
	if err := receive(t, "the process to exit", p.exited); err != nil {
		t.Errorf("the process exited with %v", err)
	}
}
