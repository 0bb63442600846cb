package wsgateway

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
)

// bothWays runs a test with a handshake that is sent by exchange, and with one
// that was sent as soon as the connection was there.
func bothWays(t *testing.T, test func(t *testing.T, talk talker)) {
	for name, sent := range map[string]bool{"sent by exchange": false, "sent at once": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				test(t, func(ctx context.Context, script func(conn net.Conn, head *http.Request)) (*answer, error) {
					return talk(t, ctx, sent, script)
				})
			})
		})
	}
}

type talker func(ctx context.Context, script func(conn net.Conn, head *http.Request)) (*answer, error)

// talk makes a handshake over a pipe whose other end answers by a script.
func talk(t *testing.T, ctx context.Context, sent bool, script func(conn net.Conn, head *http.Request)) (*answer, error) {
	t.Helper()
	near, far := net.Pipe()
	go func() {
		defer far.Close()
		head, err := http.ReadRequest(bufio.NewReader(far))
		if err != nil {
			t.Errorf("reading our handshake: %v", err)
			return
		}
		script(far, head)
	}()
	r := httptest.NewRequestWithContext(ctx, http.MethodGet, "/chat?room=1", nil)
	r.Host = "backend.example.com"
	r.Header.Set("Sec-WebSocket-Protocol", "chat")
	key := newKey()
	head, err := appendHead(nil, r, key)
	if err != nil {
		t.Fatalf("writing our handshake: %v", err)
	}
	if sent {
		if _, err := near.Write(head); err != nil {
			t.Fatal(err)
		}
		head = nil
	}
	return exchange(ctx, r, near, head, key, time.Now().Add(10*time.Second), 0)
}

func say(text string) func(net.Conn, *http.Request) {
	return func(conn net.Conn, _ *http.Request) { _, _ = io.WriteString(conn, text) }
}

func switchProtocols(conn net.Conn, head *http.Request, more string) {
	_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
		"Sec-WebSocket-Accept: "+acceptOf(head.Header.Get("Sec-WebSocket-Key"))+"\r\n\r\n"+more)
}

func TestUpgradeKeepsWhatCameBehindTheAnswer(t *testing.T) {
	t.Parallel()
	bothWays(t, func(t *testing.T, talk talker) {
		a, err := talk(t.Context(), func(conn net.Conn, head *http.Request) {
			if head.Method != http.MethodGet || head.RequestURI != "/chat?room=1" || head.Host != "backend.example.com" {
				t.Errorf("our handshake is %s %s to %s", head.Method, head.RequestURI, head.Host)
			}
			switchProtocols(conn, head, "\x81\x02hi")
			_, _ = io.WriteString(conn, "\x81\x03you")
		})
		if err != nil {
			t.Fatal(err)
		}
		rest, _ := io.ReadAll(a.conn)
		if got := string(a.early) + string(rest); got != "\x81\x02hi\x81\x03you" {
			t.Errorf("got %q", got)
		}
		_ = a.conn.Close()
	})
}

func TestInterimResponsesArePassedOver(t *testing.T) {
	t.Parallel()
	bothWays(t, func(t *testing.T, talk talker) {
		a, err := talk(t.Context(), func(conn net.Conn, head *http.Request) {
			_, _ = io.WriteString(conn, "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n")
			switchProtocols(conn, head, "")
		})
		if err != nil || a.conn == nil {
			t.Fatalf("got %v, %v", a, err)
		}
		_ = a.conn.Close()
	})
}

func TestRefusalKeepsItsBodyAndItsConnectionIsClosed(t *testing.T) {
	t.Parallel()
	bothWays(t, func(t *testing.T, talk talker) {
		closed := make(chan error, 1)
		a, err := talk(t.Context(), func(conn net.Conn, _ *http.Request) {
			_, _ = io.WriteString(conn, "HTTP/1.1 403 Forbidden\r\nContent-Length: 9\r\n\r\ngo away!\nGET /internal HTTP/1.1\r\n")
			_, err := conn.Read(make([]byte, 1))
			closed <- err
		})
		if err != nil || a.conn != nil {
			t.Fatalf("got %+v, %v", a, err)
		}
		body, _ := io.ReadAll(a.res.Body)
		if a.res.StatusCode != http.StatusForbidden || string(body) != "go away!\n" {
			t.Errorf("got %d %q", a.res.StatusCode, body)
		}
		_ = a.res.Body.Close()
		if err := <-closed; !errors.Is(err, io.EOF) {
			t.Errorf("the upstream's connection ended with %v", err)
		}
	})
}

func TestFailedExchangesAreToldApart(t *testing.T) {
	t.Parallel()
	long := "HTTP/1.1 101 Switching Protocols\r\nX-Long: " + strings.Repeat("x", maxAnswerHead) + "\r\n\r\n"
	for name, row := range map[string]struct {
		script func(net.Conn, *http.Request)
		want   error
	}{
		"closes before it answers": {say(""), errDropped},
		"closes in its status":     {say("HTTP/1.1 1"), errDropped},
		"closes in its answer":     {say("HTTP/1.1 101 Switch"), errDropped},
		"closes after a hint":      {say("HTTP/1.1 103 Early Hints\r\n\r\n"), errDropped},
		"silent": {func(conn net.Conn, _ *http.Request) {
			_, _ = conn.Read(make([]byte, 1))
		}, errSilent},
		"not HTTP":        {say("SSH-2.0-OpenSSH_9.2\r\n\r\n"), errInvalid},
		"endless head":    {say(long), errInvalid},
		"endless hints":   {say(strings.Repeat("HTTP/1.1 103 Early Hints\r\n\r\n", 10)), errInvalid},
		"no accept":       {say("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"), errInvalid},
		"only the status": {say("HTTP/1.1 101 Switching Protocols\r\n\r\n"), errInvalid},
		"stops in its head": {func(conn net.Conn, _ *http.Request) {
			_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: ")
			_, _ = conn.Read(make([]byte, 1))
		}, errSilent},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bothWays(t, func(t *testing.T, talk talker) {
				if _, err := talk(t.Context(), row.script); !errors.Is(err, row.want) {
					t.Errorf("got %v, want %v", err, row.want)
				}
			})
		})
	}
}

// TestForeignTransportsTellADropFromADeadUpstream as far as they say what failed.
func TestForeignTransportsTellADropFromADeadUpstream(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		script func(net.Conn, *http.Request) // nil: takes no connection
		want   error
	}{
		"takes no connection":      {nil, errDead},
		"closes before it answers": {say(""), errDropped},
		"closes in its answer":     {say("HTTP/1.1 101 Switching Protocols\r\n"), errDropped},
		"closes within a line":     {say("HTTP/1.1 101 Switching Protocols\r\nUpgr"), errInvalid},
		"not HTTP":                 {say("SSH-2.0-OpenSSH_9.2\r\n\r\n"), errInvalid},
		"no accept":                {say("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"), errInvalid},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				d := newDialer(&http.Transport{DisableKeepAlives: true, DialContext: func(context.Context, string, string) (net.Conn, error) {
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
				}}, 10*time.Second)
				r := requestWith(nil)
				r = r.WithContext(context.WithValue(r.Context(), caddyhttp.VarsCtxKey, make(map[string]any)))
				info, err := dialInfo(nil, "192.0.2.1:80")
				if err != nil {
					t.Fatal(err)
				}
				if _, err := d.shake(r, &info); !errors.Is(err, row.want) {
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
func shakeBy(t *testing.T, ctx context.Context, f *foreign) (*answer, map[string]any, error) {
	t.Helper()
	vars := make(map[string]any)
	r := requestWith(nil)
	r = r.WithContext(context.WithValue(ctx, caddyhttp.VarsCtxKey, vars))
	info, err := dialInfo(nil, "192.0.2.1:80")
	if err != nil {
		t.Fatal(err)
	}
	a, err := newDialer(f, 10*time.Second).shake(r, &info)
	return a, vars, err
}

func TestHandshakeTimeoutHoldsForWhateverTransport(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		body := closeNoted{strings.NewReader(""), make(chan struct{})}
		f := &foreign{wait: time.Minute, answer: &http.Response{StatusCode: 404, Body: body}}
		start := time.Now()
		_, vars, err := shakeBy(t, t.Context(), f)
		if took := time.Since(start); !errors.Is(err, errSilent) || took != 10*time.Second {
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
		if err != nil || a.res.StatusCode != 404 {
			t.Errorf("got %v, %v", a, err)
		}
		_ = a.res.Body.Close()
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

func TestLeavingClientEndsTheHandshake(t *testing.T) {
	t.Parallel()
	bothWays(t, func(t *testing.T, talk talker) {
		ctx, cancel := context.WithCancel(t.Context())
		start := time.Now()
		_, err := talk(ctx, func(conn net.Conn, _ *http.Request) {
			cancel()
			_, _ = conn.Read(make([]byte, 1))
		})
		if !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
		if took := time.Since(start); took > patience {
			t.Errorf("took %s", took)
		}
	})
}

func TestAttackNothingEndsALineOfTheHandshake(t *testing.T) {
	t.Parallel()
	for name, edit := range map[string]func(*http.Request){
		"value":       func(r *http.Request) { r.Header["X-User"] = []string{"a\r\nX-Admin: 1"} },
		"NUL":         func(r *http.Request) { r.Header["X-User"] = []string{"a\x00"} },
		"name":        func(r *http.Request) { r.Header["X-User: 1\r\nX-Admin"] = []string{"1"} },
		"host":        func(r *http.Request) { r.Host = "a\r\nX-Admin: 1" },
		"query":       func(r *http.Request) { r.URL.RawQuery = "a=1 HTTP/1.1\r\nX-Admin: 1\r\n" },
		"query space": func(r *http.Request) { r.URL.RawQuery = "a=1 HTTP/1.0" },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := httptest.NewRequest(http.MethodGet, "/", nil)
			edit(r)
			if head, err := appendHead(nil, r, newKey()); !errors.Is(err, errUnsendable) {
				t.Errorf("wrote %q, %v", head, err)
			}
		})
	}
}

func FuzzHandshakeHead(f *testing.F) {
	f.Add("X-User", "alice", "room=1", "example.com")
	f.Add("X-User", "a\r\nX-Admin: 1", "a b", "e\nf")
	f.Fuzz(func(t *testing.T, name, value, query, host string) {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.Header = http.Header{name: {value}}
		r.URL.RawQuery, r.Host = query, host
		key := newKey()
		head, err := appendHead(nil, r, key)
		if err != nil {
			return
		}
		got, err := http.ReadRequest(bufio.NewReader(strings.NewReader(string(head))))
		if err != nil {
			return // a server refuses it whole, as a bad Host
		}
		fields := len(got.Header)
		if _, ours := got.Header[http.CanonicalHeaderKey(name)]; ours {
			fields--
		}
		if fields > 4 || got.Header.Get("Sec-WebSocket-Key") != key {
			t.Fatalf("the upstream reads %v from %q", got.Header, head)
		}
	})
}

// panickyBody panics when it is closed.
type panickyBody struct{ io.Reader }

func (panickyBody) Close() error { panic("in a body") }

func TestPanicInAnAnswerThatNobodyWaitsForIsContained(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		before := panicsCounted(t)
		late := &foreign{wait: time.Minute, answer: &http.Response{StatusCode: 404, Body: panickyBody{strings.NewReader("")}}}
		if _, _, err := shakeBy(t, t.Context(), late); !errors.Is(err, errSilent) {
			t.Errorf("got %v", err)
		}
		elapse(2 * time.Minute)
		if n := panicsCounted(t) - before; n != 1 {
			t.Errorf("%g panics were contained, want 1", n)
		}
	})
}
