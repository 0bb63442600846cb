package handshake

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
)

// bothWays runs a test with a handshake that is sent by exchange, and with one
// that was sent as soon as the connection was there.
func bothWays(t *testing.T, test func(t *testing.T, talk talker)) {
	for name, sent := range map[string]bool{"sent by exchange": false, "sent at once": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				test(t, func(ctx context.Context, script func(conn net.Conn, head *http.Request)) (*Answer, error) {
					return talk(t, ctx, sent, script)
				})
			})
		})
	}
}

type talker func(ctx context.Context, script func(conn net.Conn, head *http.Request)) (*Answer, error)

// talk makes a handshake over a pipe whose other end answers by a script.
func talk(t *testing.T, ctx context.Context, sent bool, script func(conn net.Conn, head *http.Request)) (*Answer, error) {
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
	key := NewKey()
	head, err := AppendHead(nil, r, key)
	if err != nil {
		t.Fatalf("writing our handshake: %v", err)
	}
	if sent {
		if _, err := near.Write(head); err != nil {
			t.Fatal(err)
		}
		head = nil
	}
	return Exchange(ctx, r, near, head, key, time.Now().Add(10*time.Second), 0)
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
		rest, _ := io.ReadAll(a.Conn)
		if got := string(a.Early) + string(rest); got != "\x81\x02hi\x81\x03you" {
			t.Errorf("got %q", got)
		}
		_ = a.Conn.Close()
	})
}

func TestInterimResponsesArePassedOver(t *testing.T) {
	t.Parallel()
	bothWays(t, func(t *testing.T, talk talker) {
		a, err := talk(t.Context(), func(conn net.Conn, head *http.Request) {
			_, _ = io.WriteString(conn, "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n")
			switchProtocols(conn, head, "")
		})
		if err != nil || a.Conn == nil {
			t.Fatalf("got %v, %v", a, err)
		}
		_ = a.Conn.Close()
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
		if err != nil || a.Conn != nil {
			t.Fatalf("got %+v, %v", a, err)
		}
		body, _ := io.ReadAll(a.Res.Body)
		if a.Res.StatusCode != http.StatusForbidden || string(body) != "go away!\n" {
			t.Errorf("got %d %q", a.Res.StatusCode, body)
		}
		_ = a.Res.Body.Close()
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
		"closes before it answers": {say(""), ErrDropped},
		"closes in its status":     {say("HTTP/1.1 1"), ErrDropped},
		"closes in its answer":     {say("HTTP/1.1 101 Switch"), ErrDropped},
		"closes after a hint":      {say("HTTP/1.1 103 Early Hints\r\n\r\n"), ErrDropped},
		"silent": {func(conn net.Conn, _ *http.Request) {
			_, _ = conn.Read(make([]byte, 1))
		}, ErrSilent},
		"not HTTP":        {say("SSH-2.0-OpenSSH_9.2\r\n\r\n"), ErrInvalid},
		"endless head":    {say(long), ErrInvalid},
		"endless hints":   {say(strings.Repeat("HTTP/1.1 103 Early Hints\r\n\r\n", 10)), ErrInvalid},
		"no accept":       {say("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"), ErrInvalid},
		"only the status": {say("HTTP/1.1 101 Switching Protocols\r\n\r\n"), ErrInvalid},
		"stops in its head": {func(conn net.Conn, _ *http.Request) {
			_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: ")
			_, _ = conn.Read(make([]byte, 1))
		}, ErrSilent},
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

func say(text string) func(net.Conn, *http.Request) {
	return func(conn net.Conn, _ *http.Request) { _, _ = io.WriteString(conn, text) }
}

func switchProtocols(conn net.Conn, head *http.Request, more string) {
	_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
		"Sec-WebSocket-Accept: "+Accept(head.Header.Get("Sec-WebSocket-Key"))+"\r\n\r\n"+more)
}
