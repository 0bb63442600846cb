package upgrade

import (
	"errors"
	"io"
	"net/http"
	"os"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wsgateway/caddy-ws-gateway/internal/bubble"
)

// elapse lets time pass in a bubble.
var elapse = bubble.Elapse

// keptStream is a stream that counts how often its peer was nudged.
func keptStream(nudged *atomic.Int32) *streamConn {
	return &streamConn{
		body: http.NoBody, w: io.Discard,
		setDeadline: func(time.Time) error { return nil },
		nudge:       func() { nudged.Add(1) },
	}
}

func TestQuietStreamsAreKeptAlive(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		k := keeper{every: 10 * time.Second, streams: make(map[*streamConn]struct{})}
		var quiet, writing, closed, removed atomic.Int32
		one, busy, over, gone := keptStream(&quiet), keptStream(&writing), keptStream(&closed), keptStream(&removed)
		for _, s := range []*streamConn{one, busy, over, gone} {
			k.add(s)
		}
		_ = busy.beginWriting()
		_ = over.Close()
		k.remove(gone)
		elapse(35 * time.Second)
		synctest.Wait()
		if quiet.Load() != 3 || writing.Load() != 0 || closed.Load() != 0 || removed.Load() != 0 {
			t.Errorf("in 35 s, nudged %d times: quiet; %d: one that was being written to; %d: closed; %d: removed",
				quiet.Load(), writing.Load(), closed.Load(), removed.Load())
		}
		busy.endWriting(nil)
		elapse(10 * time.Second)
		synctest.Wait()
		if writing.Load() != 1 {
			t.Errorf("when it is quiet again, one is nudged %d times", writing.Load())
		}
		for _, s := range []*streamConn{one, busy, over} {
			k.remove(s)
		}
		elapse(time.Minute)
		synctest.Wait()
		if k.timer != nil {
			t.Error("there is a timer for nobody")
		}
		k.add(one)
		elapse(10 * time.Second)
		synctest.Wait()
		if quiet.Load() != 5 {
			t.Errorf("one that comes later is not kept alive: nudged %d times in all", quiet.Load())
		}
		k.remove(one)
		elapse(time.Minute)
		synctest.Wait()
	})
}

func TestPanicOfOneStreamKeepsTheOthersAlive(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		k := keeper{every: 10 * time.Second, streams: make(map[*streamConn]struct{})}
		var counts [20]atomic.Int32
		for i := range counts {
			s := keptStream(&counts[i])
			if i%2 == 0 {
				s.nudge = func() { panic("a stream of somebody else's") }
			}
			k.add(s)
			defer k.remove(s)
		}
		elapse(25 * time.Second)
		synctest.Wait()
		for i := range counts {
			if n := counts[i].Load(); i%2 != 0 && n != 2 {
				t.Errorf("stream %d was nudged %d times", i, n)
			}
		}
		for s := range k.streams {
			k.remove(s)
		}
		elapse(time.Minute)
		synctest.Wait()
	})
}

// TestClosedStreamKeepsTheDeadlineOfItsEnd holds back a write until the stream is
// closed, and then sets a deadline as a relay would.
func TestClosedStreamKeepsTheDeadlineOfItsEnd(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var deadline time.Time
		far, near := io.Pipe()
		defer far.Close()
		s := &streamConn{body: http.NoBody, w: near, setDeadline: func(at time.Time) error {
			deadline = at
			return nil
		}}
		go func() { _, _ = s.Write([]byte("hello")) }()
		synctest.Wait() // it waits for a reader
		_ = s.Close()
		synctest.Wait()
		ending := deadline
		if ending.IsZero() || ending.After(time.Now()) {
			t.Errorf("the write may go on until %s", ending)
		}
		if err := s.SetWriteDeadline(time.Now().Add(time.Hour)); err == nil || !deadline.Equal(ending) {
			t.Errorf("after that the deadline is %s, %v", deadline, err)
		}
	})
}

// halfWriter takes half of what it is given, and says that the time is up.
type halfWriter struct{ got []byte }

func (w *halfWriter) Write(p []byte) (int, error) {
	w.got = append(w.got, p[:len(p)/2]...)
	return len(p) / 2, os.ErrDeadlineExceeded
}

// TestNothingFollowsPartOfAFrameOfHTTP3 has a write time out within a DATA frame: what came
// next would be taken for the rest of its payload.
func TestNothingFollowsPartOfAFrameOfHTTP3(t *testing.T) {
	t.Parallel()
	var nudged atomic.Int32
	s := keptStream(&nudged)
	w := new(halfWriter)
	s.w = w
	if n, err := s.Write([]byte("half")); n != 2 || !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("wrote %d bytes, %v", n, err)
	}
	if n, err := s.Write([]byte("lf")); n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("after that, wrote %d bytes, %v", n, err)
	}
	s.keepAlive()
	if string(w.got) != "ha" || nudged.Load() != 0 {
		t.Errorf("the peer got %q, and was nudged %d times", w.got, nudged.Load())
	}
	if s.broken() == nil {
		t.Error("the stream would end as if it were whole")
	}
}
