package upgrade

import (
	"bufio"
	"errors"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"
)

// headOf is the head of an answer, field for field, that a handler makes a server give.
func headOf(t *testing.T, handler http.HandlerFunc) (status string, fields []string) {
	t.Helper()
	near, far := net.Pipe()
	accept := make(oneConn, 1)
	accept <- near
	server := &http.Server{Handler: handler}
	go func() { _ = server.Serve(accept) }()
	defer func() {
		close(accept)
		_ = server.Close()
		_ = far.Close()
	}()
	_, _ = far.Write([]byte("GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"))
	from := bufio.NewScanner(far)
	for from.Scan() && from.Text() != "" {
		fields = append(fields, from.Text())
	}
	if len(fields) == 0 {
		t.Fatalf("no answer: %v", from.Err())
	}
	status = fields[0]
	fields = fields[1:]
	slices.Sort(fields)
	return status, fields
}

// TestAnswerIsThatOfTheServer has the server answer, and then the package, with the same
// fields.
func TestAnswerIsThatOfTheServer(t *testing.T) {
	t.Parallel()
	upgraded := http.Header{"Upgrade": {"websocket"}, "Connection": {"Upgrade"}, "Date": {"Fri, 27 Nov 2026 00:00:00 GMT"}}
	for name, more := range map[string]http.Header{
		"no more":              {},
		"several values":       {"Set-Cookie": {"a=1", "b=2"}, "X-Empty": {""}},
		"lines that would end": {"X-Bad": {"a\r\nX-Injected: yes", " spaces\t"}},
		"names that are none":  {"X Bad": {"a"}, "X-Bad\r\nX-Injected": {"b"}, "": {"c"}},
		"a body's length":      {"Content-Length": {"5"}, "Transfer-Encoding": {"chunked"}},
		"no date":              {"Date": nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			set := func(h http.Header) {
				maps.Copy(h, upgraded)
				maps.Copy(h, more)
			}
			wantStatus, want := headOf(t, func(w http.ResponseWriter, _ *http.Request) {
				set(w.Header())
				w.WriteHeader(http.StatusSwitchingProtocols)
				conn, _, err := http.NewResponseController(w).Hijack()
				if err == nil {
					_ = conn.Close()
				}
			})
			status, got := headOf(t, func(w http.ResponseWriter, r *http.Request) {
				set(w.Header())
				up, err := Take(w, r, time.Minute)
				if err != nil {
					t.Error(err)
					return
				}
				_ = up.Conn.Close()
			})
			if status != wantStatus || !slices.Equal(got, want) {
				t.Errorf("got %q %q, want %q %q", status, got, wantStatus, want)
			}
		})
	}
}

func TestAnswerHasADate(t *testing.T) {
	t.Parallel()
	_, fields := headOf(t, func(w http.ResponseWriter, r *http.Request) {
		if up, err := Take(w, r, time.Minute); err == nil {
			_ = up.Conn.Close()
		}
	})
	i := slices.IndexFunc(fields, func(field string) bool { return strings.HasPrefix(field, "Date: ") })
	if i < 0 {
		t.Fatalf("got %q", fields)
	}
	if at, err := http.ParseTime(strings.TrimPrefix(fields[i], "Date: ")); err != nil || time.Since(at).Abs() > time.Hour {
		t.Errorf("got %q", fields[i])
	}
}

// TestFailedHijackIsNoSuccess with a writer of net/http's that cannot be hijacked.
func TestFailedHijackIsNoSuccess(t *testing.T) {
	t.Parallel()
	came := make(chan error, 1)
	handler := http.TimeoutHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w = caddyhttp.NewResponseRecorder(w, nil, nil)
		w.Header().Set("X-Answer", "yes")
		_, err := Take(w, r, time.Minute)
		came <- err
	}), time.Minute, "")
	got := httptest.NewRecorder()
	handler.ServeHTTP(got, httptest.NewRequest(http.MethodGet, "/", nil))
	if err := <-came; !errors.Is(err, http.ErrNotSupported) {
		t.Errorf("taking over came to %v", err)
	}
	if got.Code != http.StatusInternalServerError || got.Header().Get("X-Answer") != "" {
		t.Errorf("the server answers with %d and %v", got.Code, got.Header())
	}
}

// foreignWrapper is not Caddy's.
type foreignWrapper struct{ http.ResponseWriter }

func (w foreignWrapper) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func TestServerAnswersBehindAWrapperOfSomebodyElse(t *testing.T) {
	t.Parallel()
	status, fields := headOf(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Answer", "yes")
		up, err := Take(foreignWrapper{w}, r, time.Minute)
		if err != nil {
			t.Error(err)
			return
		}
		_ = up.Conn.Close()
	})
	if status != "HTTP/1.1 101 Switching Protocols" || !slices.Contains(fields, "X-Answer: yes") {
		t.Errorf("got %q %q", status, fields)
	}
}

// closedWrapper is not Caddy's, and does not say what it is around.
type closedWrapper struct{ http.ResponseWriter }

func (w closedWrapper) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return http.NewResponseController(w.ResponseWriter).Hijack()
}

func (w closedWrapper) Flush() { _ = http.NewResponseController(w.ResponseWriter).Flush() }

func TestWrapperThatHidesTheServerHearsOfTheAnswer(t *testing.T) {
	t.Parallel()
	for name, around := range map[string]func(http.ResponseWriter) http.ResponseWriter{
		"nothing around it": func(w http.ResponseWriter) http.ResponseWriter { return w },
		"a wrapper of Caddy's around it": func(w http.ResponseWriter) http.ResponseWriter {
			return caddyhttp.NewResponseRecorder(w, nil, nil)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			heard := make(chan int, 1)
			status, fields := headOf(t, func(w http.ResponseWriter, r *http.Request) {
				record := caddyhttp.NewResponseRecorder(w, nil, nil)
				record.Header().Set("X-Answer", "yes")
				up, err := Take(around(closedWrapper{record}), r, time.Minute)
				if err != nil {
					t.Error(err)
					return
				}
				heard <- record.Status()
				_ = up.Conn.Close()
			})
			if status != "HTTP/1.1 101 Switching Protocols" || !slices.Contains(fields, "X-Answer: yes") {
				t.Errorf("got %q %q", status, fields)
			}
			if got := <-heard; got != http.StatusSwitchingProtocols {
				t.Errorf("what is beneath was told %d", got)
			}
		})
	}
}

// copyingWrapper is not Caddy's. It has a header of its own, which the answer begins with
// once there is one, unless it keeps the answer back.
type copyingWrapper struct {
	http.ResponseWriter
	header http.Header
	keeps  bool
}

func (w copyingWrapper) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (w copyingWrapper) Header() http.Header { return w.header }

func (w copyingWrapper) WriteHeader(status int) {
	if w.keeps {
		return
	}
	maps.Copy(w.ResponseWriter.Header(), w.header)
	w.ResponseWriter.WriteHeader(status)
}

func TestAnswerHasTheHeaderThatReachesTheServer(t *testing.T) {
	t.Parallel()
	for name, keeps := range map[string]bool{"handed on": false, "kept back": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			logged := make(chan http.Header, 1)
			status, fields := headOf(t, func(w http.ResponseWriter, r *http.Request) {
				defer close(logged)
				record := caddyhttp.NewResponseRecorder(w, nil, nil)
				record.Header().Set("Server", "Caddy")
				up, err := Take(copyingWrapper{record, http.Header{"Upgrade": {"websocket"}}, keeps}, r, time.Minute)
				if err != nil {
					t.Error(err)
					return
				}
				logged <- record.Header()
				_ = up.Conn.Close()
			})
			if status != "HTTP/1.1 101 Switching Protocols" || !slices.Contains(fields, "Upgrade: websocket") || !slices.Contains(fields, "Server: Caddy") {
				t.Errorf("got %q %q", status, fields)
			}
			if got := <-logged; got.Get("Server") != "Caddy" || got.Get("Upgrade") != "websocket" {
				t.Errorf("the access log shows %v", got)
			}
		})
	}
}

// panickingConn is a connection of a listener that has a fault.
type panickingConn struct{ net.Conn }

func (c *panickingConn) Write([]byte) (int, error) { panic("a write") }

func TestConnectionIsClosedWhereTheAnswerPanics(t *testing.T) {
	t.Parallel()
	near, far := net.Pipe()
	accept := make(oneConn, 1)
	accept <- &panickingConn{Conn: near}
	server := &http.Server{
		Handler:  http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = Take(w, r, time.Minute) }),
		ErrorLog: zap.NewStdLog(zap.NewNop()),
	}
	go func() { _ = server.Serve(accept) }()
	defer func() {
		close(accept)
		_ = server.Close()
	}()
	_, _ = far.Write([]byte("GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"))
	_ = far.SetReadDeadline(time.Now().Add(10 * time.Second))
	if _, err := far.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("the connection is still there: %v", err)
	}
}
