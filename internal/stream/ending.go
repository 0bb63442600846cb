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

// cutAgain is how long a write may go on that was broken off.
const cutAgain = time.Second

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

// endLocked begins the end. Where the upstream has ended the stream already, the client
// has only so long to take the rest.
func (s *Stream) endLocked(cause relay.Outcome, now moment) {
	if s.closed || s.due != 0 {
		return
	}
	s.blameLocked(cause)
	s.due = now.add(patience)
	if s.final == nil && s.Ends == BetweenEvents && s.events.between() {
		s.stopLocked(s.Ends.final())
	}
	s.armLocked(now)
}

// final is how a stream ends that need not be cut before.
func (e Ends) final() error {
	if e == Nowhere {
		return errCut
	}
	return io.EOF
}

// stopLocked lets nothing more pass, and breaks off a Read of the body. Closing a body may
// take a while.
func (s *Stream) stopLocked(with error) {
	s.final = with
	if s.reading && s.breakLocked() {
		go closeLater(s.Body)
	}
}

func closeLater(body io.Closer) {
	defer panics.Contain()
	_ = body.Close()
}

// overLocked notes that Read returns the end, before which the client has taken everything.
// The end of the answer is still to be written: the client gets time to take that, since
// the deadline that the server has set for the last piece may have passed long ago.
func (s *Stream) overLocked(now moment) {
	s.over = true
	if s.final != io.EOF || s.closed || s.cut { //nolint:errorlint // as every reader returns it
		return
	}
	var deadline time.Time
	if s.WriteTimeout > 0 {
		deadline = now.add(s.WriteTimeout).time()
	}
	_ = s.Client.SetWriteDeadline(deadline)
}

// cutLocked lets nothing more pass, and gives up what is being written. Who writes may set
// another deadline at the same moment, so that it is done again. As long as nobody has read,
// the client may be taking an answer that is given in place of the stream.
func (s *Stream) cutLocked(now moment) {
	s.cut = true
	s.stopLocked(errCut)
	if s.started && !s.reading {
		_ = s.Client.SetWriteDeadline(time.Unix(1, 0))
	}
	s.due = now.add(cutAgain)
}

// armLocked sets the timer for what is next, unless it fires before that anyway.
func (s *Stream) armLocked(now moment) {
	next := s.nextLocked()
	if next == 0 || s.wakes != 0 && next >= s.wakes {
		return
	}
	s.wakes = next
	if s.timer == nil {
		s.timer = time.AfterFunc(next.sub(now), s.wake)
		return
	}
	s.timer.Reset(next.sub(now))
}

// nextLocked is when there will be something to do if nothing happens till then; never
// where there is nothing.
func (s *Stream) nextLocked() (next moment) {
	sooner := func(at moment) {
		if next == 0 || at < next {
			next = at
		}
	}
	switch {
	case s.closed, s.over, s.final != nil && !s.started:
		return next
	case s.cut:
		return s.due
	case s.WriteTimeout > 0 && s.writing != 0:
		sooner(s.writing.add(s.WriteTimeout))
	}
	switch {
	case s.due != 0:
		sooner(s.due)
	case s.IdleTimeout > 0 && s.final == nil:
		sooner(s.lastActive.add(s.IdleTimeout))
	}
	return next
}

// wake is what the timer does.
func (s *Stream) wake() {
	defer panics.Contain()
	s.mu.Lock()
	defer s.mu.Unlock()
	now := momentOf(time.Now())
	s.wakes = 0
	next := s.nextLocked()
	switch {
	case next == 0:
		return
	case now < next:
	case s.cut:
		s.cutLocked(now)
	case s.WriteTimeout > 0 && s.writing != 0 && now >= s.writing.add(s.WriteTimeout):
		if s.cause != nil && s.cause.By == relay.Upstream && !s.cause.Torn {
			s.cause = nil // its proper end has not come to the client
		}
		s.blameLocked(relay.Outcome{By: relay.Client, Reason: "client stopped reading"})
		s.cutLocked(now)
	case s.due != 0:
		s.cutLocked(now)
	default:
		s.endLocked(relay.Outcome{By: relay.Gateway, Reason: "idle for too long", Idle: true}, now)
	}
	s.armLocked(now)
}
