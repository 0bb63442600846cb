package dial

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/wsgateway/caddy-ws-gateway/internal/bubble"
	"github.com/wsgateway/caddy-ws-gateway/internal/handshake"
	"github.com/wsgateway/caddy-ws-gateway/internal/panics"
)

// noClient is the address of a client that is not known.
func noClient(*http.Request) string { return "" }

// elapse lets time pass in a bubble.
var elapse = bubble.Elapse

func say(text string) func(net.Conn, *http.Request) {
	return func(conn net.Conn, _ *http.Request) { _, _ = io.WriteString(conn, text) }
}

func switchProtocols(conn net.Conn, head *http.Request, more string) {
	_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
		"Sec-WebSocket-Accept: "+handshake.Accept(head.Header.Get("Sec-WebSocket-Key"))+"\r\n\r\n"+more)
}

// inTheClear is a transport of another module. Requests come to it without a scheme,
// as from reverse_proxy.
type inTheClear struct{ *http.Transport }

// RoundTrip implements http.RoundTripper.
func (t inTheClear) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Scheme != "" {
		return nil, errors.New("the scheme is set")
	}
	r = r.Clone(r.Context())
	r.URL.Scheme = "http"
	return t.Transport.RoundTrip(r)
}

// TestForeignTransportsTellADropFromADeadUpstream as far as they say what failed.
func TestForeignTransportsTellADropFromADeadUpstream(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		script func(net.Conn, *http.Request) // nil: takes no connection
		want   error
	}{
		"takes no connection":      {nil, handshake.ErrDead},
		"closes before it answers": {say(""), handshake.ErrDropped},
		"closes in its answer":     {say("HTTP/1.1 101 Switching Protocols\r\n"), handshake.ErrDropped},
		"closes within a line":     {say("HTTP/1.1 101 Switching Protocols\r\nUpgr"), handshake.ErrInvalid},
		"not HTTP":                 {say("SSH-2.0-OpenSSH_9.2\r\n\r\n"), handshake.ErrInvalid},
		"no accept":                {say("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"), handshake.ErrInvalid},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				d := New(inTheClear{&http.Transport{DisableKeepAlives: true, DialContext: func(context.Context, string, string) (net.Conn, error) {
					if row.script == nil {
						return nil, reverseproxy.DialError{}
					}
					near, far := net.Pipe()
					go func() {
						defer far.Close()
						if head, err := http.ReadRequest(bufio.NewReader(far)); err == nil {
							row.script(far, head)
						}
					}()
					return near, nil
				}}}, 10*time.Second, noClient)
				r := httptest.NewRequest(http.MethodGet, "/", nil)
				r = r.WithContext(context.WithValue(r.Context(), caddyhttp.VarsCtxKey, make(map[string]any)))
				info, err := Info(nil, "192.0.2.1:80")
				if err != nil {
					t.Fatal(err)
				}
				if _, err := d.Shake(r, &info, nil); !errors.Is(err, row.want) {
					t.Errorf("got %v, want %v", err, row.want)
				}
			})
		})
	}
}

// foreign is a transport of someone else's, which does not look at contexts.
type foreign struct {
	wait    time.Duration
	answer  *http.Response
	panics  bool
	written map[string]any // the variables that it was given
}

func (f *foreign) RoundTrip(r *http.Request) (*http.Response, error) {
	elapse(f.wait)
	caddyhttp.SetVar(r.Context(), "foreign", true)
	f.written, _ = r.Context().Value(caddyhttp.VarsCtxKey).(map[string]any)
	if f.panics {
		panic("in a transport")
	}
	return f.answer, nil
}

// closeNoted is a body that tells when it is closed.
type closeNoted struct {
	io.Reader
	closed chan struct{}
}

func (c closeNoted) Close() error { close(c.closed); return nil }

// shakeBy makes a handshake by a transport of someone else's.
func shakeBy(t *testing.T, ctx context.Context, f *foreign) (*handshake.Answer, map[string]any, error) {
	t.Helper()
	vars := make(map[string]any)
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r = r.WithContext(context.WithValue(ctx, caddyhttp.VarsCtxKey, vars))
	info, err := Info(nil, "192.0.2.1:80")
	if err != nil {
		t.Fatal(err)
	}
	a, err := New(f, 10*time.Second, noClient).Shake(r, &info, nil)
	return a, vars, err
}

func TestHandshakeTimeoutHoldsForWhateverTransport(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		body := closeNoted{strings.NewReader(""), make(chan struct{})}
		f := &foreign{wait: time.Minute, answer: &http.Response{StatusCode: 404, Body: body}}
		start := time.Now()
		_, vars, err := shakeBy(t, t.Context(), f)
		if took := time.Since(start); !errors.Is(err, handshake.ErrSilent) || took != 10*time.Second {
			t.Errorf("after %s: %v", took, err)
		}
		before := len(vars)
		<-body.closed // what comes too late
		if len(vars) != before || len(f.written) == 0 {
			t.Error("a transport that is not waited for any more writes to the request's variables")
		}
	})
}

func TestTransportThatDoesNotLookAtContextsIsLeftWithTheClient(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, leave := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, leave)
		start := time.Now()
		_, _, err := shakeBy(t, ctx, &foreign{wait: time.Minute})
		if took := time.Since(start); !errors.Is(err, context.Canceled) || took != time.Second {
			t.Errorf("after %s: %v", took, err)
		}
		elapse(time.Minute) // until the transport is done
	})
}

func TestTransportThatAnswersInTimeIsTaken(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a, _, err := shakeBy(t, t.Context(), &foreign{wait: time.Second, answer: &http.Response{StatusCode: 404, Body: http.NoBody}})
		if err != nil || a.Res.StatusCode != 404 {
			t.Errorf("got %v, %v", a, err)
		}
		_ = a.Res.Body.Close()
	})
}

func TestPanicOfATransportIsItsRequests(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		defer func() {
			if p, _ := recover().(string); !strings.Contains(p, "in a transport") || !strings.Contains(p, "RoundTrip") {
				t.Errorf("recovered %q, want the panic and where it was", p)
			}
		}()
		_, _, err := shakeBy(t, t.Context(), &foreign{panics: true})
		t.Errorf("it came to no panic: %v", err)
	})
}

// panickyBody panics when it is closed.
type panickyBody struct{ io.Reader }

func (panickyBody) Close() error { panic("in a body") }

func TestPanicThatNobodyWaitsForIsReported(t *testing.T) {
	for name, late := range map[string]*foreign{
		"in the round trip": {wait: time.Minute, panics: true},
		"in the answer":     {wait: time.Minute, answer: &http.Response{StatusCode: 404, Body: panickyBody{strings.NewReader("")}}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var reported atomic.Int32
				panics.Handle(func(*panics.Panic) { reported.Add(1) })
				if _, _, err := shakeBy(t, t.Context(), late); !errors.Is(err, handshake.ErrSilent) {
					t.Errorf("got %v", err)
				}
				elapse(2 * time.Minute)
				if n := reported.Load(); n != 1 {
					t.Errorf("%d panics were reported, want 1", n)
				}
			})
		})
	}
}

func TestPROXYProtocolTellsOfTheClient(t *testing.T) {
	t.Parallel()
	for client, want := range map[string]string{
		"192.0.2.1": "192.0.2.1:0", "2001:db8::1": "[2001:db8::1]:0", "192.0.2.1:5000": "192.0.2.1:5000",
		"": "0.0.0.0:0", "@": "0.0.0.0:0", // as on a Unix socket, and for health checks
	} {
		d := New(nil, time.Second, func(*http.Request) string { return client })
		if got := d.clientAddrPort(nil).String(); got != want {
			t.Errorf("%q: %s, want %s", client, got, want)
		}
	}
}
