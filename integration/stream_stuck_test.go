package integration

import (
	"strings"
	"testing"
	"time"
)

// TestClientThatTakesNothingHangsNoEnd of its stream, nor a reload.
func TestClientThatTakesNothingHangsNoEnd(t *testing.T) {
	long(t)
	f := newFeeder(t)
	g := start(t, "ws_gateway "+f.addr+" {\n name stuck\n streams\n drain_period 0s\n }")
	var upstreams []*feed
	for _, w := range ways {
		upstreams = append(upstreams, w.stall(t, g, f))
	}
	g.waitStreams(t, len(ways))
	g.reload(t, "respond hello")
	for _, upstream := range upstreams {
		receive(t, "the end of the upstream's answer", upstream.ended)
	}
	g.assertNoLiveSeries(t)
}

// TestClientThatTakesNothingIsCut after write_timeout.
func TestClientThatTakesNothingIsCut(t *testing.T) {
	f := newFeeder(t)
	g := start(t, "ws_gateway "+f.addr+" {\n name stuck\n streams\n write_timeout 500ms\n }")
	for i, w := range ways {
		upstream := w.stall(t, g, f)
		receive(t, "the end of the upstream's answer", upstream.ended)
		if line := book.waitClosed(t, f.addr, i+1); line.str("by") != "client" {
			t.Errorf("by %s: logged %s", w.name, line.raw)
		}
		g.waitStreams(t, 0)
	}
	g.assertNoLiveSeries(t)
}

// stall opens a stream whose client reads nothing of it, and fills what is on the way.
func (w way) stall(t *testing.T, g *gateway, f *feeder) *feed {
	t.Helper()
	w.blind = true
	_, upstream := w.pair(t, g, f, events("/"))
	stuck := make(chan struct{})
	go func() {
		piece := "data: " + strings.Repeat("x", 1<<20)
		for upstream.write(piece) {
			continue
		}
	}()
	go func() {
		defer close(stuck)
		for before := -1; len(upstream.sent.bytes()) != before; {
			before = len(upstream.sent.bytes())
			pause := time.NewTimer(300 * time.Millisecond)
			<-pause.C
		}
	}()
	receive(t, "what is on the way to be full", stuck)
	return upstream
}
