package integration

import (
	"fmt"
	"testing"
)

// TestStreamsSurviveAReload that leaves their upstream configured, are still those of
// the process, and end with a later one that takes it out.
func TestStreamsSurviveAReload(t *testing.T) {
	f, added := newFeeder(t), newFeeder(t)
	site := "ws_gateway " + f.addr + " %s {\n name reloaded\n streams\n drain_period 0s\n %s\n }"
	g := start(t, fmt.Sprintf(site, "", ""))
	var clients []*follower
	var upstreams []*feed
	sent := ""
	further := func(piece string) {
		t.Helper()
		sent += piece
		for i, s := range clients {
			upstreams[i].feed(t, piece)
			s.await(t, sent)
		}
	}
	for range 2 {
		for _, w := range ways {
			s, upstream := w.pair(t, g, f, events("/"))
			clients, upstreams = append(clients, s), append(upstreams, upstream)
		}
	}
	further("data: 1\n\ndata: ha")
	for i, next := range []string{
		"respond /other hello\n" + fmt.Sprintf(site, "", ""),
		fmt.Sprintf(site, added.addr, ""),
		fmt.Sprintf(site, "", "max_conns 50\n max_age 1h"),
		"handle_path /x* {\n " + fmt.Sprintf(site, "", "") + "\n }",
		"ws_gateway " + f.addr + " {\n name reloaded\n }", // without streams
		fmt.Sprintf(site, "", ""),
	} {
		g.reload(t, next)
		further(fmt.Sprintf("lf\n\nid: %d\ndata: a ha", i))
		g.waitStreams(t, len(clients), `gateway="reloaded"`, `upstream="`+f.addr+`"`)
	}
	if n := len(book.closedBy(f.addr)); n != 0 {
		t.Fatalf("%d were closed by reloads", n)
	}
	further("lf\n\n")

	for range ways { // half of them
		id := g.connectionList(t, "?gateway=reloaded")[0].ID
		if status, answer := g.adminDo(t, "DELETE", "/ws_gateway/connections/"+id, "", ""); status != 200 {
			t.Fatalf("ending %s: %d %s", id, status, answer)
		}
		eventually(t, "the end of it", func() bool { return !g.isLive(t, id) })
	}
	g.waitStreams(t, len(ways))
	g.reload(t, "respond hello")
	for i, s := range clients {
		if got := s.awaitEnd(t); got != sent {
			t.Errorf("by %s: %d bytes, ending in %q", s.way.name, len(got), tail(got))
		}
		receive(t, "the end of the upstream's answer", upstreams[i].ended)
	}
	g.assertNoLiveSeries(t)
	reasons := map[string]int{}
	for _, line := range book.closedBy(f.addr) {
		reasons[line.str("by")+": "+line.str("reason")]++
	}
	if len(reasons) != 2 || reasons["gateway: service restart"] != len(ways) || reasons["gateway: token revoked"] != len(ways) {
		t.Errorf("they ended as %v", reasons)
	}
}

// isLive reports whether the connection is among those that are live.
func (g *gateway) isLive(t *testing.T, id string) bool {
	t.Helper()
	for _, r := range g.connectionList(t, "?state=live") {
		if r.ID == id {
			return true
		}
	}
	return false
}

// TestStreamsAreMovedToAnAddedUpstream by ending no more than the surplus: their clients
// come back.
func TestStreamsAreMovedToAnAddedUpstream(t *testing.T) {
	f, added := newFeeder(t), newFeeder(t)
	const site = "ws_gateway %s {\n name moved\n streams\n rebalance 100%%/1s\n }"
	g := start(t, fmt.Sprintf(site, f.addr))
	const each = 3
	moved := make(chan struct{}, 100)
	for _, w := range ways {
		for range each {
			s, upstream := w.pair(t, g, f, events("/"))
			upstream.feed(t, "data: 1\n\n")
			s.await(t, "data: 1\n\n")
			t.Cleanup(comingBack(t, g, w, s, moved))
		}
	}
	g.reload(t, fmt.Sprintf(site, f.addr+" "+added.addr))
	half := each * len(ways) / 2
	eventually(t, "an even share", func() bool { return f.count(&f.live) == half && added.count(&added.live) == half })
	book.wait(t, "rebalanced", 1)
	if n := len(moved); n > half {
		t.Errorf("%d were moved, want %d at most", n, half)
	}
	for _, line := range book.closedBy(f.addr, added.addr) {
		if line.str("by") != "gateway" || line.str("reason") != "rebalancing" {
			t.Errorf("logged %s", line.raw)
		}
	}
}

// comingBack has a client ask again whenever its stream has ended properly.
func comingBack(t *testing.T, g *gateway, w way, s *follower, moved chan<- struct{}) (leave func()) {
	left, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-left:
				s.leave()
				return
			case <-s.ended:
			}
			if s.err != nil {
				t.Errorf("by %s the stream was cut: %v", w.name, s.err)
				return
			}
			moved <- struct{}{}
			var err error
			if !poll(patience, func() bool {
				s, err = w.try(g, events("/"))
				return err == nil
			}) {
				t.Errorf("by %s: %v", w.name, err)
				return
			}
		}
	}()
	return func() {
		close(left)
		<-done
	}
}
