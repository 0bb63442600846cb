package stream

import (
	"errors"
	"io"
	"time"

	"github.com/wsgateway/caddy-ws-gateway/internal/panics"
	"github.com/wsgateway/caddy-ws-gateway/internal/relay"
)

// patience is how long a stream may go on that has to end, until it is cut.
const patience = 5 * time.Second

// errCut is what the reader of a stream gets that does not end by itself: whoever reads it
// breaks the answer off.
var errCut = errors.New("the stream has to end, and was cut")

// End ends the stream where it may end, or cuts it. Its log tells the client's reason:
// streams have no close codes. It does not block.
func (s *Stream) End(client, _ relay.Close) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.endLocked(relay.Outcome{By: relay.Gateway, Reason: client.Reason}, time.Now())
}

// endLocked begins the end, unless another has begun.
func (s *Stream) endLocked(cause relay.Outcome, now time.Time) {
	if s.cause != nil || s.closed {
		return
	}
	s.blameLocked(cause)
	if s.Ends == BetweenEvents && s.events.between() {
		s.stopLocked(io.EOF)
		return
	}
	s.due = now.Add(patience)
	s.armLocked(now)
}

// stopLocked lets nothing more pass. Closing a body may take a while.
func (s *Stream) stopLocked(with error) {
	s.final = with
	if s.reading {
		go s.breakOffLater()
	}
}

func (s *Stream) breakOffLater() {
	defer panics.Contain()
	s.breakOff()
}

// cutLocked lets nothing more pass, and gives up what is being written.
func (s *Stream) cutLocked() {
	s.stopLocked(errCut)
	if !s.writing.IsZero() {
		_ = s.Client.SetWriteDeadline(time.Unix(1, 0))
	}
}

// armLocked sets the timer for what is next, unless it fires before that anyway.
func (s *Stream) armLocked(now time.Time) {
	next := s.nextLocked()
	if s.closed || next.IsZero() || !s.wakes.IsZero() && !next.Before(s.wakes) {
		return
	}
	s.wakes = next
	if s.timer == nil {
		s.timer = time.AfterFunc(next.Sub(now), s.wake)
		return
	}
	s.timer.Reset(next.Sub(now))
}

// nextLocked is when there will be something to do if nothing happens till then; zero for
// never.
func (s *Stream) nextLocked() (next time.Time) {
	sooner := func(at time.Time) {
		if next.IsZero() || at.Before(next) {
			next = at
		}
	}
	if s.WriteTimeout > 0 && !s.writing.IsZero() {
		sooner(s.writing.Add(s.WriteTimeout))
	}
	switch {
	case s.final != nil:
	case !s.due.IsZero():
		sooner(s.due)
	case s.IdleTimeout > 0:
		sooner(s.lastActive.Add(s.IdleTimeout))
	}
	return next
}

// wake is what the timer does.
func (s *Stream) wake() {
	defer panics.Contain()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return
	}
	now := time.Now()
	s.wakes = time.Time{}
	isDue := func(at time.Time, after time.Duration) bool { return !now.Before(at.Add(after)) }
	switch {
	case s.WriteTimeout > 0 && !s.writing.IsZero() && isDue(s.writing, s.WriteTimeout):
		s.blameLocked(relay.Outcome{By: relay.Client, Reason: "client stopped reading"})
		s.cutLocked()
		return
	case s.final != nil:
	case !s.due.IsZero() && isDue(s.due, 0):
		s.cutLocked()
		return
	case s.due.IsZero() && s.IdleTimeout > 0 && isDue(s.lastActive, s.IdleTimeout):
		s.endLocked(relay.Outcome{By: relay.Gateway, Reason: "idle for too long", Idle: true}, now)
	}
	s.armLocked(now)
}
