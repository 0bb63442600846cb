package relay

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wsgateway/caddy-ws-gateway/internal/bubble"
	"github.com/wsgateway/caddy-ws-gateway/internal/wsframe"
)

var lastWords = flag.Int("lastwords", 30, "rounds of each way in which a side closes with data unread")

// TestCloseCodeOfASideThatLeavesDataUnreadArrives has a side say why it closes and
// close at once, while the other goes on sending. What comes back for that is a
// reset, and writing to that side fails, before or after the close frame is read.
func TestCloseCodeOfASideThatLeavesDataUnreadArrives(t *testing.T) {
	t.Parallel()
	bothTLS := func(tb testing.TB, c Config) *fixture {
		f := onTLS(tb, c)
		f.upstream, f.Relay.upstream.conn = secure(tb, f.upstream, f.Relay.upstream.conn.(net.Conn), 0)
		return f
	}
	onWrapped := func(tb testing.TB, c Config) *fixture {
		f := onTCP(tb, c)
		f.Relay.client.conn = wrapped{f.Relay.client.conn.(net.Conn)}
		f.Relay.upstream.conn = wrapped{f.Relay.upstream.conn.(net.Conn)}
		return f
	}
	loop, goroutines := (*fixture).run, (*fixture).runOnGoroutines
	for name, how := range map[string]struct {
		open func(testing.TB, Config) *fixture
		run  func(*fixture)
	}{
		"loop/plain":         {onTCP, loop},
		"loop/TLS":           {bothTLS, loop},
		"goroutines/plain":   {onTCP, goroutines},
		"goroutines/TLS":     {bothTLS, goroutines},
		"goroutines/wrapped": {onWrapped, goroutines},
	} {
		for _, by := range []Party{Client, Upstream} {
			t.Run(fmt.Sprintf("%s/%v", name, by), func(t *testing.T) {
				t.Parallel()
				lost := 0
				for round := range *lastWords {
					f := how.open(t, Config{WriteTimeout: time.Minute})
					how.run(f)
					if err := leaveUnread(f, by, Close{4000 + round%1000, fmt.Sprintf("round %d", round)}); err != nil {
						lost++
						t.Log(err)
					}
				}
				if lost > 0 {
					t.Errorf("%d of %d close frames were lost", lost, *lastWords)
				}
			})
		}
	}
}

// leaveUnread closes one side as the other floods it, and wants the other, and
// the outcome, to say why.
func leaveUnread(f *fixture, by Party, why Close) error {
	leaver, stayer := f.client, f.upstream
	if by == Upstream {
		leaver, stayer = stayer, leaver
	}
	flooded := make(chan struct{})
	go func() {
		defer close(flooded)
		message := frame(wsframe.Binary, by == Upstream, make([]byte, 2000))
		for {
			if _, err := stayer.Write(message); err != nil {
				return
			}
		}
	}()
	last := closeFrame(why.Code, why.Reason)
	if by == Client {
		last = maskedClose(why.Code, why.Reason)
	}
	_, err := io.ReadFull(leaver, make([]byte, 50_000))
	if _, failed := leaver.Write(last); err == nil {
		err = failed
	}
	_ = beneath(leaver).Close()
	var got wsframe.Scanner
	p := make([]byte, 4096)
	for !got.Closed() && err == nil {
		var n int
		n, err = stayer.Read(p)
		got.Scan(p[:n])
	}
	code, reason, _ := got.Close()
	_ = beneath(stayer).Close()
	<-flooded
	o := <-f.outcome
	switch {
	case err != nil && !got.Closed():
		return fmt.Errorf("waiting for the close frame: %w", err)
	case code != why.Code || reason != why.Reason:
		return fmt.Errorf("got %d %q, want %v", code, reason, why)
	case o.By != by || o.Code != why.Code || o.Reason != why.Reason:
		return fmt.Errorf("ended by %v with %d %q, want by %v with %v", o.By, o.Code, o.Reason, by, why)
	}
	return nil
}

var errOdd = errors.New("some stream's")

var lastWordsOfAClient = map[string]struct {
	err    error
	play   func(t *testing.T, f *fixture)
	by     Party
	code   int
	reason string
	after  time.Duration
}{
	"a message and a close frame": {errOdd, func(t *testing.T, f *fixture) {
		mustWriteAsync(t, f.client, maskedText("one more"), f.upstream)
		mustWriteAsync(t, f.client, maskedClose(4001, "why"), f.upstream)
		mustWrite(t, f.upstream, closeFrame(4001, ""))
	}, Client, 4001, "why", 0},
	"a close frame after a while": {errOdd, func(t *testing.T, f *fixture) {
		for range 5 {
			bubble.Elapse(defaultLingerTimeout - 1)
			mustWriteAsync(t, f.client, maskedText("one more"), f.upstream)
		}
		mustWriteAsync(t, f.client, maskedClose(4001, "why"), f.upstream)
		_ = f.upstream.Close()
	}, Client, 4001, "why", 5 * (defaultLingerTimeout - 1)},
	"a message and the end": {syscall.EPIPE, func(t *testing.T, f *fixture) {
		mustWriteAsync(t, f.client, maskedText("one more"), f.upstream)
		_ = f.client.Close()
		mustReadClose(t, f.upstream, Close{1011, "client vanished"})
		_ = f.upstream.Close()
	}, Client, 1011, "client vanished", 0},
	"the beginning of a message": {syscall.EPIPE, func(t *testing.T, f *fixture) {
		mustWriteAsync(t, f.client, maskedText("cut short")[:9], f.upstream)
		_ = f.client.Close()
		wantEOF(t, f.upstream)
	}, Client, 1011, "client vanished", 0},
	"nothing": {errOdd, func(t *testing.T, f *fixture) {
		mustReadClose(t, f.upstream, Close{1011, "client vanished"})
		_ = f.upstream.Close()
	}, Client, 1011, "client vanished", defaultLingerTimeout},
	"nothing from a socket that never ends": {syscall.EPIPE, func(t *testing.T, f *fixture) {
		mustReadClose(t, f.upstream, Close{1011, "client vanished"})
		_ = f.upstream.Close()
	}, Client, 1011, "client vanished", defaultCloseTimeout},
	"messages for ever":                            {errOdd, speakForEver, Client, 1011, "client vanished", maxLinger},
	"much, to an upstream that is slow to take it": {syscall.ECONNRESET, takeSlowly, Client, 4001, "why", 30 * time.Second},
	"a close frame that the upstream does not take": {syscall.ECONNRESET, func(t *testing.T, f *fixture) {
		go func() { _, _ = f.client.Write(append(maskedText("one more"), maskedClose(4001, "why")...)) }()
		synctest.Wait()
		_ = f.upstream.Close()
		_, _ = f.client.Read(make([]byte, 1))
	}, Client, 4001, "why", 0},
	"what comes when the upstream has closed too": {syscall.ECONNRESET, func(t *testing.T, f *fixture) {
		mustWrite(t, f.upstream, closeFrame(4002, "too late"))
		mustWriteAsync(t, f.client, maskedClose(4001, "why"), f.upstream)
	}, Client, 4001, "why", 0},
	"the gateway's, which ends it meanwhile": {syscall.ECONNRESET, func(t *testing.T, f *fixture) {
		f.End(restart, goingAway)
		mustReadClose(t, f.upstream, goingAway)
		_ = f.upstream.Close()
		_ = f.client.Close()
	}, Gateway, restart.Code, restart.Reason, 0},
}

// speakForEver has the client send more and more.
func speakForEver(t *testing.T, f *fixture) {
	t.Helper()
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		for err := error(nil); err == nil; bubble.Elapse(defaultLingerTimeout / 2) {
			_, err = f.client.Write(maskedText("one more"))
		}
	}()
	t.Cleanup(func() { <-stopped })
	var got wsframe.Scanner
	for p := make([]byte, 512); !got.Closed(); {
		n, err := f.upstream.Read(p)
		if err != nil {
			t.Fatal(err)
		}
		got.Scan(p[:n])
	}
	_ = f.upstream.Close()
}

// takeSlowly has the upstream take ten bytes a second.
func takeSlowly(t *testing.T, f *fixture) {
	t.Helper()
	much := frame(wsframe.Binary, true, make([]byte, 300))
	go func() {
		_, _ = f.client.Write(much)
		_, _ = f.client.Write(maskedClose(4001, "why"))
	}()
	for range len(much) / 10 {
		bubble.Elapse(time.Second)
		if _, err := io.ReadFull(f.upstream, make([]byte, 10)); err != nil {
			t.Fatal(err)
		}
	}
	_, _ = io.ReadFull(f.upstream, make([]byte, len(much)%10))
	mustReadClose(t, f.upstream, Close{4001, "why"})
	_ = f.upstream.Close()
}

// TestLastWordsOfASideThatTakesNoMore has writing to the client fail while it can
// still be read from.
func TestLastWordsOfASideThatTakesNoMore(t *testing.T) {
	t.Parallel()
	for name, tt := range lastWordsOfAClient {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				f, broken := onBroken(Config{WriteTimeout: 20 * time.Second})
				f.run()
				broken.writeErr <- tt.err
				mustWrite(t, f.upstream, text("cannot be written"))
				synctest.Wait()
				begin := time.Now()
				tt.play(t, f)
				wantEnd(t, f.end(t), tt.by, tt.code, tt.reason)
				if took := time.Since(begin); took != tt.after {
					t.Errorf("over after %v, want %v", took, tt.after)
				}
				_ = f.client.Close()
				_ = f.upstream.Close()
			})
		})
	}
}

// TestCloseFrameBehindDataReachesASlowReader has the close frame come in one piece
// with more than the other side takes within CloseTimeout.
func TestCloseFrameBehindDataReachesASlowReader(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		pause   time.Duration // before each ten bytes of 310
		arrives bool
		after   time.Duration
	}{
		"who takes something at times": {3 * time.Second, true, 31 * 3 * time.Second},
		"who takes nothing for long":   {time.Minute, false, 20 * time.Second},
		"who takes for ever":           {10 * time.Second, false, maxPassing},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				f := onPipes(Config{WriteTimeout: 20 * time.Second})
				f.run()
				much := frame(wsframe.Binary, false, make([]byte, 306))
				begin := time.Now()
				mustWrite(t, f.upstream, append(much, closeFrame(4001, "why")...))
				_ = f.upstream.Close()
				go func() {
					defer f.client.Close()
					for range len(much) / 10 {
						bubble.Elapse(tt.pause)
						if _, err := io.ReadFull(f.client, make([]byte, 10)); err != nil {
							return
						}
					}
					mustReadClose(t, f.client, Close{4001, "why"})
				}()
				wantEnd(t, <-f.outcome, Upstream, 4001, "why")
				if took := time.Since(begin); took != tt.after {
					t.Errorf("over after %v, want %v", took, tt.after)
				}
				bubble.Elapse(time.Minute)
			})
		})
	}
}

func TestCloseFrameBehindDataReachesASlowReaderOnSockets(t *testing.T) {
	t.Parallel()
	for name, open := range map[string]func(testing.TB, Config) *fixture{"tcp": onTCP, "tls": onTLS} {
		for i := range 8 { // what the kernel has room for when the last piece comes is a matter of luck
			t.Run(fmt.Sprintf("%s/%d", name, i), func(t *testing.T) {
				t.Parallel()
				f := open(t, Config{WriteTimeout: time.Minute, CloseTimeout: 20 * time.Millisecond})
				f.run()
				much := frame(wsframe.Binary, false, make([]byte, 8<<20+i*200_000))
				go func() {
					_, _ = f.upstream.Write(append(much, closeFrame(4001, "why")...))
					_ = f.upstream.Close()
				}()
				pause := time.NewTicker(3 * time.Millisecond)
				defer pause.Stop()
				var got wsframe.Scanner
				for p := make([]byte, 64<<10); !got.Closed(); <-pause.C {
					n, err := io.ReadFull(f.client, p)
					if got.Scan(p[:n]); err != nil && !got.Closed() {
						t.Fatalf("after %d bytes: %v", got.Counts().Bytes, err)
					}
				}
				_ = f.client.Close()
				wantEnd(t, f.end(t), Upstream, 4001, "why")
			})
		}
	}
}
