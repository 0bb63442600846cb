package relay

import (
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wsgateway/caddy-ws-gateway/internal/bubble"
)

var (
	restart   = Close{1012, "service restart"}
	goingAway = Close{1001, "going away"}
)

func TestEndTellsBothAndWaitsForTheirReplies(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := onPipes(Config{})
		f.run()
		mustWriteAsync(t, f.client, maskedText("hi"), f.upstream)
		begin := time.Now()
		f.End(restart, goingAway)
		mustReadClose(t, f.client, restart)
		mustReadClose(t, f.upstream, goingAway)

		mustWrite(t, f.upstream, append(text("dropped"), closeFrame(1001, "")...))
		mustWrite(t, f.client, maskedText("dropped as well"))
		bubble.Elapse(2 * time.Second)
		mustWrite(t, f.client, maskedClose(1012, ""))
		wantEOF(t, f.client)
		wantEOF(t, f.upstream)

		o := f.end(t)
		wantEnd(t, o, Gateway, restart.Code, restart.Reason)
		if took := time.Since(begin); took != 2*time.Second {
			t.Errorf("closed after %v, want at the last reply after 2s", took)
		}
		if f.ending.timer.Stop() {
			t.Error("the timer is still running")
		}
		if o.FromClient.Text != 2 || o.FromClient.Closes != 1 || o.FromUpstream.Text != 1 || o.FromUpstream.Closes != 1 {
			t.Errorf("counted %+v and %+v", o.FromClient, o.FromUpstream)
		}
	})
}

func TestEndFramesToTheUpstreamAreMasked(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := onPipes(Config{CloseTimeout: time.Second})
		toClient, toUpstream := record(f.client), record(f.upstream)
		f.run()
		f.End(restart, goingAway)
		f.end(t)
		if got := (<-toClient).data; got[1]&0x80 != 0 {
			t.Error("the client's close frame is masked")
		}
		if got := (<-toUpstream).data; got[1]&0x80 == 0 {
			t.Error("the upstream's close frame is not masked")
		}
	})
}

func TestEndIsBoundedByCloseTimeout(t *testing.T) {
	t.Parallel()
	tests := map[string]func(t *testing.T, f *fixture){
		"nobody reads":   func(*testing.T, *fixture) {},
		"nobody replies": func(t *testing.T, f *fixture) { record(f.client); record(f.upstream) },
		"frame unfinished": func(t *testing.T, f *fixture) {
			mustWriteAsync(t, f.client, maskedText("cut short")[:9], f.upstream)
		},
		"write stalled": func(t *testing.T, f *fixture) {
			mustWrite(t, f.client, maskedText("nobody reads this"))
			synctest.Wait()
		},
	}
	for name, prepare := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				f := onPipes(Config{CloseTimeout: 3 * time.Second, WriteTimeout: time.Minute})
				f.run()
				prepare(t, f)
				begin := time.Now()
				f.End(restart, goingAway)
				if took := time.Since(begin); took != 0 {
					t.Errorf("End took %v", took)
				}
				wantEnd(t, f.end(t), Gateway, restart.Code, restart.Reason)
				if took := time.Since(begin); took != 3*time.Second {
					t.Errorf("closed after %v, want 3s", took)
				}
			})
		})
	}
}

func TestEndGivesUpEarlyOnAPeerThatDoesNotRead(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := onPipes(Config{CloseTimeout: time.Minute, WriteTimeout: 2 * time.Second})
		f.run()
		begin := time.Now()
		f.End(restart, goingAway)
		mustReadClose(t, f.upstream, goingAway)
		mustWrite(t, f.upstream, closeFrame(1001, ""))
		wantEnd(t, f.end(t), Gateway, restart.Code, restart.Reason)
		if took := time.Since(begin); took != 2*time.Second {
			t.Errorf("closed after %v, want after the write timeout of 2s", took)
		}
	})
}

// A timer that has fired may have to wait for the lock while it is armed anew.
func TestTimerThatFiredTooEarlyIsSetAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := onPipes(Config{CloseTimeout: 3 * time.Second})
		f.run()
		begin := time.Now()
		f.End(restart, goingAway)
		bubble.Elapse(time.Second)
		f.timeUp()
		f.end(t)
		if took := time.Since(begin); took != 3*time.Second {
			t.Errorf("closed after %v, want 3s", took)
		}
	})
}

func TestPartyString(t *testing.T) {
	t.Parallel()
	for p, want := range map[Party]string{Client: "client", Upstream: "upstream", Gateway: "gateway", 9: "unknown"} {
		if got := p.String(); got != want {
			t.Errorf("Party(%d) is %q, want %q", p, got, want)
		}
	}
}

func TestEndWaitsForTheEndOfTheFrame(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := onPipes(Config{})
		f.run()
		first, next := maskedText("in two parts"), maskedText("dropped")
		mustWriteAsync(t, f.client, first[:10], f.upstream)
		f.End(restart, goingAway)
		mustReadClose(t, f.client, restart)
		synctest.Wait()

		go func() { _, _ = f.client.Write(append(first[10:len(first):len(first)], next...)) }()
		mustRead(t, f.upstream, first[10:])
		mustReadClose(t, f.upstream, goingAway)
		_ = f.upstream.Close()
		_ = f.client.Close()
		wantEnd(t, f.end(t), Gateway, restart.Code, restart.Reason)
	})
}

func TestEndIsOverWhenTheUnfinishedFrameCannotBeFinished(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := onPipes(Config{})
		f.run()
		mustWriteAsync(t, f.client, maskedText("cut short")[:9], f.upstream)
		f.End(restart, goingAway)
		mustReadClose(t, f.client, restart)
		begin := time.Now()
		_ = f.client.Close()
		wantEOF(t, f.upstream)
		wantEnd(t, f.end(t), Gateway, restart.Code, restart.Reason)
		if took := time.Since(begin); took != 0 {
			t.Errorf("closed after %v, want at once", took)
		}
	})
}

func TestEndBeforeRun(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := onPipes(Config{EarlyFromClient: maskedText("dropped")})
		f.End(restart, goingAway)
		f.End(Close{1000, "too late"}, Close{1000, "too late"})
		bubble.Elapse(time.Hour) // must not count: the conns may still be in their handshakes
		toClient, toUpstream := record(f.client), record(f.upstream)
		synctest.Wait()
		if len(toClient)+len(toUpstream) != 0 {
			t.Fatal("the conns were closed before Run")
		}
		begin := time.Now()
		f.run()
		mustWrite(t, f.client, maskedClose(1012, ""))
		mustWrite(t, f.upstream, closeFrame(1001, ""))
		wantEnd(t, f.end(t), Gateway, restart.Code, restart.Reason)
		if took := time.Since(begin); took != 0 {
			t.Errorf("closed after %v, want at the replies", took)
		}
		for c, got := range map[Close][]byte{restart: (<-toClient).data, goingAway: (<-toUpstream).data} {
			if before, closed := closeOf(t, got); closed != c || len(before) != 0 {
				t.Errorf("got %q and then %+v, want only %+v", before, closed, c)
			}
		}
	})
}

func TestPeerCloseWinsOverEnd(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := onPipes(Config{})
		f.run()
		hello := maskedClose(1000, "mine")
		mustWrite(t, f.client, hello) // read by the relay, and not yet by the upstream
		synctest.Wait()
		f.End(restart, goingAway)
		mustRead(t, f.upstream, hello)
		mustWriteAsync(t, f.upstream, closeFrame(1000, "mine"), f.client)
		wantEOF(t, f.client)
		wantEOF(t, f.upstream)
		wantEnd(t, f.end(t), Client, 1000, "mine")
	})
}

func TestFirstEndWins(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := onPipes(Config{CloseTimeout: time.Second})
		toClient, toUpstream := record(f.client), record(f.upstream)
		f.run()
		var enders sync.WaitGroup
		for i := range 100 {
			enders.Go(func() { f.End(Close{4000 + i, "client"}, Close{4000 + i, "upstream"}) })
		}
		enders.Wait()
		o := f.end(t)
		_, c := closeOf(t, (<-toClient).data)
		_, u := closeOf(t, (<-toUpstream).data)
		if c.Code != o.Code || u.Code != o.Code || o.By != Gateway {
			t.Errorf("outcome %+v, client got %+v, upstream got %+v: want one and the same code", o, c, u)
		}
		f.End(restart, goingAway) // long over
	})
}

// strictConn notices a Close that comes twice or during a Write.
type strictConn struct {
	net.Conn
	writing, closes, disturbed atomic.Int32
}

func (s *strictConn) Write(p []byte) (int, error) {
	if s.writing.Add(1) != 1 {
		s.disturbed.Add(1)
	}
	defer s.writing.Add(-1)
	return s.Conn.Write(p)
}

func (s *strictConn) Close() error {
	s.closes.Add(1)
	if s.writing.Load() != 0 {
		s.disturbed.Add(1)
	}
	return s.Conn.Close()
}

func TestConnsAreClosedOnceAndNotDuringWrites(t *testing.T) {
	t.Parallel()
	ends := map[string]func(f *fixture){
		"client closes":   func(f *fixture) { _, _ = f.client.Write(maskedClose(1000, "")) },
		"client vanishes": func(f *fixture) { _ = f.client.Close() },
		"upstream gone":   func(f *fixture) { _ = f.upstream.Close() },
		"both vanish":     func(f *fixture) { _ = f.client.Close(); _ = f.upstream.Close() },
		"gateway":         func(f *fixture) { f.End(restart, goingAway) },
		"all at once": func(f *fixture) {
			go f.End(restart, goingAway)
			go func() { _ = f.upstream.Close() }()
			_, _ = f.client.Write(maskedClose(1000, ""))
		},
	}
	for name, end := range ends {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				f := onPipes(Config{})
				client := &strictConn{Conn: f.Relay.client.conn.(net.Conn)}
				upstream := &strictConn{Conn: f.Relay.upstream.conn.(net.Conn)}
				f.Relay.client.conn, f.Relay.upstream.conn = client, upstream
				f.run()
				go answer(f.upstream, false)
				mustWrite(t, f.client, maskedText("hi"))
				mustRead(t, f.client, text("hi"))
				go answer(f.client, true)
				end(f)
				f.end(t)
				for party, c := range map[Party]*strictConn{Client: client, Upstream: upstream} {
					if c.closes.Load() != 1 || c.disturbed.Load() != 0 {
						t.Errorf("%v: closed %d times, %d times during a write or with two writers",
							party, c.closes.Load(), c.disturbed.Load())
					}
				}
				_ = f.client.Close()
				_ = f.upstream.Close()
			})
		})
	}
}

// answer plays a peer that says "hi" to every text and answers a close frame,
// each of which comes in a Read of its own.
func answer(c io.ReadWriter, masked bool) {
	p := make([]byte, 1024)
	for {
		n, err := c.Read(p)
		switch {
		case err != nil:
			return
		case n > 0 && p[0]&0x0F == 8 && masked:
			_, _ = c.Write(maskedClose(1000, ""))
		case n > 0 && p[0]&0x0F == 8:
			_, _ = c.Write(closeFrame(1000, ""))
		case !masked:
			_, _ = c.Write(text("hi"))
		}
	}
}
