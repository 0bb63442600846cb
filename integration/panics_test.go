package integration

import (
	"strings"
	"testing"
)

// TestPanicEndsOneConnection has Caddy's log panic over the lines of a connection:
// that one ends, on both sides, and everything goes on with counters at zero.
func TestPanicEndsOneConnection(t *testing.T) {
	b := newBackend(t, handOver())
	g := start(t, "ws_gateway "+b.addr)
	defer book.panicNoMore()
	eachCarrier(t, func(t *testing.T, c carrier) {
		t.Run("opened", func(t *testing.T) {
			book.panicOver("opened", b.addr)
			if a, err := c.try(g, "/ws", nil); err == nil { // else the end has overtaken the answer
				a.conn.expectEnd(t)
			}
			upstream := receive(t, "upgrade at the backend", b.upgraded)
			if f, err := upstream.readFrame(); err == nil {
				t.Errorf("the backend got %v", f)
			}
			book.panicNoMore()
			g.assertNoLiveSeries(t)
		})
		t.Run("closed", func(t *testing.T) {
			before := g.sum(t, "caddy_ws_gateway_panics_total")
			lines := len(book.find(ourLogger, "panic"))
			book.panicOver("closed", b.addr)
			client, upstream := pair(t, g, b, c)
			client.mustSend(t, closing(1000, ""))
			expectVerbatim(t, upstream, closing(1000, ""))
			writeTo(t, upstream, closing(1000, ""))
			client.expectClose(t, 1000)
			line := book.wait(t, "panic", lines+1)
			book.panicNoMore()
			g.assertNoLiveSeries(t)
			if line.str("level") != "error" || line.str("upstream") != b.addr || line.str("connection") == "" ||
				line.str("gateway") != "default" || !strings.Contains(line.str("stack"), ".go:") || strings.Contains(line.raw, "secret") {
				t.Errorf("the line is %s", line.raw)
			}
			if n := g.sum(t, "caddy_ws_gateway_panics_total") - before; n != 1 {
				t.Errorf("%v panics were counted, want 1", n)
			}
		})
		t.Run("afterwards", func(t *testing.T) {
			client, upstream := pair(t, g, b, c)
			client.mustSend(t, text("hello"))
			expectVerbatim(t, upstream, text("hello"))
			client.mustSend(t, closing(1000, ""))
			writeTo(t, upstream, closing(1000, ""))
			client.expectClose(t, 1000)
		})
	})
}
