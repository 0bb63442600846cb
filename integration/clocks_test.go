package integration

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
)

// bigChunk is a piece of a body, and more than is kept back.
var bigChunk = "2000\r\n" + strings.Repeat("x", 0x2000) + "\r\n"

// trickle writes a piece to w every now and then, until that fails.
func trickle(w io.Writer, piece string) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		if _, err := io.WriteString(w, piece); err != nil {
			return err
		}
		<-tick.C
	}
}

// A clock of the server's, and a connection of which it is known that it ends it,
// because it is none of a WebSocket: what has outlived that has outlived the clock.
type clock struct {
	name, setting string
	waitForIt     func(t *testing.T, g *gateway)
}

// untilCut sends this and waits until the server closes the connection.
func untilCut(t *testing.T, g *gateway, sent string, more func(net.Conn)) {
	t.Helper()
	conn := dialRaw(t, g)
	conn.send(t, sent)
	if more != nil {
		go more(conn)
	}
	if _, err := io.Copy(io.Discard, conn); isTimeout(err) {
		t.Fatal("the server's own clock does not run, and the test shows nothing")
	}
	_ = conn.Close()
}

func isTimeout(err error) bool {
	ne, ok := err.(net.Error) //nolint:errorlint // as it comes from the connection
	return ok && ne.Timeout()
}

// The clocks also run while the client of a WebSocket shakes hands over TLS, and a busy
// machine needs some time for that.
var serverClocks = []clock{
	{"write", "write 2s", func(t *testing.T, g *gateway) {
		untilCut(t, g, lines("GET /trickle HTTP/1.1", "Host: "+g.httpAddr), nil)
	}},
	{"read_body", "read_body 2s", func(t *testing.T, g *gateway) {
		untilCut(t, g, lines("POST /swallow HTTP/1.1", "Host: "+g.httpAddr, "Transfer-Encoding: chunked"), func(conn net.Conn) { _ = trickle(conn, bigChunk) })
	}},
	{"read_header", "read_header 2s", func(t *testing.T, g *gateway) {
		untilCut(t, g, "GET / HTTP/1.1\r\n", nil)
	}},
	{"idle", "idle 2s", func(t *testing.T, g *gateway) {
		untilCut(t, g, lines("GET / HTTP/1.1", "Host: "+g.httpAddr), nil)
	}},
	{"read_body without idle ones", "read_body 2s\n read_body_idle -1s\n write_idle -1s", func(t *testing.T, g *gateway) {
		untilCut(t, g, lines("POST /swallow HTTP/1.1", "Host: "+g.httpAddr, "Transfer-Encoding: chunked"), func(conn net.Conn) { _ = trickle(conn, bigChunk) })
	}},
	{"write without idle ones", "write 2s\n read_body_idle -1s\n write_idle -1s", func(t *testing.T, g *gateway) {
		untilCut(t, g, lines("GET /trickle HTTP/1.1", "Host: "+g.httpAddr), nil)
	}},
}

// trickler is an upstream for plain requests that never comes to an end.
func trickler(t *testing.T) *backend {
	t.Helper()
	b := newBackend(t, echo)
	serve := func(conn net.Conn) bool {
		go func() {
			defer conn.Close()
			r, err := http.ReadRequest(bufio.NewReader(conn))
			if err != nil {
				return
			}
			if r.Method == http.MethodPost {
				_, _ = io.Copy(io.Discard, r.Body)
				return
			}
			_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
			_ = trickle(conn, bigChunk)
		}()
		return false
	}
	b.set(func() { b.onDial = serve })
	return b
}

// TestServersClocksEndNoWebSocket has every clock of a server run out: while an
// upstream is still waited for, and then while the connection is quiet.
func TestServersClocksEndNoWebSocket(t *testing.T) {
	long(t)
	for _, at := range serverClocks {
		t.Run(at.name, func(t *testing.T) {
			answer := make(chan struct{})
			b := newBackend(t, func(c *backendConn) {
				select {
				case <-answer:
					echo(c)
				case <-c.closed:
				}
			})
			plain := trickler(t)
			g := startWith(t, "servers {\n timeouts {\n "+at.setting+"\n }\n }",
				"reverse_proxy /trickle "+plain.addr+"\n reverse_proxy /swallow "+plain.addr+"\n"+
					"timeouts /ws/asked {\n read_timeout 2s 1000000\n write_timeout 2s 1000000\n }\n ws_gateway /ws/* "+b.addr)
			type opened struct {
				c    carrier
				path string
				a    answerOrError
			}
			all := make(chan opened, 2*len(carriers))
			for _, c := range carriers {
				for _, path := range []string{"/ws/", "/ws/asked"} {
					go func() {
						a, err := c.try(g, path, nil)
						all <- opened{c, path, answerOrError{a, err}}
					}()
				}
			}
			for range 2 * len(carriers) {
				receive(t, "a handshake at the backend", b.requests)
			}
			at.waitForIt(t, g)
			close(answer)
			conns := map[string]*wsConn{}
			for range 2 * len(carriers) {
				o := receive(t, "the answer to a handshake", all)
				if o.a.err != nil || o.a.conn == nil {
					t.Errorf("%s: the handshake that took long came to %d, %v", o.c.name+o.path, o.a.status, o.a.err)
					continue
				}
				t.Cleanup(o.a.conn.kill)
				conns[o.c.name+o.path] = o.a.conn
			}
			at.waitForIt(t, g)
			for name, conn := range conns {
				if err := conn.send(text("still here")); err != nil {
					t.Errorf("%s: %v", name, err)
				} else if f, err := conn.next(); err != nil || string(f.payload) != "still here" {
					t.Errorf("%s: got %v, %v", name, f, err)
				}
			}
			book.waitAccess(t, "/ws/asked")
			for _, line := range book.find("http.stdlib", "") {
				t.Errorf("net/http complains: %s", line.str("msg"))
			}
		})
	}
}

type answerOrError struct {
	answer
	err error
}

// TestQuietWebSocketKeepsItsQUICConnection against a client that does not do so
// itself. Another connection of that client shows when it would have ended.
func TestQuietWebSocketKeepsItsQUICConnection(t *testing.T) {
	long(t)
	b := newBackend(t, echo)
	g := start(t, "ws_gateway "+b.addr)
	idle := &quic.Config{MaxIdleTimeout: 14 * time.Second} // the server nudges every 10 s
	dial := func() (*http3.ClientConn, *quic.Conn) {
		cc, conn, err := connH3With(t.Context(), g, idle)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.CloseWithError(0, "") })
		return cc, conn
	}
	cc, _ := dial()
	a, err := shakeH3(t.Context(), cc, g, "/ws", nil)
	if err != nil || a.conn == nil {
		t.Fatalf("%d, %v", a.status, err)
	}
	a.conn.abort = func() {}
	a.conn.ping(t, "before")
	other, unused := dial()
	_ = other
	receive(t, "the end of a connection that nobody uses", unused.Context().Done())
	a.conn.ping(t, "after")
	a.conn.mustSend(t, closing(1000, "bye"))
	a.conn.expectClose(t, 1000)
	if rest, err := io.ReadAll(a.conn.br); len(rest) > 0 || err != nil {
		t.Errorf("behind the close frame came %q, %v", rest, err)
	}
}

// TestLimitsOfBodiesCountNoWebSocket holds a stream for what it is.
func TestLimitsOfBodiesCountNoWebSocket(t *testing.T) {
	b := newBackend(t, echo)
	g := start(t, "request_body {\n max_size 1KB\n }\n ws_gateway "+b.addr)
	eachCarrier(t, func(t *testing.T, c carrier) {
		c.open(t, g, "/", nil).ping(t, strings.Repeat("x", 4000))
	})
}

// forwardProxy is a proxy that upstreams are reached through.
func forwardProxy(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	t.Cleanup(func() {
		_ = l.Close()
		all.Wait()
	})
	all.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			all.Go(func() { passThrough(conn) })
		}
	})
	return l.Addr().String()
}

func passThrough(conn net.Conn) {
	defer conn.Close()
	br := bufio.NewReader(conn)
	r, err := http.ReadRequest(br)
	if err != nil {
		return
	}
	up, err := net.Dial("tcp", r.URL.Host)
	if err != nil {
		return
	}
	defer up.Close()
	if r.Method == http.MethodConnect {
		_, err = io.WriteString(conn, "HTTP/1.1 200 OK\r\n\r\n")
	} else {
		err = r.Write(up)
	}
	if err != nil {
		return
	}
	go func() {
		_, _ = io.Copy(up, br)
		_, _ = up.Close(), conn.Close()
	}()
	_, _ = io.Copy(conn, up)
}

// TestTransportsTimeoutsEndWithTheHandshake keeps connections quiet for longer
// than any timeout of their transport, which a plain request over the same one
// runs into.
func TestTransportsTimeoutsEndWithTheHandshake(t *testing.T) {
	const timeouts = "read_timeout 2s\n write_timeout 2s\n response_header_timeout 2s\n dial_timeout 5s\n "
	b, secure := newBackend(t, echo), newTLSBackend(t, echo)
	mute := func(c *backendConn) { <-c.closed }
	b.set(func() { b.onGet = mute })
	secure.set(func() { secure.onGet = mute })
	proxy := "network_proxy url http://" + forwardProxy(t) + "\n "
	_, port, _ := net.SplitHostPort(b.addr)
	for name, row := range map[string]struct{ to, transport string }{
		"at an address":           {b.addr, ""},
		"by name":                 {"localhost:" + port, ""},
		"by the transport":        {b.addr, "local_address 127.0.0.1\n "},
		"TLS":                     {secure.addr, "tls_insecure_skip_verify\n "},
		"TLS, with a placeholder": {secure.addr, "tls_insecure_skip_verify\n tls_server_name {http.request.host}\n "},
		"through a proxy":         {b.addr, proxy},
		"TLS, through a proxy":    {secure.addr, proxy + "tls_insecure_skip_verify\n "},
	} {
		t.Run(name, func(t *testing.T) {
			g := start(t, "ws_gateway "+row.to+" {\n fail_duration 1h\n early_close_count 1\n header_up Host {upstream_hostport}\n transport http {\n "+
				timeouts+row.transport+"}\n }")
			conns := map[string]*wsConn{}
			for _, c := range carriers {
				conns[c.name] = c.open(t, g, "/ws", nil)
			}
			if a := g.get(t, "/plain", nil); a.status != 504 {
				t.Fatalf("the transport's timeout does not apply to plain requests: %d", a.status)
			}
			for name, conn := range conns {
				if err := conn.send(text("still here")); err != nil {
					t.Errorf("%s: %v", name, err)
				} else if f, err := conn.next(); err != nil || string(f.payload) != "still here" {
					t.Errorf("%s: got %v, %v", name, f, err)
				}
			}
		})
	}
}

// TestHandshakesAreOfHTTP11WhateverVersionsSay goes through a proxy, where Caddy's
// transport makes them.
func TestHandshakesAreOfHTTP11WhateverVersionsSay(t *testing.T) {
	b := newBackend(t, echo)
	for _, versions := range []string{"h2c", "1.1 2", "h2c 2"} {
		t.Run(versions, func(t *testing.T) {
			g := start(t, "ws_gateway "+b.addr+" {\n header_up Host {upstream_hostport}\n transport http {\n network_proxy url http://"+forwardProxy(t)+"\n versions "+versions+"\n }\n }")
			overWS.open(t, g, "/ws", nil).ping(t, "hello")
		})
	}
}

// TestTransportsTimeoutsBoundTheHandshake has an upstream fall silent at each
// point of a handshake.
func TestTransportsTimeoutsBoundTheHandshake(t *testing.T) {
	long(t)
	mute := newBackend(t, silent)
	deaf := newBackend(t, silent) // says nothing at all, not even TLS
	swallow := func(conn net.Conn) bool {
		go func() {
			_, _ = io.Copy(io.Discard, conn)
			_ = conn.Close()
		}()
		return false
	}
	deaf.set(func() { deaf.onDial = swallow })
	halting := newBackend(t, func(c *backendConn) {
		_, _ = io.WriteString(c, "HTTP/1.1 403 Forbidden\r\nContent-Length: 100\r\n\r\nthe beginning")
		<-c.closed
	})
	for name, row := range map[string]struct {
		to, transport, more string
		status              int
	}{
		"read_timeout":                     {mute.addr, "read_timeout 300ms", "handshake_timeout 1h", 504},
		"response_header_timeout":          {mute.addr, "response_header_timeout 300ms", "handshake_timeout 1h", 504},
		"tls_timeout":                      {deaf.addr, "tls_insecure_skip_verify\n tls_timeout 300ms", "handshake_timeout 1h", 504},
		"handshake_timeout, which is less": {mute.addr, "read_timeout 1h\n response_header_timeout 1h", "handshake_timeout 300ms", 504},
		"within a refusal":                 {halting.addr, "read_timeout 300ms", "handshake_timeout 1h", 403},
		"within a refusal, of a handshake": {halting.addr, "dial_timeout 1m", "handshake_timeout 300ms", 403},
	} {
		t.Run(name, func(t *testing.T) {
			g := start(t, "ws_gateway "+row.to+" {\n transport http {\n "+row.transport+"\n }\n "+row.more+"\n }")
			eachCarrier(t, func(t *testing.T, c carrier) {
				a, err := c.try(g, "/ws", nil)
				if a.status != row.status && (row.status == 504 || err == nil) {
					t.Errorf("got %d, %v", a.status, err)
				}
			})
		})
	}
}
