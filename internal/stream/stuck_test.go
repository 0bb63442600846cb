package stream

import (
	"errors"
	"fmt"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wsgateway/caddy-ws-gateway/internal/bubble"
	"github.com/wsgateway/caddy-ws-gateway/internal/relay"
)

func TestAnEndDoesNotWaitForAClientThatTakesNothing(t *testing.T) {
	for name, c := range map[string]struct {
		Config

		before, after string // what comes before the end of the stream, and behind it
	}{
		"within an event":     {before: "data: 1\n"},
		"between events":      {before: "data: 1\n\n"},
		"behind the boundary": {before: "data: 1\n", after: "\ndata: 2\n\n"},
		"of another type":     {Config: Config{Ends: AfterFlush}, before: "{}"},
		"of an encoded body":  {Config: Config{Ends: Nowhere}, before: "\x1f"},
		"with a timeout":      {Config: Config{WriteTimeout: time.Hour, IdleTimeout: time.Hour}, before: "data: 1\n\n"},
	} {
		t.Run(name, func(t *testing.T) {
			play(t, c.Config, func(t *testing.T, r *rig) {
				r.stuck = make(chan struct{})
				r.copy()
				r.sayLater(c.before)
				r.End(drained, relay.Close{})
				r.sayLater(c.after)
				bubble.Elapse(patience - time.Millisecond)
				r.expectGoingOn(t)
				bubble.Elapse(time.Millisecond)
				r.expectEnd(t, errWrite, c.before, byDrain)
			})
		})
	}
}

func TestThePieceBehindAnEndIsNotWrittenForEver(t *testing.T) {
	for _, ends := range []Ends{BetweenEvents, AfterFlush, Nowhere} {
		t.Run("", func(t *testing.T) {
			play(t, Config{Ends: ends}, func(t *testing.T, r *rig) {
				r.copy()
				r.say("data: 1\n")
				r.End(drained, relay.Close{})
				bubble.Elapse(time.Second)
				r.setStuck()
				r.say("\n")
				r.expectGoingOn(t)
				bubble.Elapse(patience - time.Second)
				r.expectEnd(t, errWrite, "data: 1\n\n", byDrain)
			})
		})
	}
}

func TestWhatAnUpstreamLeavesBehindIsNotWrittenForEver(t *testing.T) {
	for name, c := range map[string]struct {
		Config

		end  bool
		lead time.Duration
		want relay.Outcome
	}{
		"once the stream has to end": {end: true, lead: patience, want: relay.Outcome{By: relay.Upstream}},
		"beyond the write timeout": {
			Config: Config{WriteTimeout: time.Minute}, lead: time.Minute,
			want: relay.Outcome{By: relay.Client, Reason: "client stopped reading"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			c.Body = &last{text: "data: 1"}
			play(t, c.Config, func(t *testing.T, r *rig) {
				r.stuck = make(chan struct{})
				r.copy()
				synctest.Wait()
				if c.end {
					r.End(drained, relay.Close{})
				}
				bubble.Elapse(c.lead - time.Millisecond)
				r.expectGoingOn(t)
				bubble.Elapse(time.Millisecond)
				r.expectEnd(t, errWrite, "data: 1", c.want)
			})
		})
	}
}

// TestAnAnswerInPlaceOfAStreamIsLeftAlone is about routes that answer a client themselves,
// and have the stream closed unread when they are done.
func TestAnAnswerInPlaceOfAStreamIsLeftAlone(t *testing.T) {
	for ends, want := range map[Ends]error{BetweenEvents: io.EOF, AfterFlush: errCut} {
		t.Run(fmt.Sprint(ends), func(t *testing.T) {
			play(t, Config{Ends: ends, WriteTimeout: time.Second, IdleTimeout: time.Minute}, func(t *testing.T, r *rig) {
				stuck := r.setStuck()
				r.End(drained, relay.Close{})
				bubble.Elapse(time.Hour)
				synctest.Wait()
				select {
				case <-stuck:
					t.Error("what the client is taking was broken off")
				default:
				}
				r.copy()
				r.expectEnd(t, want, "", byDrain)
			})
		})
	}
}

func TestAClientIsLeftAloneOnceItsStreamIsOver(t *testing.T) {
	for name, end := range map[string]func(r *rig){
		"by the gateway":  func(r *rig) { r.End(drained, relay.Close{}) },
		"by the upstream": func(r *rig) { _ = r.upstream.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			play(t, Config{WriteTimeout: time.Second, IdleTimeout: time.Minute}, func(t *testing.T, r *rig) {
				go func() { _, _ = io.WriteString(r.upstream, "data: 1\n\n") }()
				if _, err := r.Read(make([]byte, 64)); err != nil {
					t.Fatal(err)
				}
				end(r)
				if _, err := r.Read(make([]byte, 64)); !errors.Is(err, io.EOF) {
					t.Fatal(err)
				}
				r.End(drained, relay.Close{})
				r.expectNoMoreDeadlines(t)
			})
		})
	}
}

// TestTheLastWordOfAnAnswerGetsTimeOfItsOwn is about the deadline that a server sets for each
// piece, and which stays: it may have passed when the end of the body is written.
func TestTheLastWordOfAnAnswerGetsTimeOfItsOwn(t *testing.T) {
	for name, end := range map[string]func(r *rig){
		"that the gateway ends":  func(r *rig) { r.End(drained, relay.Close{}) },
		"that the upstream ends": func(r *rig) { _ = r.upstream.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			play(t, Config{WriteTimeout: time.Minute}, func(t *testing.T, r *rig) {
				r.copy()
				r.say("data: 1\n\n")
				_ = r.SetWriteDeadline(time.Now().Add(time.Second)) // the server's
				bubble.Elapse(time.Hour)
				end(r)
				synctest.Wait()
				<-r.over
				r.mu.Lock()
				defer r.mu.Unlock()
				if left := time.Until(r.deadline); left <= 0 || left > time.Minute {
					t.Errorf("the client has %s for the end", left)
				}
			})
		})
	}
}
