package relay

import (
	"io"
	"testing"
	"time"

	"github.com/wsgateway/caddy-ws-gateway/internal/wsframe"
)

// TestPongToPingOfOursIsSwallowedWhileConnectionCloses has the answer to a ping come when
// the upstream has already said that it closes: the upstream has not asked for it.
func TestPongToPingOfOursIsSwallowedWhileConnectionCloses(t *testing.T) {
	t.Parallel()
	for name, run := range map[string]func(*fixture){"loop": (*fixture).run, "goroutines": (*fixture).runOnGoroutines} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := onTCP(t, Config{
				WriteTimeout: time.Minute,
				Policy:       &Policy{PingInterval: 20 * time.Millisecond, PingTimeout: time.Minute},
			})
			run(f)
			_ = f.client.SetReadDeadline(time.Now().Add(patience))
			ping := make([]byte, 2+pingPayload)
			if _, err := io.ReadFull(f.client, ping); err != nil {
				t.Fatal(err)
			}
			bye := closeFrame(4000, "bye")
			if _, err := f.upstream.Write(bye); err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadFull(f.client, make([]byte, len(bye))); err != nil {
				t.Fatal(err)
			}
			atUpstream := record(f.upstream)
			answer := append(frame(wsframe.Pong, true, ping[2:]), maskedClose(4000, "")...)
			if _, err := f.client.Write(answer); err != nil {
				t.Fatal(err)
			}
			got := take(t, "the upstream's end", atUpstream)
			if before, c := closeOf(t, got.data); len(before) > 0 || c.Code != 4000 {
				t.Errorf("the upstream got %x, and then %+v", before, c)
			}
			f.end(t)
		})
	}
}
