package integration

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"testing"

	"github.com/coder/websocket"
)

// TestBytesArriveIdenticalBothWays sends a random stream of frames each way at
// the same time, cut at random places, and compares every byte.
func TestBytesArriveIdenticalBothWays(t *testing.T) {
	upstreams := []struct {
		name string
		make func(testing.TB, script) *backend
		site string
	}{
		{"plain upstream", newBackend, "ws_gateway %s"},
		{"TLS upstream", newTLSBackend, "ws_gateway https://%s {\n transport http {\n tls_insecure_skip_verify\n }\n }"},
	}
	for _, up := range upstreams {
		t.Run(up.name, func(t *testing.T) {
			b := up.make(t, handOver())
			g := start(t, strings.ReplaceAll(up.site, "%s", b.addr))
			eachCarrier(t, func(t *testing.T, c carrier) { compareStreams(t, g, b, c) })
		})
	}
}

func compareStreams(t *testing.T, g *gateway, b *backend, c carrier) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	fromClient := randomStream(rand.New(rand.NewPCG(seed, 1)), true)
	fromBackend := randomStream(rand.New(rand.NewPCG(seed, 2)), false)

	client := c.open(t, g, "/ws", nil)
	upstream := receive(t, "upgrade at the backend", b.upgraded)
	results := make(chan error, 4)
	go func() {
		results <- writeInPieces(client.w, rand.New(rand.NewPCG(seed, 3)), fromClient)
	}()
	go func() {
		results <- writeInPieces(upstream, rand.New(rand.NewPCG(seed, 4)), fromBackend)
	}()
	go func() { results <- readExactly(client.br, fromBackend) }()
	go func() { results <- readExactly(upstream.br, fromClient) }()
	guard := client.guard()
	defer guard.Stop()
	for range 4 {
		if err := <-results; err != nil {
			t.Fatal(err)
		}
	}
	client.mustSend(t, closing(1000, ""))
	f, err := upstream.readFrame()
	if err != nil || f.op != opClose || f.closeCode() != 1000 {
		t.Fatalf("the backend got %v, %v instead of close 1000", f, err)
	}
	if err := upstream.write(closing(1000, "")); err != nil {
		t.Fatal(err)
	}
	client.expectClose(t, 1000)
	_ = upstream.Close()
}

// readExactly reads want and compares as it goes, naming the first difference.
func readExactly(r io.Reader, want []byte) error {
	buf := make([]byte, 64<<10)
	for offset := 0; offset < len(want); {
		n, err := r.Read(buf[:min(len(buf), len(want)-offset)])
		if !bytes.Equal(buf[:n], want[offset:offset+n]) {
			return errors.New("the bytes differ")
		}
		offset += n
		if err != nil && offset < len(want) {
			return err
		}
	}
	return nil
}

// TestCompressionIsNegotiatedEndToEnd has coder/websocket on both sides, with
// permessage-deflate and messages far larger than any buffer.
func TestCompressionIsNegotiatedEndToEnd(t *testing.T) {
	g := start(t, "ws_gateway "+libraryEcho(t))
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}} // #nosec G402
	defer client.CloseIdleConnections()

	for _, url := range []string{"ws://" + g.httpAddr, "wss://" + g.tlsHost()} {
		t.Run(url[:3], func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			conn, res, err := websocket.Dial(ctx, url+"/ws", &websocket.DialOptions{
				HTTPClient: client, CompressionMode: websocket.CompressionContextTakeover, Subprotocols: []string{"other", "chat"},
			})
			if err != nil {
				t.Fatal(err)
			}
			defer conn.CloseNow()
			conn.SetReadLimit(-1)
			if got := res.Header.Get("Sec-WebSocket-Extensions"); !strings.HasPrefix(got, "permessage-deflate") {
				t.Errorf("Sec-WebSocket-Extensions is %q, want permessage-deflate", got)
			}
			if conn.Subprotocol() != "chat" {
				t.Errorf("subprotocol %q, want chat", conn.Subprotocol())
			}
			for _, size := range []int{0, 1, 600, 70_000, 4 << 20} {
				message := bytes.Repeat([]byte("compress me, "), size/13+1)[:size]
				if err := conn.Write(ctx, websocket.MessageBinary, message); err != nil {
					t.Fatal(err)
				}
				_, back, err := conn.Read(ctx)
				if err != nil || !bytes.Equal(back, message) {
					t.Fatalf("message of %d bytes came back with %d: %v", size, len(back), err)
				}
			}
			if err := conn.Close(websocket.StatusNormalClosure, "done"); err != nil {
				t.Errorf("closing: %v", err)
			}
		})
	}
}

// TestBytesBesideTheHandshakeAreKeptInOrder glues frames to the handshake on
// either side: the client sends before it has the answer, the backend in the
// same write as its 101.
func TestBytesBesideTheHandshakeAreKeptInOrder(t *testing.T) {
	glued := bytes.Join([][]byte{text("early 1").serverBytes(), text("early 2").serverBytes()}, nil)
	b := newBackend(t, func(c *backendConn) {
		head := "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
			"Sec-WebSocket-Accept: {accept}\r\n\r\n"
		if c.reply(head+string(glued)) != nil {
			return
		}
		for {
			f, err := readFrame(c.br)
			if err != nil || c.write(f) != nil {
				return
			}
		}
	})
	g := start(t, "ws_gateway "+b.addr)

	t.Run("from the backend", func(t *testing.T) {
		eachCarrier(t, func(t *testing.T, c carrier) {
			conn := c.open(t, g, "/ws", nil)
			conn.expect(t, text("early 1"))
			conn.expect(t, text("early 2"))
			conn.ping(t, "later")
		})
	})
	t.Run("from the client", func(t *testing.T) {
		early := append(text("one").clientBytes(), text("two").clientBytes()...)
		a := rawWS(t, g, handshakeH1("/ws", g.httpAddr, nil)+string(early))
		if a.conn == nil {
			t.Fatalf("status %d: %s", a.status, a.body)
		}
		for _, want := range []string{"early 1", "early 2", "one", "two"} {
			a.conn.expect(t, text(want))
		}
		a.conn.ping(t, "three")
	})
}

// TestStreamsOfOneConnectionDoNotDisturbEachOther opens several WebSockets on
// one HTTP/2 and one HTTP/3 connection.
func TestStreamsOfOneConnectionDoNotDisturbEachOther(t *testing.T) {
	b := newBackend(t, echo)
	g := start(t, "ws_gateway "+b.addr)
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	cc2, tcp, err := connH2(g)
	if err != nil {
		t.Fatal(err)
	}
	defer tcp.Close()
	cc3, udp, err := connH3(ctx, g)
	if err != nil {
		t.Fatal(err)
	}
	defer udp.CloseWithError(0, "") //nolint:errcheck // the end of the test
	shakes := map[string]func() (answer, error){
		"h2": func() (answer, error) { return shakeH2(ctx, cc2, g, "/ws", nil) },
		"h3": func() (answer, error) { return shakeH3(ctx, cc3, g, "/ws", nil) },
	}
	for name, shake := range shakes {
		t.Run(name, func(t *testing.T) {
			var conns []*wsConn
			for range 10 {
				a, err := shake()
				if err != nil || a.conn == nil {
					t.Fatalf("status %d: %v", a.status, err)
				}
				a.conn.abort = func() { _ = a.conn.closeWrite() }
				conns = append(conns, a.conn)
			}
			for i, conn := range conns {
				if i%2 == 0 {
					conn.finish(t)
				}
			}
			for i, conn := range conns {
				if i%2 == 1 {
					conn.ping(t, "still here")
					conn.finish(t)
				}
			}
		})
	}
}

// TestSilenceIsNotTimedOut lifts Caddy's idle timeouts, which end a stream that
// is silent for read_body_idle, off a WebSocket. Uploads that are silent, one
// after the other, show that the time is over for those who have one.
func TestSilenceIsNotTimedOut(t *testing.T) {
	long(t)
	b, silent := newBackend(t, echo), newBackend(t, hold)
	g := startWith(t, "servers {\n timeouts {\n read_body_idle 300ms\n write_idle 300ms\n }\n }",
		"reverse_proxy /upload "+silent.addr+"\n ws_gateway "+b.addr)
	eachCarrier(t, func(t *testing.T, c carrier) {
		conn := c.open(t, g, "/ws", nil)
		conn.ping(t, "before")
		for range 3 {
			upload := dialRaw(t, g)
			upload.send(t, lines("POST /upload HTTP/1.1", "Host: "+g.httpAddr, "Content-Length: 100")+"the beginning")
			if answer, err := upload.br.ReadString('\n'); err != nil {
				t.Fatalf("an upload that is silent is not timed out: %q, %v", answer, err)
			}
		}
		conn.ping(t, "after")
	})
}
