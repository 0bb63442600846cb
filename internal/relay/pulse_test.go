package relay

import (
	"io"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wsgateway/caddy-ws-gateway/internal/bubble"
	"github.com/wsgateway/caddy-ws-gateway/internal/wsframe"
)

// readPing reads a ping of ours, and returns the pong that answers it.
func readPing(tb testing.TB, c io.Reader) (pong []byte) {
	tb.Helper()
	b := make([]byte, 2+pingPayload)
	if _, err := io.ReadFull(c, b); err != nil {
		tb.Fatalf("reading a ping: %v", err)
	}
	if b[0] != 0x89 || b[1] != pingPayload {
		tb.Fatalf("read % x, want a ping", b)
	}
	return frame(wsframe.Pong, true, b[2:])
}

// end has both peers leave.
func leave(f *fixture) {
	f.client.Close()
	f.upstream.Close()
}

func TestPongsToOurPingsAreSwallowed(t *testing.T) {
	t.Parallel()
	theirs := frame(wsframe.Pong, true, []byte("someone "))
	for way, start := range ways {
		t.Run(way, func(t *testing.T) {
			t.Parallel()
			var told atomic.Int64
			f := start(t, Config{Policy: &Policy{PingInterval: 20 * time.Millisecond, PingTimeout: time.Minute, Answered: func(rtt time.Duration) {
				told.Store(int64(rtt))
			}}})
			ours := readPing(t, f.client)
			mustWrite(t, f.client, slices.Concat(maskedText("before"), ours, maskedText("between"), ours, theirs, ours[:5]))
			mustRead(t, f.upstream, slices.Concat(maskedText("before"), maskedText("between"), theirs))
			mustWrite(t, f.client, append(ours[5:], maskedText("behind")...))
			mustRead(t, f.upstream, maskedText("behind"))
			readPing(t, f.client)
			if last, smoothed := f.RTT(); last <= 0 || smoothed <= 0 || time.Duration(told.Load()) != last {
				t.Errorf("RTT() = %v, %v, and %v was told", last, smoothed, time.Duration(told.Load()))
			}
			mustWrite(t, f.client, maskedClose(1000, ""))
			mustWrite(t, f.upstream, closeFrame(1000, ""))
			if o := f.end(t); o.FromClient.Pongs != 1 || o.FromClient.Text != 3 || o.RTT <= 0 || o.Idle {
				t.Errorf("ended with %+v, want what has passed, and the mean RTT", o)
			}
		})
	}
}

// TestPingsGoBetweenFrames has a frame under way when a ping is due.
func TestPingsGoBetweenFrames(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := onPipes(Config{Policy: &Policy{PingInterval: 10 * time.Second, PingTimeout: 3 * time.Second}})
		f.run()
		first, second := text("in two parts"), text("next")
		mustWriteAsync(t, f.upstream, first[:5], f.client)
		bubble.Elapse(time.Minute)
		go func() { _, _ = f.upstream.Write(append(first[5:], second...)) }()
		mustRead(t, f.client, first[5:])
		pong := readPing(t, f.client)
		mustRead(t, f.client, second)
		mustWrite(t, f.client, pong)
		bubble.Elapse(9 * time.Second)
		leave(f)
		f.end(t)
	})
}

func TestClientsThatAreNotThereAreFound(t *testing.T) {
	t.Parallel()
	const interval, timeout = 10 * time.Second, 3 * time.Second
	tests := map[string]struct {
		says  func(t *testing.T, f *fixture) // after each second from the first ping on
		found time.Duration                  // after the first ping
	}{
		"silent":                       {nil, timeout},
		"busy, and too busy to answer": {func(t *testing.T, f *fixture) { mustWriteAsync(t, f.client, maskedText("hello"), f.upstream) }, timeout * (1 + maxMisses)},
		"held back by its upstream":    {nil, 0},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				f := onPipes(Config{Policy: &Policy{PingInterval: interval, PingTimeout: timeout}, WriteTimeout: time.Minute})
				f.run()
				readPing(t, f.client)
				begin := time.Now()
				stop := make(chan struct{})
				go func() { // it takes what comes
					defer close(stop)
					_, _ = io.Copy(io.Discard, f.client)
				}()
				if tt.found == 0 {
					go func() { _, _ = f.client.Write(maskedText("not taken")) }()
				}
				for range 40 {
					if tt.says != nil {
						tt.says(t, f)
					}
					bubble.Elapse(time.Second)
					if f.over() {
						break
					}
				}
				took := time.Since(begin).Truncate(time.Second)
				if tt.found == 0 {
					if f.over() {
						t.Fatalf("ended after %v", took)
					}
					leave(f)
					f.end(t)
					return
				}
				if took < tt.found || took > tt.found+time.Second {
					t.Errorf("found after %v, want %v", took, tt.found)
				}
				mustReadClose(t, f.upstream, Close{1011, "client stopped answering"})
				leave(f)
				<-stop
				wantEnd(t, f.end(t), Client, 1011, "client stopped answering")
			})
		})
	}
}

func (f *fixture) over() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.ending != nil
}

func TestIdleConnectionsEnd(t *testing.T) {
	t.Parallel()
	for way, start := range ways {
		t.Run(way, func(t *testing.T) {
			t.Parallel()
			f := start(t, Config{Policy: &Policy{IdleTimeout: 50 * time.Millisecond}})
			want := Close{1001, "idle for too long"}
			mustReadClose(t, f.client, want)
			mustReadClose(t, f.upstream, want)
			leave(f)
			o := f.end(t)
			wantEnd(t, o, Gateway, want.Code, want.Reason)
			if !o.Idle {
				t.Error("the outcome does not say that it was idle")
			}
		})
	}
}

func TestOnlyMessagesKeepAConnectionFromBeingIdle(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		says  func(t *testing.T, f *fixture)
		stays bool
	}{
		"nothing": {func(*testing.T, *fixture) {}, false},
		"pings": {func(t *testing.T, f *fixture) {
			mustWriteAsync(t, f.upstream, frame(wsframe.Ping, false, nil), f.client)
		}, false},
		"messages": {func(t *testing.T, f *fixture) { mustWriteAsync(t, f.upstream, text("hello"), f.client) }, true},
		"the parts of a message": {func(t *testing.T, f *fixture) {
			mustWriteAsync(t, f.client, part(wsframe.Continuation, true, false, "and"), f.upstream)
		}, true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				f := onPipes(Config{Policy: &Policy{IdleTimeout: 10 * time.Second}})
				f.run()
				for range 9 {
					tt.says(t, f)
					bubble.Elapse(time.Second)
				}
				tt.says(t, f)
				bubble.Elapse(2 * time.Second)
				if f.over() == tt.stays {
					t.Errorf("it ended: %v, want %v", f.over(), !tt.stays)
				}
				leave(f)
				f.end(t)
			})
		})
	}
}

// TestClientIsFoundGoneWhosePingHadToWait has a ping wait for the end of a frame.
func TestClientIsFoundGoneWhosePingHadToWait(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := onPipes(Config{Policy: &Policy{PingInterval: 10 * time.Second, PingTimeout: 3 * time.Second}})
		f.run()
		message := text("in two parts")
		mustWriteAsync(t, f.upstream, message[:5], f.client)
		bubble.Elapse(time.Minute)
		go func() { _, _ = f.upstream.Write(message[5:]) }()
		mustRead(t, f.client, message[5:])
		readPing(t, f.client)
		bubble.Elapse(time.Hour)
		if !f.over() {
			t.Error("the client never answers the ping, and the connection lives on")
		}
		leave(f)
		f.end(t)
	})
}
