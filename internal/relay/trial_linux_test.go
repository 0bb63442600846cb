//go:build !noloop && !386

package relay

import (
	"bytes"
	"net"
	"testing"

	"github.com/wsgateway/caddy-ws-gateway/internal/wsframe"
)

// TestFieldsThatMeanSomethingElseAreNoticed takes a field for another that has
// its type, as if crypto/tls used it for something else.
func TestFieldsThatMeanSomethingElseAreNoticed(t *testing.T) {
	t.Parallel()
	swapped := insides
	swapped.raw, swapped.hand = insides.hand, insides.raw
	if err := swapped.tryOut(); err == nil {
		t.Error("the trial finds nothing wrong")
	} else {
		t.Log(err)
	}
}

// TestUnknownTLSIsRelayedByGoroutines has a loop that knows nothing of TLS.
func TestUnknownTLSIsRelayedByGoroutines(t *testing.T) {
	t.Parallel()
	unknown := func() bool { return false }
	for name, row := range map[string]struct {
		over   func(testing.TB, Config) *fixture
		onLoop bool
	}{
		"plain":               {onTCP, true},
		"TLS to the client":   {onTLS, false},
		"TLS to the upstream": {onTLSUpstream, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := row.over(t, Config{})
			done := func(o Outcome) { f.outcome <- o }
			if onLoop := f.startOnLoop(done, unknown); onLoop != row.onLoop {
				t.Fatalf("on the loop: %v", onLoop)
			}
			if !row.onLoop {
				f.runOnGoroutines()
			}
			big := bytes.Repeat([]byte("up"), 50_000)
			go func() { _, _ = f.client.Write(frame(wsframe.Binary, true, big)) }()
			mustRead(t, f.upstream, frame(wsframe.Binary, true, big))
			mustWrite(t, f.upstream, text("down"))
			mustRead(t, f.client, text("down"))
			f.End(restart, goingAway)
			mustReadClose(t, f.client, restart)
			mustWrite(t, f.client, maskedClose(restart.Code, restart.Reason))
			mustReadClose(t, f.upstream, goingAway)
			mustWrite(t, f.upstream, closeFrame(goingAway.Code, goingAway.Reason))
			wantEnd(t, f.end(t), Gateway, restart.Code, restart.Reason)
		})
	}
}

// onTLSUpstream makes a relay between a client over TCP and an upstream over TLS.
func onTLSUpstream(tb testing.TB, c Config) *fixture {
	tb.Helper()
	f := onTCP(tb, c)
	f.upstream, f.Relay.upstream.conn = secure(tb, f.upstream, f.Relay.upstream.conn.(net.Conn), 0)
	return f
}

func BenchmarkTrial(b *testing.B) {
	for b.Loop() {
		if err := insides.tryOut(); err != nil {
			b.Fatal(err)
		}
	}
}
