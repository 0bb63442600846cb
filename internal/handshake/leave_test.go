package handshake

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"
)

// gated is a connection on which what is done because the client leaves waits for
// the test. Nothing else of it does.
type gated struct {
	net.Conn
	entered, open chan struct{}
	closing       bool // it is Close that waits
}

func (c *gated) wait() {
	select {
	case c.entered <- struct{}{}:
		<-c.open
	case <-c.open:
	}
}

func (c *gated) SetDeadline(t time.Time) error {
	if !c.closing && t.Equal(time.Unix(1, 0)) {
		c.wait()
	}
	return c.Conn.SetDeadline(t)
}

func (c *gated) Close() error {
	if c.closing {
		c.wait()
	}
	return c.Conn.Close()
}

// TestHandshakeWaitsForWhatItsLeavingClientBegan has the client leave at the very
// moment of the answer: whoever is about to touch the connection for that must
// have done so before the connection goes on to somebody else.
func TestHandshakeWaitsForWhatItsLeavingClientBegan(t *testing.T) {
	t.Parallel()
	const (
		accepted = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"
		refused  = "HTTP/1.1 403 Forbidden\r\nContent-Length: 400\r\n\r\nno!\n"
	)
	for name, row := range map[string]struct {
		answer string
		inBody bool // the client leaves while the body is read
	}{
		"accepted":        {accepted, false},
		"refused":         {refused, false},
		"within the body": {refused, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				near, far := net.Pipe()
				defer far.Close()
				conn := &gated{Conn: near, entered: make(chan struct{}), open: make(chan struct{}), closing: row.inBody}
				ctx, leave := context.WithCancel(t.Context())
				r := httptest.NewRequestWithContext(ctx, http.MethodGet, "/", nil)
				over := make(chan error, 1)
				go func() {
					a, err := Exchange(ctx, r, conn, []byte("GET / HTTP/1.1\r\n\r\n"), "", time.Now().Add(time.Minute), 0)
					if err == nil && row.inBody {
						leave()
						<-conn.entered
						err = errors.Join(a.Res.Body.Close(), context.Canceled)
					}
					over <- err
				}()
				if _, err := http.ReadRequest(bufio.NewReader(far)); err != nil {
					t.Fatal(err)
				}
				if !row.inBody {
					leave()
					<-conn.entered
				}
				_, _ = io.WriteString(far, row.answer)
				synctest.Wait()
				select {
				case err := <-over:
					t.Errorf("it was over (%v) while the connection was still in use", err)
					over <- context.Canceled
				default:
				}
				close(conn.open)
				if err := <-over; !errors.Is(err, context.Canceled) {
					t.Errorf("got %v", err)
				}
			})
		})
	}
}

func TestClosingTheBodyOfARefusalDoesNotWaitForItsEnd(t *testing.T) {
	t.Parallel()
	bothWays(t, func(t *testing.T, talk talker) {
		a, err := talk(t.Context(), func(conn net.Conn, _ *http.Request) {
			_, _ = io.WriteString(conn, "HTTP/1.1 403 Forbidden\r\nContent-Length: 1000000\r\n\r\n")
			_ = conn.SetReadDeadline(time.Now().Add(time.Minute))
			_, _ = conn.Read(make([]byte, 1))
		})
		if err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		_ = a.Res.Body.Close()
		if took := time.Since(start); took > 0 {
			t.Errorf("closing it took %s", took)
		}
	})
}

// TestClientsThatLeaveAtTheAnswerHarmNobody lets chance decide what comes first.
func TestClientsThatLeaveAtTheAnswerHarmNobody(t *testing.T) {
	t.Parallel()
	for range 2000 {
		ctx, leave := context.WithCancel(t.Context())
		a, err := talk(t, ctx, false, func(conn net.Conn, head *http.Request) {
			go leave()
			switchProtocols(conn, head, "\x81\x02hi")
		})
		switch {
		case errors.Is(err, context.Canceled):
		case err != nil:
			t.Fatal(err)
		default:
			if _, err := a.Conn.(net.Conn).Read(make([]byte, 1)); err != nil && !errors.Is(err, io.EOF) {
				t.Fatalf("the connection is open, and reading from it fails with %v", err)
			}
			_ = a.Conn.Close()
		}
		leave()
	}
}
