package integration

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// descriptors counts the files and sockets that the process has open, where the
// system tells.
func descriptors() int {
	all, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return 0
	}
	return len(all)
}

// halfway is a way to begin a connection without ever finishing a handshake.
type halfway struct {
	name   string
	secure bool
	many   int
	begin  func(net.Conn) error
}

// clientHello is what a TLS client sends first.
func clientHello() []byte {
	near, far := net.Pipe()
	defer near.Close()
	defer far.Close()
	go func() { _ = tls.Client(near, clientTLS("http/1.1")).Handshake() }()
	hello := make([]byte, 4096)
	n, _ := far.Read(hello)
	return hello[:n]
}

func halfways() []halfway {
	hello := clientHello()
	send := func(what string) func(net.Conn) error {
		return func(conn net.Conn) error {
			_, err := io.WriteString(conn, what)
			return err
		}
	}
	half := "GET /ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upg"
	return []halfway{
		{"nothing", false, 400, send("")},
		{"half a handshake", false, 400, send(half)},
		{"all but the last byte", false, 400, send(strings.TrimSuffix(handshakeH1("/ws", "localhost", nil), "\n"))},
		{"nothing where TLS is spoken", true, 400, send("")},
		{"half a ClientHello", true, 400, send(string(hello[:len(hello)/2]))},
		{"half a handshake over TLS", true, 50, func(conn net.Conn) error {
			return send(half)(tls.Client(conn, clientTLS("http/1.1")))
		}},
	}
}

// beginHalf begins a connection, and waits until the gateway ends it.
func beginHalf(g *gateway, h halfway, begun *sync.WaitGroup) (lasted time.Duration, err error) {
	addr := g.httpAddr
	if h.secure {
		addr = g.httpsAddr
	}
	start := time.Now()
	conn, err := net.DialTimeout("tcp", addr, patience)
	if err != nil {
		begun.Done()
		return 0, err
	}
	defer conn.Close()
	_ = conn.SetDeadline(start.Add(patience))
	_ = h.begin(conn) // which the gateway may cut short
	begun.Done()
	if _, err = io.Copy(io.Discard, conn); isTimeout(err) {
		return 0, errors.New("it was not ended")
	}
	return time.Since(start), nil
}

// TestHalfHandshakesCostNothingAfterTheirTimeout has very many clients that begin
// a handshake and go no further (S14), while others come and go.
func TestHalfHandshakesCostNothingAfterTheirTimeout(t *testing.T) {
	long(t)
	const limit = 5 * time.Second
	b := newBackend(t, echo)
	g := startWith(t, "servers {\n timeouts {\n read_header "+limit.String()+"\n }\n }", "ws_gateway "+b.addr)
	overWS.open(t, g, "/ws", nil).finish(t) // what is made once is made now
	eventually(t, "the backend to be left", b.idle)
	g.assertNoLiveSeries(t)
	files, routines := descriptors(), runtime.NumGoroutine()

	var begun, ended sync.WaitGroup
	for _, h := range halfways() {
		for range h.many {
			begun.Add(1)
			ended.Go(func() {
				switch lasted, err := beginHalf(g, h, &begun); {
				case err != nil:
					t.Errorf("%s: %v", h.name, err)
				case lasted < limit/2:
					t.Errorf("%s: ended after %v already", h.name, lasted)
				}
			})
		}
	}
	begun.Wait()
	eachCarrier(t, func(t *testing.T, c carrier) {
		conn := c.open(t, g, "/ws", nil)
		conn.ping(t, "among half handshakes")
		conn.finish(t)
	})
	ended.Wait()
	eventually(t, "descriptors and goroutines to be given back", func() bool {
		return descriptors() <= files && runtime.NumGoroutine() <= routines
	})
	if n := b.count(&b.accepted); n != 1+len(carriers) {
		t.Errorf("the backend was dialed %d times for %d handshakes", n, 1+len(carriers))
	}
}

// TestTrickledHandshakeIsCut although something of it comes all the time.
func TestTrickledHandshakeIsCut(t *testing.T) {
	b := newBackend(t, echo)
	g := startWith(t, "servers {\n timeouts {\n read_header 300ms\n }\n }", "ws_gateway "+b.addr)
	conn := dialRaw(t, g)
	conn.send(t, "GET /ws HTTP/1.1\r\nHost: localhost\r\nX-Long: ")
	began := time.Now()
	go func() { _ = trickle(conn, "x") }()
	if got := conn.rest(t); strings.HasPrefix(got, "HTTP/1.1 101") {
		t.Errorf("answered %q", firstLine(got))
	}
	if took := time.Since(began); took < 250*time.Millisecond {
		t.Errorf("cut after %v", took)
	}
	if n := b.count(&b.accepted); n != 0 {
		t.Errorf("the backend was dialed %d times", n)
	}
}

// TestBodyOfARefusedHandshakeIsNotWaitedFor at all by the answer, and by the
// connection no longer than read_body_idle.
func TestBodyOfARefusedHandshakeIsNotWaitedFor(t *testing.T) {
	long(t)
	for idle, ends := range map[string]bool{"1h": false, "1s": true} {
		t.Run(idle, func(t *testing.T) {
			b := newBackend(t, echo)
			g := startWith(t, "servers {\n timeouts {\n read_body_idle "+idle+"\n }\n }",
				"ws_gateway /ws "+b.addr+"\nws_gateway /private "+b.addr+" {\n auth {\n bearer some-token\n }\n }")
			for _, row := range []struct {
				path, length, status string
			}{
				{"/ws", "Content-Length: 5", "400"},
				{"/ws", "Transfer-Encoding: chunked", "400"},
				{"/private", "Content-Length: 5", "400"},
			} {
				conn := dialRaw(t, g)
				conn.send(t, strings.Replace(strings.ReplaceAll(lines(sound(row.length)...), "SELF", g.httpAddr), "/ws", row.path, 1))
				line, err := conn.br.ReadString('\n')
				if err != nil || !strings.HasPrefix(line, "HTTP/1.1 "+row.status) {
					t.Errorf("%s, %s: got %q, %v", row.path, row.length, line, err)
				} else if ends {
					conn.rest(t)
				}
				_ = conn.Close()
			}
			if n := b.count(&b.accepted); n != 0 {
				t.Errorf("the backend was dialed %d times", n)
			}
		})
	}
}

// TestHalfAHeaderOverH2IsNotWaitedForLong but, as a connection that carries nothing,
// for as long as idle says.
func TestHalfAHeaderOverH2IsNotWaitedForLong(t *testing.T) {
	b := newBackend(t, echo)
	g := startWith(t, "servers {\n timeouts {\n idle 500ms\n }\n }", "ws_gateway "+b.addr)
	conn, err := tls.Dial("tcp", g.httpsAddr, clientTLS("h2"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(patience))
	var head bytes.Buffer
	if err := hpack.NewEncoder(&head).WriteField(hpack.HeaderField{Name: ":method", Value: http.MethodConnect}); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(conn, http2.ClientPreface); err != nil {
		t.Fatal(err)
	}
	framer := http2.NewFramer(conn, conn)
	if err := errors.Join(framer.WriteSettings(), framer.WriteSettingsAck(),
		framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: head.Bytes()})); err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, conn); isTimeout(err) {
		t.Error("the connection was not ended")
	}
	if n := b.count(&b.accepted); n != 0 {
		t.Errorf("the backend was dialed %d times", n)
	}
}

// TestHeaderThatIsTooLargeIsNoUpgrade over any version of HTTP.
func TestHeaderThatIsTooLargeIsNoUpgrade(t *testing.T) {
	b := newBackend(t, echo)
	g := startWith(t, "servers {\n max_header_size 8KiB\n }", "ws_gateway "+b.addr)
	large := http.Header{"X-Large": {strings.Repeat("a", 32<<10)}}
	eachCarrier(t, func(t *testing.T, c carrier) {
		a, err := c.try(g, "/ws", large)
		switch {
		case a.conn != nil:
			a.conn.kill()
			t.Error("upgraded")
		case err == nil && a.status != http.StatusRequestHeaderFieldsTooLarge:
			t.Errorf("status %d, want 431", a.status)
		case err != nil && !c.secure:
			t.Error(err)
		}
		c.open(t, g, "/ws", http.Header{"X-Large": {strings.Repeat("a", 4<<10)}}).finish(t)
	})
	if n := b.count(&b.accepted); n != len(carriers) {
		t.Errorf("the backend was dialed %d times for %d handshakes", n, len(carriers))
	}
}

// TestCloseThatIsNeverAnsweredEndsAllTheSame within seconds, whoever does not answer
// it, and whether that side is silent or talks on.
func TestCloseThatIsNeverAnsweredEndsAllTheSame(t *testing.T) {
	long(t)
	b := newBackend(t, handOver())
	g := start(t, "ws_gateway "+b.addr)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	talkOn := func(write func(frame) error) {
		go func() {
			for ctx.Err() == nil && write(text("and another thing")) == nil {
				continue
			}
		}()
	}
	var ended sync.WaitGroup
	for _, c := range carriers {
		for name, end := range map[string]func(*wsConn, *backendConn) error{
			"client is silent":   func(_ *wsConn, up *backendConn) error { return up.write(closing(1000, "")) },
			"upstream is silent": func(client *wsConn, _ *backendConn) error { return client.send(closing(1000, "")) },
			"client talks on": func(client *wsConn, up *backendConn) error {
				talkOn(client.send)
				return up.write(closing(1000, ""))
			},
			"upstream talks on": func(client *wsConn, up *backendConn) error {
				talkOn(func(f frame) error { return up.write(f) })
				return client.send(closing(1000, ""))
			},
		} {
			client, up := pair(t, g, b, c)
			began := time.Now()
			if err := end(client, up); err != nil {
				t.Fatal(err)
			}
			ended.Go(func() {
				client.expectEnd(t)
				if took := time.Since(began); took > patience/2 {
					t.Errorf("%s: %s: ended after %v", c.name, name, took)
				}
			})
		}
	}
	ended.Wait()
	g.assertNoLiveSeries(t)
	for _, line := range book.closedBy(b.addr) {
		if line.num("code") != 1000 {
			t.Errorf("logged: %s", line.raw)
		}
	}
}
