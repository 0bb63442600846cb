package upgrade

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wsgateway/caddy-ws-gateway/internal/bubble"
)

// oneConn is a listener that has one connection.
type oneConn chan net.Conn

func (l oneConn) Accept() (net.Conn, error) {
	if conn, ok := <-l; ok {
		return conn, nil
	}
	return nil, net.ErrClosed
}

func (l oneConn) Close() error   { return nil }
func (l oneConn) Addr() net.Addr { return &net.TCPAddr{} }

// taking is what came of taking a client's side over.
type taking struct {
	side Side
	err  error
}

// shake sends a handshake to a server that takes the client's side over, and returns
// the client's end and what came of taking over.
func shake(t *testing.T, writeTimeout time.Duration) (client net.Conn, taken <-chan taking) {
	t.Helper()
	near, far := net.Pipe()
	accept, came := make(oneConn, 1), make(chan taking, 1)
	accept <- near
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		side, err := Take(w, r, writeTimeout)
		if err == nil {
			t.Cleanup(func() { _ = side.Conn.Close() })
		}
		came <- taking{side, err}
	})}
	go func() { _ = server.Serve(accept) }()
	t.Cleanup(func() {
		close(accept)
		_ = server.Close()
		_ = far.Close()
	})
	if _, err := io.WriteString(far, "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	return far, came
}

func TestClientThatDoesNotTakeTheAnswerIsGivenUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		client, taken := shake(t, 30*time.Second)
		if got := <-taken; !errors.Is(got.err, os.ErrDeadlineExceeded) {
			t.Errorf("taking over came to %v, want a timeout", got.err)
		}
		if took := time.Since(began); took != 30*time.Second {
			t.Errorf("given up after %v", took)
		}
		if n, err := client.Read(make([]byte, 1)); n > 0 || err == nil {
			t.Error("the connection is still open")
		}
	})
}

func TestNoDeadlineOutlivesTheAnswer(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		client, taken := shake(t, 30*time.Second)
		bubble.Elapse(29 * time.Second)
		res, err := http.ReadResponse(bufio.NewReader(client), nil)
		if err != nil || res.StatusCode != http.StatusSwitchingProtocols {
			t.Fatalf("got %v, %v", res, err)
		}
		defer res.Body.Close()
		got := <-taken
		if got.err != nil {
			t.Fatal(got.err)
		}
		bubble.Elapse(time.Hour)
		go func() { _, _ = client.Write([]byte("a")) }()
		if _, err := got.side.Conn.Read(make([]byte, 1)); err != nil {
			t.Errorf("reading: %v", err)
		}
		go func() { _, _ = client.Read(make([]byte, 1)) }()
		if _, err := got.side.Conn.Write([]byte("b")); err != nil {
			t.Errorf("writing: %v", err)
		}
	})
}
