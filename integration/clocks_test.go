package integration

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// trickle writes to w every now and then, until that fails.
func trickle(w io.Writer) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	chunk := "2000\r\n" + strings.Repeat("x", 0x2000) + "\r\n" // more than is kept back
	for {
		if _, err := io.WriteString(w, chunk); err != nil {
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

var serverClocks = []clock{
	{"write", "write 400ms", func(t *testing.T, g *gateway) {
		untilCut(t, g, lines("GET /trickle HTTP/1.1", "Host: "+g.httpAddr), nil)
	}},
	{"read_body", "read_body 400ms", func(t *testing.T, g *gateway) {
		untilCut(t, g, lines("POST /swallow HTTP/1.1", "Host: "+g.httpAddr, "Transfer-Encoding: chunked"), func(conn net.Conn) { _ = trickle(conn) })
	}},
	{"read_header", "read_header 400ms", func(t *testing.T, g *gateway) {
		untilCut(t, g, "GET / HTTP/1.1\r\n", nil)
	}},
	{"idle", "idle 400ms", func(t *testing.T, g *gateway) {
		untilCut(t, g, lines("GET / HTTP/1.1", "Host: "+g.httpAddr), nil)
	}},
	{"read_body without idle ones", "read_body 400ms\n read_body_idle -1s\n write_idle -1s", func(t *testing.T, g *gateway) {
		untilCut(t, g, lines("POST /swallow HTTP/1.1", "Host: "+g.httpAddr, "Transfer-Encoding: chunked"), func(conn net.Conn) { _ = trickle(conn) })
	}},
	{"write without idle ones", "write 400ms\n read_body_idle -1s\n write_idle -1s", func(t *testing.T, g *gateway) {
		untilCut(t, g, lines("GET /trickle HTTP/1.1", "Host: "+g.httpAddr), nil)
	}},
}

// trickler is an upstream for plain requests that never comes to an end.
func trickler(t *testing.T) *backend {
	t.Helper()
	b := newBackend(t, echo)
	b.onDial = func(conn net.Conn) bool {
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
			_ = trickle(conn)
		}()
		return false
	}
	return b
}

// TestServersClocksEndNoWebSocket has every clock of a server run out: while an
// upstream is still waited for, and then while the connection is quiet.
func TestServersClocksEndNoWebSocket(t *testing.T) {
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
					"timeouts /ws/asked {\n read_timeout 400ms 1000000\n write_timeout 400ms 1000000\n }\n ws_gateway /ws/* "+b.addr)
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
		})
	}
}

type answerOrError struct {
	answer
	err error
}

// TestLimitsOfBodiesCountNoWebSocket holds a stream for what it is.
func TestLimitsOfBodiesCountNoWebSocket(t *testing.T) {
	b := newBackend(t, echo)
	g := start(t, "request_body {\n max_size 1KB\n }\n ws_gateway "+b.addr)
	eachCarrier(t, func(t *testing.T, c carrier) {
		c.open(t, g, "/", nil).ping(t, strings.Repeat("x", 4000))
	})
}
