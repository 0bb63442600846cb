package stream

import (
	"context"
	"errors"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wsgateway/caddy-ws-gateway/internal/bubble"
	"github.com/wsgateway/caddy-ws-gateway/internal/pace"
	"github.com/wsgateway/caddy-ws-gateway/internal/relay"
)

// drained is what an operator's drain tells.
var drained = relay.Close{Code: 1012, Reason: "service restart"}

// rig is a stream between an upstream that says what a test has it say and a proxy that
// copies it to a client.
type rig struct {
	*Stream

	upstream *io.PipeWriter
	far      *io.PipeReader
	left     atomic.Bool   // the client
	stuck    chan struct{} // closed when the client takes something again; nil where it takes all

	mu       sync.Mutex
	got      strings.Builder
	deadline time.Time
	err      error         // how the copying ended
	over     chan struct{} // closed then
}

// play runs a test with a stream, of which nothing is left in the end.
func play(t *testing.T, c Config, test func(t *testing.T, r *rig)) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := &rig{over: make(chan struct{})}
		r.far, r.upstream = io.Pipe()
		if c.Client = r; c.Body == nil {
			c.Body = r.far
		}
		r.Stream = New(c)
		test(t, r)
		_ = r.Close()
		_ = r.upstream.Close()
		synctest.Wait()
		r.expectNoMoreDeadlines(t)
	})
}

// expectNoMoreDeadlines fails the test if a stream that is closed touches the client.
func (r *rig) expectNoMoreDeadlines(t *testing.T) {
	r.mu.Lock()
	r.deadline = time.Time{}
	r.mu.Unlock()
	bubble.Elapse(time.Hour)
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.deadline.IsZero() {
		t.Error("a closed stream has set a deadline of its client")
	}
}

// Gone implements [Client].
func (r *rig) Gone() bool { return r.left.Load() }

// SetWriteDeadline implements [Client].
func (r *rig) SetWriteDeadline(deadline time.Time) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.deadline = deadline
	if r.stuck != nil && !deadline.IsZero() && !deadline.After(time.Now()) {
		close(r.stuck)
		r.stuck = nil
	}
	return nil
}

// copy does what reverse_proxy does.
func (r *rig) copy() {
	go func() {
		defer close(r.over)
		buf := make([]byte, 64)
		for {
			n, err := r.Read(buf)
			if stuck := r.take(buf[:n]); stuck != nil {
				<-stuck
				err = errors.Join(err, errWrite)
			}
			if err != nil {
				r.err = err
				_ = r.Close()
				return
			}
		}
	}()
}

var errWrite = errors.New("the client takes nothing")

func (r *rig) take(p []byte) (stuck <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.got.Write(p)
	if len(p) == 0 {
		return nil
	}
	return r.stuck
}

// setStuck has the client take nothing until it gets a deadline that has passed.
func (r *rig) setStuck() <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.stuck = make(chan struct{})
	return r.stuck
}

// say has the upstream say something that is passed on.
func (r *rig) say(text string) {
	_, _ = io.WriteString(r.upstream, text)
	synctest.Wait()
}

// sayLater is say for what may not be taken, or not at once.
func (r *rig) sayLater(text string) {
	go func() { _, _ = io.WriteString(r.upstream, text) }()
	synctest.Wait()
}

// expectEnd fails the test unless the copying has ended in the way that is wanted.
func (r *rig) expectEnd(t *testing.T, want error, got string, out relay.Outcome) {
	t.Helper()
	synctest.Wait()
	select {
	case <-r.over:
	default:
		t.Fatal("the stream goes on")
	}
	if !errors.Is(r.err, want) {
		t.Errorf("it ended with %v, want %v", r.err, want)
	}
	if r.got.String() != got {
		t.Errorf("the client got %q, want %q", r.got.String(), got)
	}
	end := r.Outcome()
	if end.By != out.By || end.Reason != out.Reason || end.Idle != out.Idle || end.Torn != out.Torn || end.Code != 0 {
		t.Errorf("the outcome is %+v, want %+v", end, out)
	}
	if end.FromUpstream.Bytes != uint64(len(got)) {
		t.Errorf("%d bytes are counted, want %d", end.FromUpstream.Bytes, len(got))
	}
}

func (r *rig) expectGoingOn(t *testing.T) {
	t.Helper()
	synctest.Wait()
	select {
	case <-r.over:
		t.Fatalf("the stream has ended: %v", r.err)
	default:
	}
}

var byDrain = relay.Outcome{By: relay.Gateway, Reason: "service restart"}

func TestAnEndBetweenEventsIsAtOnce(t *testing.T) {
	play(t, Config{}, func(t *testing.T, r *rig) {
		r.copy()
		r.say("data: 1\n\n: comment\n")
		r.End(drained, relay.Close{})
		r.expectEnd(t, io.EOF, "data: 1\n\n: comment\n", byDrain)
		if n := r.Outcome().FromUpstream.Messages; n != 1 {
			t.Errorf("%d events are counted, want 1", n)
		}
	})
}

func TestAnEndWithinAnEventWaitsForIt(t *testing.T) {
	play(t, Config{}, func(t *testing.T, r *rig) {
		r.copy()
		r.say("data: 1\n")
		r.End(drained, relay.Close{})
		r.End(relay.Close{Reason: "another"}, relay.Close{})
		r.expectGoingOn(t)
		bubble.Elapse(patience - time.Millisecond)
		r.say("data: 2\n")
		r.expectGoingOn(t)
		r.sayLater("\ndata: 3\n\n")
		r.expectEnd(t, io.EOF, "data: 1\ndata: 2\n\n", byDrain)
	})
}

func TestAStreamWithoutABoundaryIsCut(t *testing.T) {
	play(t, Config{}, func(t *testing.T, r *rig) {
		r.copy()
		r.say("data: 1\n")
		r.End(drained, relay.Close{})
		bubble.Elapse(patience)
		r.expectEnd(t, errCut, "data: 1\n", byDrain)
	})
}

func TestAStreamThatNobodyHasReadEndsEmpty(t *testing.T) {
	play(t, Config{}, func(t *testing.T, r *rig) {
		r.End(drained, relay.Close{})
		r.copy()
		r.expectEnd(t, io.EOF, "", byDrain)
	})
}

func TestWhatComesBehindTheEndIsNotPassedOn(t *testing.T) {
	play(t, Config{}, func(t *testing.T, r *rig) {
		r.copy()
		r.say("data: 1\n\ndata: 2\n")
		r.End(drained, relay.Close{})
		r.sayLater("\ndata: 3\n\n")
		r.expectEnd(t, io.EOF, "data: 1\n\ndata: 2\n\n", byDrain)
	})
}

func TestAnUpstreamMayEndItsStream(t *testing.T) {
	play(t, Config{}, func(t *testing.T, r *rig) {
		r.copy()
		r.say("data: 1\n\ndata: 2")
		_ = r.upstream.Close()
		r.expectEnd(t, io.EOF, "data: 1\n\ndata: 2", relay.Outcome{By: relay.Upstream})
	})
}

func TestAnUpstreamMayBreakItsStreamOff(t *testing.T) {
	play(t, Config{}, func(t *testing.T, r *rig) {
		r.copy()
		r.say("data: 1\n\n")
		_ = r.upstream.CloseWithError(io.ErrUnexpectedEOF)
		r.expectEnd(t, io.ErrUnexpectedEOF, "data: 1\n\n", relay.Outcome{By: relay.Upstream, Reason: "upstream vanished", Torn: true})
	})
}

func TestAClientThatLeavesEndsTheStream(t *testing.T) {
	play(t, Config{}, func(t *testing.T, r *rig) {
		r.copy()
		r.say("data: 1\n\n")
		r.left.Store(true)
		_ = r.upstream.CloseWithError(context.Canceled) // as the transport does
		r.expectEnd(t, context.Canceled, "data: 1\n\n", relay.Outcome{By: relay.Client, Reason: "client vanished"})
	})
}

func TestAnAnswerThatIsNotPassedOnIsTheGateways(t *testing.T) {
	play(t, Config{}, func(t *testing.T, r *rig) {
		_ = r.Close()
		if out := r.Outcome(); out.By != relay.Gateway || out.Reason != "the answer was not passed on" {
			t.Errorf("the outcome is %+v", out)
		}
		if _, err := r.Read(make([]byte, 1)); err == nil {
			t.Error("a closed stream can be read")
		}
	})
}

func TestOtherTypesEndBehindTheNextPiece(t *testing.T) {
	for ends, want := range map[Ends]error{AfterFlush: io.EOF, Nowhere: errCut} {
		t.Run("", func(t *testing.T) {
			play(t, Config{Ends: ends}, func(t *testing.T, r *rig) {
				r.copy()
				r.say("{}\n")
				r.End(drained, relay.Close{})
				r.expectGoingOn(t)
				r.say("{}")
				r.expectEnd(t, want, "{}\n{}", byDrain)
				if n := r.Outcome().FromUpstream.Messages; n != 0 {
					t.Errorf("%d messages are counted", n)
				}
			})
		})
	}
}

func TestOtherTypesAreCutWhereNothingComes(t *testing.T) {
	play(t, Config{Ends: AfterFlush}, func(t *testing.T, r *rig) {
		r.copy()
		r.say("{}\n")
		r.End(drained, relay.Close{})
		bubble.Elapse(patience)
		r.expectEnd(t, errCut, "{}\n", byDrain)
	})
}

func TestAStreamWithoutEventsIsIdle(t *testing.T) {
	idle := relay.Outcome{By: relay.Gateway, Reason: "idle for too long", Idle: true}
	play(t, Config{IdleTimeout: time.Minute}, func(t *testing.T, r *rig) {
		r.copy()
		var said strings.Builder
		for range 3 {
			bubble.Elapse(59 * time.Second)
			r.say("data\n\n")
			said.WriteString("data\n\n")
		}
		bubble.Elapse(59 * time.Second)
		r.say(": awake\n\n")
		said.WriteString(": awake\n\n")
		r.expectGoingOn(t)
		bubble.Elapse(2 * time.Second)
		r.expectEnd(t, io.EOF, said.String(), idle)
	})
}

func TestAClientThatTakesNothingIsCutOff(t *testing.T) {
	play(t, Config{WriteTimeout: 30 * time.Second, IdleTimeout: time.Hour}, func(t *testing.T, r *rig) {
		r.copy()
		bubble.Elapse(time.Minute) // a quiet stream is none of it
		r.say("data: 1\n\n")
		bubble.Elapse(time.Minute)
		r.setStuck()
		r.sayLater("data: 2\n\n")
		bubble.Elapse(29 * time.Second)
		r.expectGoingOn(t)
		bubble.Elapse(2 * time.Second)
		r.expectEnd(t, errWrite, "data: 1\n\ndata: 2\n\n", relay.Outcome{By: relay.Client, Reason: "client stopped reading"})
	})
}

func TestALookShowsWhatHasPassed(t *testing.T) {
	play(t, Config{}, func(t *testing.T, r *rig) {
		r.copy()
		opened := r.LastActive()
		for range 20 {
			bubble.Elapse(time.Second)
			r.say("data: 12\n\n")
			r.say(":\n")
		}
		look := r.Look(time.Now())
		if look.FromUpstream.Messages != 20 || look.FromUpstream.Bytes != 20*12 || !look.LastActive.Equal(opened.Add(20*time.Second)) {
			t.Errorf("got %+v", look)
		}
		if got := look.PaceFromUpstream; got.Messages < 0.9 || got.Messages > 1.3 || got.Bytes < 11 || got.Bytes > 16 {
			t.Errorf("the pace is %+v, want 1 event and 12 bytes a second", got)
		}
		if got := r.Look(time.Now().Add(time.Minute)).PaceFromUpstream; got != (pace.Pace{}) {
			t.Errorf("after a minute without anything the pace is %+v", got)
		}
		r.End(drained, relay.Close{})
	})
}

func BenchmarkRead(b *testing.B) {
	s := New(Config{Body: endless{}, WriteTimeout: 30 * time.Second, IdleTimeout: time.Minute})
	buf := make([]byte, 32<<10)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.Read(buf); err != nil {
			b.Fatal(err)
		}
	}
	_ = s.Close()
}

// last is a body that ends along with its text, as bodies may.
type last struct{ text string }

func (l *last) Read(p []byte) (int, error) { return copy(p, l.text), io.EOF }
func (*last) Close() error                 { return nil }

// endless is a body of events.
type endless struct{}

func (endless) Read(p []byte) (int, error) { return copy(p, "data: something\n\n"), nil }
func (endless) Close() error               { return nil }
