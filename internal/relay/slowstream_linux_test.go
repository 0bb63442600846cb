package relay

import (
	"io"
	"net"
	"testing"
	"time"
)

// stream is a conn that goes over a socket together with other streams.
type stream struct {
	net.Conn
	socket net.Conn
}

func (s stream) SharedConn() net.Conn { return s.socket }

// keepFull writes more than a socket takes.
func keepFull(c net.Conn) {
	for {
		if _, err := c.Write(make([]byte, 64<<10)); err != nil {
			return
		}
	}
}

// keepBusy has a byte go to and fro.
func keepBusy(c net.Conn) {
	for {
		if _, err := c.Write([]byte("x")); err != nil {
			return
		}
		if _, err := c.Read(make([]byte, 1)); err != nil {
			return
		}
	}
}

// TestStreamIsEndedUnlessItsSocketIsWhatIsSlow has a client take nothing of a
// stream. That may be the fault of the socket, which is full, or else of the
// client, whatever passes over the socket for other streams.
func TestStreamIsEndedUnlessItsSocketIsWhatIsSlow(t *testing.T) {
	t.Parallel()
	const writeTimeout = 3 * time.Second
	tests := map[string]struct {
		ours, peer func(net.Conn)
		lives      bool
	}{
		"a socket that is full and drains": {keepFull, func(c net.Conn) {
			// Much at a time, so that it drains also where this gets on seldom.
			tick := time.NewTicker(80 * time.Millisecond)
			defer tick.Stop()
			for p := make([]byte, 64<<10); ; <-tick.C {
				if _, err := io.ReadFull(c, p); err != nil {
					return
				}
			}
		}, true},
		"a socket that is full":  {keepFull, func(net.Conn) {}, false},
		"a socket that is busy":  {keepBusy, keepBusy, false},
		"a socket that is quiet": {func(net.Conn) {}, func(net.Conn) {}, false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ours, peer := tcpPair(t)
			if err := peer.SetReadBuffer(64 << 10); err != nil {
				t.Fatal(err)
			}
			go tt.ours(ours)
			go tt.peer(peer)
			f := onPipes(Config{WriteTimeout: writeTimeout, CloseTimeout: 10 * time.Millisecond})
			f.Relay.client.conn = stream{f.Relay.client.conn.(net.Conn), ours}
			f.run()
			mustWrite(t, f.upstream, text("not read"))
			begin := time.Now()
			if tt.lives {
				select {
				case o := <-f.outcome:
					t.Fatalf("ended by %v with %d %q after %v", o.By, o.Code, o.Reason, time.Since(begin))
				case <-time.NewTimer(3 * writeTimeout).C:
				}
				_ = peer.Close()
			}
			wantEnd(t, f.end(t), Client, 1011, "client stopped reading")
			_ = f.upstream.Close()
			_ = f.client.Close()
		})
	}
}
