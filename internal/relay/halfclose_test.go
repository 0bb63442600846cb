package relay

import (
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wsgateway/caddy-ws-gateway/internal/bubble"
	"github.com/wsgateway/caddy-ws-gateway/internal/wsframe"
)

// halfClosedPipe is a pipe whose reader is at the end of the stream once told.
type halfClosedPipe struct {
	net.Conn
	ended chan struct{}
}

func (h *halfClosedPipe) Read(p []byte) (int, error) {
	select {
	case <-h.ended:
		return 0, io.EOF
	default:
	}
	stop := make(chan struct{})
	defer close(stop)
	go func() {
		select {
		case <-h.ended:
			_ = h.SetReadDeadline(time.Unix(1, 0))
		case <-stop:
		}
	}()
	n, err := h.Conn.Read(p)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		err = io.EOF
	}
	return n, err
}

// onHalfClosing is onPipes with a client that half-closes when told.
func onHalfClosing(c Config) (f *fixture, halfClose func()) {
	f = onPipes(c)
	h := &halfClosedPipe{f.Relay.client.conn.(net.Conn), make(chan struct{})}
	f.Relay.client.conn = h
	return f, func() { close(h.ended) }
}

func TestHalfCloseDeliversTheRestFirst(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f, halfClose := onHalfClosing(Config{LingerTimeout: time.Second})
		f.run()
		mustWriteAsync(t, f.client, maskedText("a question"), f.upstream)
		bubble.Elapse(time.Hour) // a long silence before the half-close does not count
		halfClose()
		begin := time.Now()
		for range 5 {
			bubble.Elapse(900 * time.Millisecond)
			mustWriteAsync(t, f.upstream, text("part of an answer"), f.client)
		}
		mustReadClose(t, f.upstream, Close{1011, "client vanished"})
		if took, want := time.Since(begin), 5500*time.Millisecond; took != want {
			t.Errorf("1011 came after %v, want %v", took, want)
		}
		mustWriteAsync(t, f.upstream, closeFrame(1011, "so it is"), f.client)
		wantEnd(t, f.end(t), Client, 1011, "client vanished")
		if took, want := time.Since(begin), 5500*time.Millisecond; took != want {
			t.Errorf("closed after %v, want %v", took, want)
		}
	})
}

func TestHalfCloseWaitsForASlowReader(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f, halfClose := onHalfClosing(Config{LingerTimeout: time.Second})
		f.run()
		halfClose()
		mustWrite(t, f.upstream, text("taken late"))
		begin := time.Now()
		told := make(chan time.Duration, 1)
		go func() {
			_, _ = f.upstream.Read(make([]byte, 256))
			told <- time.Since(begin)
		}()
		bubble.Elapse(5500 * time.Millisecond)
		mustRead(t, f.client, text("taken late"))
		if took, want := <-told, 6500*time.Millisecond; took != want {
			t.Errorf("1011 came after %v, want %v", took, want)
		}
		_ = f.upstream.Close()
		wantEnd(t, f.end(t), Client, 1011, "client vanished")
	})
}

func TestHalfCloseDoesNotLingerForEver(t *testing.T) {
	t.Parallel()
	for name, inside := range map[string]bool{"between frames": false, "inside a frame": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				f, halfClose := onHalfClosing(Config{})
				f.run()
				if inside {
					mustWriteAsync(t, f.client, maskedText("cut short")[:9], f.upstream)
				}
				halfClose()
				begin := time.Now()
				got := record(f.client)
				stopped := make(chan struct{})
				go func() {
					defer close(stopped)
					for {
						if _, err := f.upstream.Write(text("tick")); err != nil {
							return
						}
						bubble.Elapse(70 * time.Millisecond)
					}
				}()
				defer func() { <-stopped }()
				if inside {
					wantEOF(t, f.upstream)
				} else {
					mustReadClose(t, f.upstream, Close{1011, "client vanished"})
				}
				if took := time.Since(begin); took != maxLinger {
					t.Errorf("lingered for %v, want %v", took, maxLinger)
				}
				_ = f.upstream.Close()
				wantEnd(t, f.end(t), Client, 1011, "client vanished")
				var s wsframe.Scanner
				s.Scan((<-got).data)
				if n := s.Counts().Text; n < 140 || !s.AtBoundary() {
					t.Errorf("the client got %d ticks of about 143, whole frames: %v", n, s.AtBoundary())
				}
			})
		})
	}
}

func TestHalfCloseEndsWithTheOtherSide(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		last  []byte // what the upstream says
		stays bool   // and whether it then waits for an answer
	}{
		"end of stream": {last: text("bye")},
		"close frame":   {last: closeFrame(1000, "bye"), stays: true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				f, halfClose := onHalfClosing(Config{LingerTimeout: time.Second})
				f.run()
				halfClose()
				synctest.Wait()
				begin := time.Now()
				mustWriteAsync(t, f.upstream, tt.last, f.client)
				if tt.stays {
					mustReadClose(t, f.upstream, Close{1011, "client vanished"})
					wantEOF(t, f.upstream)
				} else {
					_ = f.upstream.Close()
				}
				wantEOF(t, f.client)
				wantEnd(t, f.end(t), Client, 1011, "client vanished")
				if took := time.Since(begin); took != 0 {
					t.Errorf("closed after %v, want at once", took)
				}
			})
		})
	}
}

func TestHalfClosedSideThatGoesAwayEndsTheLingering(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f, halfClose := onHalfClosing(Config{LingerTimeout: time.Minute})
		f.run()
		halfClose()
		synctest.Wait()
		begin := time.Now()
		_ = f.client.Close()
		mustWrite(t, f.upstream, text("too late"))
		mustReadClose(t, f.upstream, Close{1011, "client vanished"})
		mustWrite(t, f.upstream, closeFrame(1011, ""))
		wantEnd(t, f.end(t), Client, 1011, "client vanished")
		if took := time.Since(begin); took != 0 {
			t.Errorf("closed after %v, want at once", took)
		}
	})
}
