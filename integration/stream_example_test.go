package integration

import (
	"net/http"
	"testing"
)

// TestStreamsExample drains an upstream of the example: its clients go to the other one.
func TestStreamsExample(t *testing.T) {
	one, two := newFeeder(t), newFeeder(t)
	site := port(freePort(t))
	g := startExample(t, "streams.Caddyfile", ":8080", site, "localhost:9001", one.addr, "localhost:9002", two.addr)
	g.httpAddr = "127.0.0.1" + site
	if stranger := byH1.ask(t, g, events("/events")); stranger.status != http.StatusUnauthorized {
		t.Errorf("without a cookie: %d, want 401", stranger.status)
	}
	ask := events("/events", http.Header{"Cookie": {"session=alice-demo-token"}})
	g.setState(t, two.addr, "drain")
	client, answer := byH1.pair(t, g, one, ask)
	if cookie := answer.request.Header.Get("Cookie"); cookie != "" {
		t.Errorf("the upstream gets the cookie %q", cookie)
	}
	answer.feed(t, "data: from one\n\n")
	client.await(t, "data: from one\n\n")
	g.setState(t, two.addr, "ready")
	g.killAllStreams(t, "default", 1)
	client.awaitEnd(t)
	g.setState(t, one.addr, "drain")
	client, answer = byH1.pair(t, g, two, ask)
	answer.feed(t, "data: from two\n\n")
	client.await(t, "data: from two\n\n")
}
