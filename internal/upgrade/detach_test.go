package upgrade

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"
)

// strictConn is a connection on which no deadline may be set any more.
type strictConn struct {
	net.Conn
	t      *testing.T
	strict bool
}

func (c *strictConn) check(t time.Time) error {
	if c.strict && !t.IsZero() {
		c.t.Errorf("a deadline was set: %s", t)
	}
	return nil
}

func (c *strictConn) SetDeadline(t time.Time) error      { return c.check(t) }
func (c *strictConn) SetReadDeadline(t time.Time) error  { return c.check(t) }
func (c *strictConn) SetWriteDeadline(t time.Time) error { return c.check(t) }

// serverWriter is a server's own writer.
type serverWriter struct {
	*httptest.ResponseRecorder
	conn *strictConn
}

func (w *serverWriter) SetReadDeadline(t time.Time) error  { return w.conn.SetReadDeadline(t) }
func (w *serverWriter) SetWriteDeadline(t time.Time) error { return w.conn.SetWriteDeadline(t) }
func (w *serverWriter) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return w.conn, bufio.NewReadWriter(bufio.NewReader(w.conn), bufio.NewWriter(w.conn)), nil
}

func TestNothingOfTheRequestReachesAHijackedConnection(t *testing.T) {
	t.Parallel()
	near, far := net.Pipe()
	defer far.Close()
	server := &serverWriter{httptest.NewRecorder(), &strictConn{Conn: near, t: t}}
	deadline := caddyhttp.IdleDeadline{Timeout: time.Minute, HardDeadline: time.Now()}
	rd := &caddyhttp.IdleTimeoutReader{
		ReadCloser: http.NoBody, Ctrl: http.NewResponseController(server), Deadline: deadline, Logger: zap.NewNop(), DrainDeadline: true,
	}
	wr := &caddyhttp.IdleTimeoutWriter{
		ResponseWriterWrapper: &caddyhttp.ResponseWriterWrapper{ResponseWriter: server},
		Ctrl:                  http.NewResponseController(server), Deadline: deadline, Logger: zap.NewNop(),
	}
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r = r.WithContext(caddyhttp.ContextWithIdleTimeouts(r.Context(), rd, wr))
	wr.Header().Set("X-Answer", "yes")
	StopClocks(wr, r)
	answer := make(chan string, 1)
	go func() {
		p := make([]byte, 1<<10)
		n, _ := far.Read(p)
		answer <- string(p[:n])
	}()
	up, err := hijack(wr, r, time.Minute)
	if err != nil || up.Conn != server.conn {
		t.Fatalf("got %v, %v", up.Conn, err)
	}
	if got := <-answer; !strings.HasPrefix(got, "HTTP/1.1 101 ") || !strings.Contains(got, "\r\nX-Answer: yes\r\n") {
		t.Errorf("the answer is %q", got)
	}
	server.conn.strict = true
	// What Caddy does after the handler.
	if err := http.NewResponseController(wr).Flush(); !errors.Is(err, http.ErrHijacked) {
		t.Errorf("flushing came to %v", err)
	}
	if _, err := io.WriteString(wr, "hello"); !errors.Is(err, http.ErrHijacked) {
		t.Errorf("writing came to %v", err)
	}
	wr.Override(time.Second, 0, 0)()
	wr.HandlerDone()
	rd.HandlerDone()
	if wr.Header().Get("X-Answer") != "yes" {
		t.Error("the access log will show no header of the answer")
	}
}

func TestTheClockOfABodyThatIsStillReadGoesOn(t *testing.T) {
	t.Parallel()
	hard := time.Now().Add(time.Hour)
	for length, wantRead := range map[int64]time.Time{0: {}, 5: hard, -1: hard} {
		near, far := net.Pipe()
		defer far.Close()
		server := &serverWriter{httptest.NewRecorder(), &strictConn{Conn: near, t: t}}
		deadline := caddyhttp.IdleDeadline{Timeout: time.Minute, HardDeadline: hard}
		rd := &caddyhttp.IdleTimeoutReader{
			ReadCloser: http.NoBody, Ctrl: http.NewResponseController(server), Deadline: deadline, Logger: zap.NewNop(),
		}
		wr := &caddyhttp.IdleTimeoutWriter{
			ResponseWriterWrapper: &caddyhttp.ResponseWriterWrapper{ResponseWriter: server},
			Ctrl:                  http.NewResponseController(server), Deadline: deadline, Logger: zap.NewNop(),
		}
		r := httptest.NewRequest(http.MethodPost, "/", nil)
		r.ContentLength = length
		r = r.WithContext(caddyhttp.ContextWithIdleTimeouts(r.Context(), rd, wr))
		StopClocksOfAnswer(wr, r)
		if got := rd.Deadline.HardDeadline; !got.Equal(wantRead) {
			t.Errorf("a body of %d: its deadline is %s, want %s", length, got, wantRead)
		}
		if got := wr.Deadline.HardDeadline; !got.IsZero() {
			t.Errorf("a body of %d: the answer has the deadline %s", length, got)
		}
	}
}
