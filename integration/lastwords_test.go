package integration

import (
	"io"
	"testing"
)

// TestCodeOfASideThatLeavesDataUnreadArrives has one side close with a code and a
// reason while the other goes on sending, as servers do that have had enough.
func TestCodeOfASideThatLeavesDataUnreadArrives(t *testing.T) {
	const rounds = 15
	flood := func(w io.Writer, f []byte) {
		for {
			if _, err := w.Write(f); err != nil {
				return
			}
		}
	}
	message := frame{fin: true, op: opBinary, payload: make([]byte, 2000)}
	b := newBackend(t, handOver())
	g := start(t, "ws_gateway "+b.addr)
	eachCarrier(t, func(t *testing.T, c carrier) {
		t.Run("upstream", func(t *testing.T) {
			for round := range rounds {
				client, upstream := pair(t, g, b, c)
				go flood(client.w, message.clientBytes())
				expectVerbatim(t, upstream, message)
				writeTo(t, upstream, closing(4000+round, "enough"))
				_ = upstream.Close()
				got, err := client.closeFrame()
				if err != nil || got.closeCode() != 4000+round || string(got.payload[2:]) != "enough" {
					t.Errorf("round %d: the client got %v and %v", round, got, err)
				}
				client.kill()
			}
		})
		if c.name == overH2.name || c.name == overH3.name {
			return // these clients break off in an order of their own
		}
		t.Run("client", func(t *testing.T) {
			for round := range rounds {
				client, upstream := pair(t, g, b, c)
				go flood(upstream, message.serverBytes())
				client.expect(t, message)
				client.mustSend(t, closing(4000+round, "enough"))
				client.kill()
				upstream.expectClose(t, 4000+round)
				_ = upstream.Close()
			}
		})
	})
	// One that the test before has left behind may close as late as now.
	eventually(t, "a line for each", func() bool { return len(book.closedBy(b.addr)) >= 6*rounds })
	for _, line := range book.closedBy(b.addr) {
		if line.num("code") < 4000 || line.str("reason") != "enough" {
			t.Errorf("logged: %s", line.raw)
		}
	}
	g.assertNoLiveSeries(t)
}
