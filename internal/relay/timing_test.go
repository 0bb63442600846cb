package relay

import (
	"errors"
	"io"
	"net"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wsgateway/caddy-ws-gateway/internal/bubble"
)

// The rules of time, on in-memory conns. A synctest bubble also fails if any
// goroutine outlives the test.

func TestPeerCloseCompletesHandshake(t *testing.T) {
	t.Parallel()
	for _, by := range []Party{Client, Upstream} {
		t.Run(by.String(), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				f := onPipes(Config{})
				f.run()
				first, second := f.client, f.upstream
				if by == Upstream {
					first, second = second, first
				}
				begin := time.Now()
				hello := maskedClose(4001, "done")
				go func() { _, _ = first.Write(hello) }()
				mustRead(t, second, hello)

				mustWriteAsync(t, second, text("still on its way"), first)
				bubble.Elapse(3 * time.Second)
				reply := closeFrame(4002, "yes")
				mustWriteAsync(t, second, reply, first)
				wantEOF(t, first)
				wantEOF(t, second)
				wantEnd(t, f.end(t), by, 4001, "done")
				if took := time.Since(begin); took != 3*time.Second {
					t.Errorf("closed after %v, want at the reply after 3s", took)
				}
			})
		})
	}
}

// mustWriteAsync writes p at one end while it is read and compared at the other.
func mustWriteAsync(tb testing.TB, from io.Writer, p []byte, to io.Reader) {
	tb.Helper()
	done := make(chan error, 1)
	go func() {
		_, err := from.Write(p)
		done <- err
	}()
	mustRead(tb, to, p)
	if err := <-done; err != nil {
		tb.Fatalf("writing: %v", err)
	}
}

func TestPeerCloseWithoutReplyIsBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := onPipes(Config{CloseTimeout: 7 * time.Second})
		f.run()
		begin := time.Now()
		go func() { _, _ = f.client.Write(maskedClose(1000, "")) }()
		mustReadClose(t, f.upstream, Close{1000, ""})
		wantEnd(t, f.end(t), Client, 1000, "")
		if took := time.Since(begin); took != 7*time.Second {
			t.Errorf("closed after %v, want 7s", took)
		}
	})
}

func TestPeerCloseThenEndOfTheOtherEndsAtOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := onPipes(Config{})
		f.run()
		begin := time.Now()
		go func() { _, _ = f.client.Write(maskedClose(1001, "leaving")) }()
		mustReadClose(t, f.upstream, Close{1001, "leaving"})
		f.upstream.Close()
		wantEOF(t, f.client)
		wantEnd(t, f.end(t), Client, 1001, "leaving")
		if took := time.Since(begin); took != 0 {
			t.Errorf("closed after %v, want at once", took)
		}
	})
}

func TestNothingFollowsACloseFrame(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := onPipes(Config{})
		f.run()
		got := record(f.upstream)
		sent := append(maskedText("last words"), maskedClose(1000, "")...)
		junk := append(maskedText("and another thing"), sent...)
		mustWrite(t, f.client, append(slices.Clip(sent), junk...))
		mustWrite(t, f.client, junk) // is read, so that the peer does not stall
		f.client.Close()
		o := f.end(t)
		if r := <-got; string(r.data) != string(sent) {
			t.Errorf("the upstream got %q, want %q", r.data, sent)
		}
		if o.FromClient.Closes != 1 || o.FromClient.Text != 1 {
			t.Errorf("counted %+v, want 1 text and 1 close", o.FromClient)
		}
	})
}

// brokenConn fails as told; otherwise it is the conn within.
type brokenConn struct {
	net.Conn
	readErr, writeErr chan error
}

func (b *brokenConn) Read(p []byte) (int, error) {
	got := make(chan recording, 1)
	go func() {
		n, err := b.Conn.Read(p)
		got <- recording{p[:n], err}
	}()
	select {
	case err := <-b.readErr:
		_ = b.SetReadDeadline(time.Unix(1, 0))
		<-got
		return 0, err
	case r := <-got:
		return len(r.data), r.err
	}
}

func (b *brokenConn) Write(p []byte) (int, error) {
	select {
	case err := <-b.writeErr:
		return 0, err
	default:
		return b.Conn.Write(p)
	}
}

// onBroken is onPipes with a client that the test can break.
func onBroken(c Config) (*fixture, *brokenConn) {
	f := onPipes(c)
	b := &brokenConn{f.Relay.client.conn.(net.Conn), make(chan error, 1), make(chan error, 1)}
	f.Relay.client.conn = b
	return f, b
}

var errReset = errors.New("connection reset")

func TestVanishedClientGivesUpstream1011(t *testing.T) {
	t.Parallel()
	for _, answers := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			f, broken := onBroken(Config{})
			f.run()
			mustWriteAsync(t, f.client, maskedText("hi"), f.upstream)
			begin := time.Now()
			broken.readErr <- errReset
			mustReadClose(t, f.upstream, Close{1011, "client vanished"})
			want := 5 * time.Second
			if answers {
				want = 0
				mustWrite(t, f.upstream, text("dropped"))
				mustWrite(t, f.upstream, closeFrame(1011, ""))
			}
			wantEnd(t, f.end(t), Client, 1011, "client vanished")
			if took := time.Since(begin); took != want {
				t.Errorf("answer %v: closed after %v, want %v", answers, took, want)
			}
			wantEOF(t, f.upstream)
		})
	}
}

func TestFailedWriteToClientGivesUpstream1011(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f, broken := onBroken(Config{})
		f.run()
		broken.writeErr <- errReset
		begin := time.Now()
		mustWrite(t, f.upstream, text("hi"))
		mustReadClose(t, f.upstream, Close{1011, "client vanished"})
		mustWrite(t, f.upstream, closeFrame(1011, ""))
		wantEnd(t, f.end(t), Client, 1011, "client vanished")
		if took := time.Since(begin); took != defaultLingerTimeout {
			t.Errorf("closed after %v, want %v, in which the client might have said why", took, defaultLingerTimeout)
		}
	})
}

func TestVanishingInsideAFrameJustClosesTheOther(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f, broken := onBroken(Config{})
		f.run()
		part := maskedText("cut short")[:9]
		mustWriteAsync(t, f.client, part, f.upstream)
		begin := time.Now()
		broken.readErr <- errReset
		wantEOF(t, f.upstream)
		wantEnd(t, f.end(t), Client, 1011, "client vanished")
		if took := time.Since(begin); took != 0 {
			t.Errorf("closed after %v, want at once", took)
		}
	})
}

func TestStoppedReaderIsGivenUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := onPipes(Config{WriteTimeout: 20 * time.Second})
		f.run()
		begin := time.Now()
		mustWrite(t, f.client, maskedText("nobody reads this"))
		mustReadClose(t, f.client, Close{1012, "upstream stopped reading"})
		if took := time.Since(begin); took != 20*time.Second {
			t.Errorf("given up after %v, want 20s", took)
		}
		mustWrite(t, f.client, maskedText("dropped"))
		mustWrite(t, f.client, maskedClose(1012, ""))
		wantEnd(t, f.end(t), Upstream, 1012, "upstream stopped reading")
		if took := time.Since(begin); took != 20*time.Second {
			t.Errorf("closed after %v, want at the client's reply after 20s", took)
		}
	})
}

func TestSlowReaderThatMakesProgressIsNotGivenUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := onPipes(Config{WriteTimeout: 20 * time.Second})
		f.run()
		sent := maskedText("a byte in a quarter of a minute")
		go func() { _, _ = f.client.Write(sent) }()
		for i := range sent {
			bubble.Elapse(15 * time.Second)
			mustRead(t, f.upstream, sent[i:i+1])
		}
		f.End(Close{1001, ""}, Close{1001, ""})
		_ = f.client.Close()
		_ = f.upstream.Close()
		wantEnd(t, f.end(t), Gateway, 1001, "")
	})
}

func TestLiveConnectionHasNoTimer(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := onPipes(Config{WriteTimeout: time.Second})
		created := time.Now()
		bubble.Elapse(time.Minute)
		f.run()
		if at := f.LastActive(); !at.Equal(created) {
			t.Errorf("last active at %v before anything passed, want %v", at, created)
		}
		mustWriteAsync(t, f.client, maskedText("hi"), f.upstream)
		passed := time.Now()
		bubble.Elapse(24 * time.Hour)
		if at := f.LastActive(); !at.Equal(passed) {
			t.Errorf("last active at %v, want %v", at, passed)
		}
		f.mu.Lock()
		if f.ending != nil {
			t.Error("a live connection has a timer")
		}
		f.mu.Unlock()
		mustWriteAsync(t, f.upstream, text("ho"), f.client)
		_ = f.client.Close()
		_ = f.upstream.Close()
		f.end(t)
	})
}
