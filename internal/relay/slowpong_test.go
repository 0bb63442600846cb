package relay

import (
	"bytes"
	"testing"
	"time"

	"github.com/wsgateway/caddy-ws-gateway/internal/wsframe"
)

// TestSlowReaderIsNotTakenForGone has pings be behind much that the client reads slowly,
// but steadily, and answers in turn.
func TestSlowReaderIsNotTakenForGone(t *testing.T) {
	t.Parallel()
	for name, run := range map[string]func(*fixture){"loop": (*fixture).run, "goroutines": (*fixture).runOnGoroutines} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := roomyFor(t, Config{
				WriteTimeout: 10 * time.Second, CloseTimeout: 100 * time.Millisecond,
				Policy: &Policy{PingInterval: 200 * time.Millisecond, PingTimeout: 2 * time.Second},
			}, false)
			run(f)
			message := frame(wsframe.Binary, false, bytes.Repeat([]byte("x"), 100_000))
			go func() {
				for range 15 {
					if _, err := f.upstream.Write(message); err != nil {
						return
					}
				}
			}()
			readSlowly(t, f, 6*time.Second)
			// From here on it takes nothing.
			// Which of the two comes first, a ping without an answer or a write without an
			// end, is up to how full the kernel's buffers are.
			if o := f.end(t); o.By != Client || o.Code != 1011 {
				t.Errorf("ended as %+v", o)
			}
			leave(f)
		})
	}
}

// readSlowly has the client read steadily. The connection must not end.
func readSlowly(t *testing.T, f *fixture, long time.Duration) {
	tick := time.NewTicker(sipEvery)
	defer tick.Stop()
	p := make([]byte, sipBytes)
	for begin := time.Now(); time.Since(begin) < long; <-tick.C {
		if _, err := f.client.Read(p); err != nil {
			t.Fatal(err)
		}
		if f.over() {
			t.Fatalf("ended after %v, although the client reads", time.Since(begin))
		}
	}
}
