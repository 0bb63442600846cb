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
	s.endLocked(relay.Outcome{By: relay.Gateway, Reason: client.Reason}, momentOf(time.Now()))
}

// endLocked begins the end, unless another has begun.
func (s *Stream) endLocked(cause relay.Outcome, now moment) {
	if s.cause != nil || s.closed {
		return
	}
	s.blameLocked(cause)
	if s.Ends == BetweenEvents && s.events.between() {
		s.stopLocked(io.EOF)
		return
	}
	s.due = now.add(patience)
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
	if s.writing != 0 {
		_ = s.Client.SetWriteDeadline(time.Unix(1, 0))
	}
}

// armLocked sets the timer for what is next, unless it fires before that anyway.
func (s *Stream) armLocked(now moment) {
	next := s.nextLocked()
	if s.closed || next == 0 || s.wakes != 0 && next >= s.wakes {
		return
	}
	s.wakes = next
	if s.timer == nil {
		s.timer = time.AfterFunc(next.sub(now), s.wake)
		return
	}
	s.timer.Reset(next.sub(now))
}

// nextLocked is when there will be something to do if nothing happens till then.
func (s *Stream) nextLocked() (next moment) {
	sooner := func(at moment) {
		if next == 0 || at < next {
			next = at
		}
	}
	if s.WriteTimeout > 0 && s.writing != 0 {
		sooner(s.writing.add(s.WriteTimeout))
	}
	switch {
	case s.final != nil:
	case s.due != 0:
		sooner(s.due)
	case s.IdleTimeout > 0:
		sooner(s.lastActive.add(s.IdleTimeout))
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
	now := momentOf(time.Now())
	s.wakes = 0
	isDue := func(at moment, after time.Duration) bool { return now >= at.add(after) }
	switch {
	case s.WriteTimeout > 0 && s.writing != 0 && isDue(s.writing, s.WriteTimeout):
		s.blameLocked(relay.Outcome{By: relay.Client, Reason: "client stopped reading"})
		s.cutLocked()
		return
	case s.final != nil:
	case s.due != 0 && isDue(s.due, 0):
		s.cutLocked()
		return
	case s.due == 0 && s.IdleTimeout > 0 && isDue(s.lastActive, s.IdleTimeout):
		s.endLocked(relay.Outcome{By: relay.Gateway, Reason: "idle for too long", Idle: true}, now)
	}
	s.armLocked(now)
}
