package relay

import (
	"bytes"
	"net"
	"testing"
	"time"

	"github.com/wsgateway/caddy-ws-gateway/internal/wsframe"
)

// sips are how a slow reader reads: 200 KiB a second, for longer than WriteTimeout.
const (
	sipBytes = 4 << 10
	sipEvery = 20 * time.Millisecond
)

// around is a wrapper that says what it wraps.
type around struct{ net.Conn }

func (a around) NetConn() net.Conn { return a.Conn }

// roomyFor makes a relay whose client has a small receive buffer, and whose kernel
// waits for much room before it takes more.
func roomyFor(tb testing.TB, c Config, secured bool) *fixture {
	tb.Helper()
	f := onTCP(tb, c)
	if err := beneath(f.client).SetReadBuffer(64 << 10); err != nil {
		tb.Fatal(err)
	}
	if secured {
		f.Relay.client.conn, f.client = secure(tb, f.Relay.client.conn.(net.Conn), f.client, 0)
	}
	return f
}

// TestSlowReaderIsNotEnded floods a client that reads slowly but steadily: the
// kernel takes nothing for several times the write timeout, while the client
// does.
func TestSlowReaderIsNotEnded(t *testing.T) {
	t.Parallel()
	bare := func(c net.Conn) Conn { return c }
	wrap := func(c net.Conn) Conn { return around{c} }
	loop, goroutines := (*fixture).run, (*fixture).runOnGoroutines
	for name, how := range map[string]struct {
		wrap    func(net.Conn) Conn
		secured bool
		run     func(*fixture)
	}{
		"loop/plain":         {bare, false, loop},
		"loop/TLS":           {bare, true, loop},
		"goroutines/plain":   {bare, false, goroutines},
		"goroutines/TLS":     {bare, true, goroutines},
		"goroutines/wrapped": {wrap, true, goroutines},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			const writeTimeout = 3 * time.Second
			f := roomyFor(t, Config{WriteTimeout: writeTimeout, CloseTimeout: 100 * time.Millisecond}, how.secured)
			f.Relay.client.conn = how.wrap(f.Relay.client.conn.(net.Conn))
			how.run(f)
			flooded := make(chan struct{})
			go func() {
				defer close(flooded)
				message := frame(wsframe.Binary, false, bytes.Repeat([]byte("x"), 100_000))
				for {
					if _, err := f.upstream.Write(message); err != nil {
						return
					}
				}
			}()
			tick := time.NewTicker(sipEvery)
			defer tick.Stop()
			p := make([]byte, sipBytes)
			for until := time.Now().Add(3 * writeTimeout); time.Now().Before(until); <-tick.C {
				if _, err := f.client.Read(p); err != nil {
					t.Fatal(err)
				}
			}
			select {
			case o := <-f.outcome:
				t.Fatalf("ended by %v with %d %q", o.By, o.Code, o.Reason)
			default:
			}
			begin := time.Now() // from here on it takes nothing
			wantEnd(t, f.end(t), Client, 1011, "client stopped reading")
			t.Logf("ended %v after its last progress", time.Since(begin))
			_ = beneath(f.client).Close()
			_ = f.upstream.Close()
			<-flooded
		})
	}
}
