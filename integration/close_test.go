package integration

import (
	"bytes"
	"testing"
)

// pair opens a connection and hands out both ends of it.
func pair(t *testing.T, g *gateway, b *backend, c carrier) (*wsConn, *backendConn) {
	t.Helper()
	client := c.open(t, g, "/ws", nil)
	upstream := receive(t, "upgrade at the backend", b.upgraded)
	t.Cleanup(func() { _ = upstream.Close() })
	return client, upstream
}

// expectClose reads up to a close frame, which must have the code.
func (c *backendConn) expectClose(t *testing.T, code int) {
	t.Helper()
	for {
		f, err := c.readFrame()
		if err != nil {
			t.Fatalf("the backend waits for close %d: %v", code, err)
		}
		if !f.masked {
			t.Fatalf("the backend got an unmasked frame: %v", f)
		}
		if f.op == opClose {
			if f.closeCode() != code {
				t.Fatalf("the backend was closed with %v, want %d", f, code)
			}
			return
		}
	}
}

// endings are the ways in which the two sides can end a connection, and what
// the log then says.
var endings = []struct {
	name string
	end  func(t *testing.T, client *wsConn, upstream *backendConn)
	by   string
	code float64
}{
	{"client closes", func(t *testing.T, client *wsConn, upstream *backendConn) {
		client.mustSend(t, closing(4001, "my reason"))
		expectVerbatim(t, upstream, closing(4001, "my reason"))
		writeTo(t, upstream, closing(4001, "echoed"))
		client.expect(t, closing(4001, "echoed"))
	}, "client", 4001},
	{"upstream closes", func(t *testing.T, client *wsConn, upstream *backendConn) {
		writeTo(t, upstream, closing(1003, "no binary"))
		client.expect(t, closing(1003, "no binary"))
		client.mustSend(t, closing(1003, ""))
		expectVerbatim(t, upstream, closing(1003, ""))
	}, "upstream", 1003},
	{"client closes without a code", func(t *testing.T, client *wsConn, upstream *backendConn) {
		client.mustSend(t, frame{fin: true, op: opClose})
		expectVerbatim(t, upstream, frame{fin: true, op: opClose})
		writeTo(t, upstream, frame{fin: true, op: opClose})
		client.expect(t, frame{fin: true, op: opClose})
	}, "client", 1005},
	{"upstream is killed", func(t *testing.T, client *wsConn, upstream *backendConn) {
		upstream.reset()
		client.expectClose(t, 1012)
		client.mustSend(t, closing(1012, ""))
	}, "upstream", 1012},
	{"upstream ends without a close frame", func(t *testing.T, client *wsConn, upstream *backendConn) {
		writeTo(t, upstream, text("last words"))
		_ = upstream.Close()
		client.expect(t, text("last words"))
		client.expectClose(t, 1012)
		client.mustSend(t, closing(1012, ""))
	}, "upstream", 1012},
	{"client is killed", func(t *testing.T, client *wsConn, upstream *backendConn) {
		client.kill()
		upstream.expectClose(t, 1011)
	}, "client", 1011},
}

// TestEndsOfAConnection covers every way in which the two sides can end one,
// and what the other side and the log are told.
func TestEndsOfAConnection(t *testing.T) {
	b := newBackend(t, handOver())
	eachCarrier(t, func(t *testing.T, c carrier) {
		for _, row := range endings {
			t.Run(row.name, func(t *testing.T) {
				g := start(t, "ws_gateway "+b.addr)
				client, upstream := pair(t, g, b, c)
				client.mustSend(t, text("hello"))
				expectVerbatim(t, upstream, text("hello"))
				row.end(t, client, upstream)
				_ = upstream.Close()
				line := book.waitClosed(t, b.addr, 1)
				if line.str("by") != row.by || line.num("code") != row.code {
					t.Errorf("logged by %q with code %v, want by %q with %v", line.str("by"), line.num("code"), row.by, row.code)
				}
				client.expectEnd(t)
				g.assertNoLiveSeries(t)
			})
		}
	})
}

func writeTo(t *testing.T, c *backendConn, frames ...frame) {
	t.Helper()
	if err := c.write(frames...); err != nil {
		t.Fatal(err)
	}
}

func expectVerbatim(t *testing.T, c *backendConn, want frame) {
	t.Helper()
	f, err := c.readFrame()
	if err != nil {
		t.Fatalf("the backend waits for %v: %v", want, err)
	}
	if f.op != want.op || !bytes.Equal(f.payload, want.payload) {
		t.Fatalf("the backend got %v, want %v", f, want)
	}
}

// TestHalfCloseDeliversWhatIsStillComing lets one side end its direction while
// the other has more to say: that arrives first, then 1011, or 1012 for a client.
func TestHalfCloseDeliversWhatIsStillComing(t *testing.T) {
	b := newBackend(t, handOver())
	g := start(t, "ws_gateway "+b.addr)
	eachCarrier(t, func(t *testing.T, c carrier) {
		size := 8 << 20 // more than what is under way holds, and less than takes as long as a close may
		if c.proto == overH3.proto {
			size = 1 << 20
		}
		big := frame{fin: true, op: opBinary, payload: bytes.Repeat([]byte{7}, size)}
		t.Run("client", func(t *testing.T) {
			client, upstream := pair(t, g, b, c)
			written := make(chan error, 1)
			go func() { written <- upstream.write(big, text("done")) }()
			if err := client.closeWrite(); err != nil {
				t.Fatal(err)
			}
			client.expect(t, big)
			client.expect(t, text("done"))
			if err := receive(t, "the backend's write", written); err != nil {
				t.Fatal(err)
			}
			upstream.expectClose(t, 1011)
		})
		t.Run("upstream", func(t *testing.T) {
			client, upstream := pair(t, g, b, c)
			sent := make(chan error, 1)
			go func() {
				if err := client.send(big); err != nil {
					sent <- err
					return
				}
				sent <- client.send(text("done"))
			}()
			writeTo(t, upstream, text("last words"))
			if err := upstream.closeWrite(); err != nil {
				t.Fatal(err)
			}
			expectVerbatim(t, upstream, big)
			expectVerbatim(t, upstream, text("done"))
			if err := receive(t, "the client's write", sent); err != nil {
				t.Fatal(err)
			}
			client.expect(t, text("last words"))
			client.expectClose(t, 1012)
		})
	})
	g.waitConnections(t, 0)
}

// TestEndInsideAFrameSendsNoGarbage kills a side in the middle of a frame: the
// other side's stream must stay well-formed up to its end.
func TestEndInsideAFrameSendsNoGarbage(t *testing.T) {
	half := func(whole []byte) []byte { return whole[:len(whole)/2] }
	big := frame{fin: true, op: opBinary, payload: bytes.Repeat([]byte{9}, 100_000)}
	b := newBackend(t, handOver())
	g := start(t, "ws_gateway "+b.addr)
	eachCarrier(t, func(t *testing.T, c carrier) {
		client, upstream := pair(t, g, b, c)
		writeTo(t, upstream, text("whole"))
		if _, err := upstream.Write(half(big.serverBytes())); err != nil {
			t.Fatal(err)
		}
		client.expect(t, text("whole"))
		upstream.reset()
		// A close frame cannot be put into the middle of another one, so the
		// only honest end is to break off.
		if f, err := client.next(); err == nil {
			t.Errorf("after half a frame came %v, want the end of the connection", f)
		}
	})
	g.waitConnections(t, 0)
}
