package stream

import (
	"errors"
	"io"
	"sync"
	"testing"
	"testing/synctest"
	"time"
	"unsafe"

	"github.com/wsgateway/caddy-ws-gateway/internal/bubble"
	"github.com/wsgateway/caddy-ws-gateway/internal/relay"
)

// slow is a body whose Close breaks a Read off, and then takes its time.
type slow struct {
	broken chan struct{} // closed by the first Close
	done   chan struct{} // closed when that may return
	closes int
}

func newSlow() *slow { return &slow{broken: make(chan struct{}), done: make(chan struct{})} }

var errBroken = errors.New("the body is closed")

func (s *slow) Read([]byte) (int, error) {
	<-s.broken
	return 0, errBroken
}

func (s *slow) Close() error {
	if s.closes++; s.closes == 1 {
		close(s.broken)
		<-s.done
	}
	return nil
}

func TestNobodyWaitsForABodyThatIsSlowToClose(t *testing.T) {
	play(t, Config{}, func(t *testing.T, r *rig) {
		body := newSlow()
		r.Body = body
		r.copy()
		synctest.Wait()
		r.End(drained, relay.Close{})
		r.expectEnd(t, io.EOF, "", byDrain) // the copying has closed the stream
		_ = r.Close()
		close(body.done)
		synctest.Wait()
		if body.closes != 1 {
			t.Errorf("the body is closed %d times, want once", body.closes)
		}
	})
}

func TestABodyIsClosedWhateverBecomesOfItsStream(t *testing.T) {
	for name, use := range map[string]func(r *rig){
		"not read":      func(*rig) {},
		"ended, unread": func(r *rig) { r.End(drained, relay.Close{}) },
		"being read":    func(r *rig) { r.copy(); synctest.Wait() },
		"cut": func(r *rig) {
			r.copy()
			r.say("data")
			r.End(drained, relay.Close{})
			bubble.Elapse(time.Minute)
		},
		"closed twice": func(r *rig) { _ = r.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			play(t, Config{}, func(t *testing.T, r *rig) {
				use(r)
				_ = r.Close()
				synctest.Wait()
				if _, err := r.upstream.Write([]byte("data")); err == nil {
					t.Error("the body is open")
				}
			})
		})
	}
}

// witness is a client that knows nothing of locks: the race detector tells of whoever
// touches the client once the stream is closed.
type witness struct{ touched int }

func (*witness) Gone() bool { return false }

func (w *witness) SetWriteDeadline(time.Time) error {
	w.touched++
	return nil
}

// TestNothingTouchesTheClientOfAClosedStream closes streams at the very moment when they
// are to be cut.
func TestNothingTouchesTheClientOfAClosedStream(t *testing.T) {
	t.Parallel()
	for range 50 {
		synctest.Test(t, func(t *testing.T) {
			w := new(witness)
			far, upstream := io.Pipe()
			s := New(Config{Body: far, Client: w, WriteTimeout: patience, IdleTimeout: patience})
			go func() { _, _ = io.WriteString(upstream, "data: 1\n") }()
			if _, err := s.Read(make([]byte, 64)); err != nil {
				t.Error(err)
			}
			s.End(drained, relay.Close{})
			bubble.Elapse(patience)
			go s.End(drained, relay.Close{})
			_ = s.Close()
			touched := w.touched
			w.touched = 0
			bubble.Elapse(time.Hour)
			if w.touched != 0 || touched > 1 {
				t.Errorf("the client is touched %d times before the stream is closed, and %d times behind", touched, w.touched)
			}
		})
	}
}

func TestEndsAndClosesMayComeFromAnywhereAtOnce(t *testing.T) {
	t.Parallel()
	for range 50 {
		synctest.Test(t, func(t *testing.T) {
			far, upstream := io.Pipe()
			s := New(Config{Body: far, Client: new(witness), IdleTimeout: time.Second})
			var all sync.WaitGroup
			for range 2 {
				all.Go(func() { s.End(drained, relay.Close{}) })
				all.Go(func() { s.End(relay.Close{Reason: "another"}, relay.Close{}) })
				all.Go(func() { _, _, _ = s.LastActive(), s.Look(time.Now()), s.Outcome() })
			}
			all.Go(func() { _, _ = io.WriteString(upstream, "data: 1\n\n") })
			all.Go(func() {
				if got, err := io.ReadAll(s); err != nil || len(got) != 0 && string(got) != "data: 1\n\n" {
					t.Errorf("got %q, %v", got, err)
				}
				_ = s.Close()
			})
			all.Wait()
			if out := s.Outcome(); out.By != relay.Gateway || out.Reason != drained.Reason && out.Reason != "another" {
				t.Errorf("the outcome is %+v", out)
			}
		})
	}
}

func TestAStreamIsSmall(t *testing.T) {
	t.Parallel()
	if size := unsafe.Sizeof(Stream{}); size > 256 {
		t.Errorf("a stream takes %d bytes, want at most 256", size)
	}
}
