package upgrade

import (
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

func (c *strictConn) check(t time.Time) {
	if c.strict && !t.IsZero() {
		c.t.Errorf("a deadline was set: %s", t)
	}
}

func (c *strictConn) SetDeadline(t time.Time) error {
	c.check(t)
	return c.Conn.SetDeadline(t)
}

func (c *strictConn) SetReadDeadline(t time.Time) error {
	c.check(t)
	return c.Conn.SetReadDeadline(t)
}

func (c *strictConn) SetWriteDeadline(t time.Time) error {
	c.check(t)
	return c.Conn.SetWriteDeadline(t)
}

// serverWriter is a server's own writer.
type serverWriter struct {
	*httptest.ResponseRecorder
	conn *strictConn
}

func (w *serverWriter) SetReadDeadline(t time.Time) error  { return w.conn.SetReadDeadline(t) }
func (w *serverWriter) SetWriteDeadline(t time.Time) error { return w.conn.SetWriteDeadline(t) }

func TestNothingOfTheRequestReachesAHijackedConnection(t *testing.T) {
	t.Parallel()
	near, far := net.Pipe()
	conn := &strictConn{Conn: near, t: t}
	accept, over := make(oneConn, 1), make(chan struct{})
	accept <- conn
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer close(over)
		takeStrictly(t, w, r, conn)
	})}
	go func() { _ = server.Serve(accept) }()
	defer func() {
		close(accept)
		_ = server.Close()
		_ = far.Close()
	}()
	if _, err := io.WriteString(far, "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	p := make([]byte, 1<<10)
	n, err := far.Read(p)
	if got := string(p[:n]); err != nil || !strings.HasPrefix(got, "HTTP/1.1 101 ") || !strings.Contains(got, "\r\nX-Answer: yes\r\n") {
		t.Errorf("the answer is %q, %v", got, err)
	}
	<-over
}

// takeStrictly takes the connection over from wrappers like Caddy's, and does what Caddy
// does after the handler.
func takeStrictly(t *testing.T, w http.ResponseWriter, r *http.Request, conn *strictConn) {
	ctrl := http.NewResponseController(w)
	deadline := caddyhttp.IdleDeadline{Timeout: time.Minute, HardDeadline: time.Now()}
	rd := &caddyhttp.IdleTimeoutReader{
		ReadCloser: http.NoBody, Ctrl: ctrl, Deadline: deadline, Logger: zap.NewNop(), DrainDeadline: true,
	}
	wr := &caddyhttp.IdleTimeoutWriter{
		ResponseWriterWrapper: &caddyhttp.ResponseWriterWrapper{ResponseWriter: w},
		Ctrl:                  ctrl, Deadline: deadline, Logger: zap.NewNop(),
	}
	r = r.WithContext(caddyhttp.ContextWithIdleTimeouts(r.Context(), rd, wr))
	wr.Header().Set("X-Answer", "yes")
	StopClocks(wr, r)
	up, err := hijack(wr, r, time.Minute)
	if err != nil || up.Conn != conn {
		t.Errorf("got %v, %v", up.Conn, err)
		return
	}
	defer up.Conn.Close()
	conn.strict = true
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
