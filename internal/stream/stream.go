// Package stream is about answers that last, such as server-sent events: a [Stream] stands
// in the place of an upstream's body, passes on what comes as it is, and ends it where an
// end tears nothing apart.
//
// It is read by whoever writes to the client, who flushes after each read. So a piece that
// was read is being written until the next read.
package stream

import (
	"io"
	"sync"
	"time"

	"github.com/wsgateway/caddy-ws-gateway/internal/pace"
	"github.com/wsgateway/caddy-ws-gateway/internal/relay"
	"github.com/wsgateway/caddy-ws-gateway/internal/wsframe"
)

// Client is what a stream needs of the client's side.
type Client interface {
	// SetWriteDeadline breaks off what is being written where the deadline has passed.
	SetWriteDeadline(deadline time.Time) error

	// Gone reports whether the client has left.
	Gone() bool
}

// Ends is where a stream may end.
type Ends uint8

// Where streams end.
const (
	BetweenEvents Ends = iota // of text/event-stream
	AfterFlush                // behind the next piece, where nobody knows of boundaries
	Nowhere                   // cut behind the next piece: the end of an encoding would be missing
)

// Config is a stream and what it is held to.
type Config struct {
	Body   io.ReadCloser // the upstream's; Close breaks off a Read
	Client Client
	Ends   Ends

	WriteTimeout time.Duration // how long the client may take to read a piece; 0 for ever
	IdleTimeout  time.Duration // how long there may be no event; 0 for ever
}

// Stream is a body that lasts. It is read by one goroutine, and everything else may be
// called by any, at any time.
type Stream struct {
	Config

	mu         sync.Mutex // guards the rest
	events     events
	bytes      uint64 // passed on
	lastActive moment
	lastPassed moment // when anything came last, be it no event
	marks      pace.Marks

	started bool   // somebody has read
	reading bool   // the body is being read
	over    bool   // Read has returned the end, and the client has taken everything before it
	cut     bool   // nothing is waited for any more
	broken  bool   // the body is closed, or being closed
	closed  bool   // nothing touches the client any more
	writing moment // since when the last piece is being written; never while none is

	cause *relay.Outcome // why the stream ends; nil until then
	due   moment         // when it is cut unless it is over; never as long as it need not end
	final error          // what Read returns from now on; nil as long as something may come

	timer *time.Timer // nil until it is needed
	wakes moment      // when the timer fires
}

// New returns a stream. Its owner closes it.
func New(c Config) *Stream {
	now := momentOf(time.Now())
	s := &Stream{Config: c, lastActive: now, lastPassed: now, marks: pace.Since(int64(now))}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.armLocked(now)
	return s
}

// Read implements io.Reader.
func (s *Stream) Read(p []byte) (int, error) {
	if err := s.begin(); err != nil {
		return 0, err
	}
	n, err := s.Body.Read(p)
	return s.pass(p[:n], err)
}

func (s *Stream) begin() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.writing, s.started = 0, true
	s.reading = s.final == nil
	if s.final != nil {
		s.overLocked(momentOf(time.Now()))
	}
	return s.final
}

// pass decides how much of what has come goes on.
func (s *Stream) pass(p []byte, err error) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reading = false
	now := momentOf(time.Now())
	if s.final != nil { // what has come is behind the end
		s.overLocked(now)
		return 0, s.final
	}
	n := s.countLocked(p, now)
	switch {
	case s.final != nil:
		err = nil // at the next Read
	case err != nil:
		s.endedLocked(err)
		if n == 0 {
			s.overLocked(now)
		}
	}
	if n > 0 {
		s.writing = now
		s.armLocked(now)
	}
	return n, err
}

// countLocked counts what goes on of p, as far as the end where that is due.
func (s *Stream) countLocked(p []byte, now moment) (n int) {
	n = len(p)
	if n == 0 {
		return 0
	}
	if s.lastPassed = now; s.marks.Due(int64(now)) {
		s.marks.Move(int64(now), wsframe.Counts{}, s.countsLocked())
	}
	before := s.events.count
	switch {
	case s.Ends != BetweenEvents:
		s.lastActive = now
		if s.due != 0 {
			s.final = s.Ends.final()
		}
	case s.due == 0:
		s.events.read(p)
	default:
		var ended bool
		if n, ended = s.events.readToEnd(p); ended {
			s.final = s.Ends.final()
		}
	}
	if s.events.count != before {
		s.lastActive = now
	}
	s.bytes += uint64(n)
	return n
}

// endedLocked notes that nothing more comes of the upstream.
func (s *Stream) endedLocked(err error) {
	s.final = err
	switch {
	case err == io.EOF: //nolint:errorlint // as every reader returns it
		s.blameLocked(relay.Outcome{By: relay.Upstream})
	case s.Client.Gone():
		s.blameLocked(relay.Outcome{By: relay.Client, Reason: "client vanished"})
	default:
		s.blameLocked(relay.Outcome{By: relay.Upstream, Reason: "upstream vanished", Torn: true})
	}
}

// blameLocked notes the first cause of the end.
func (s *Stream) blameLocked(out relay.Outcome) {
	if s.cause == nil {
		s.cause = &out
	}
}

// Close breaks the body off if it has not ended. Nothing touches the client any more. It
// may be called more than once.
func (s *Stream) Close() error {
	if s.close() {
		_ = s.Body.Close()
	}
	return nil
}

// close reports whether the body is to be closed.
func (s *Stream) close() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.closed = true
	if s.timer != nil {
		s.timer.Stop()
	}
	if s.final == nil {
		s.final = io.ErrClosedPipe
	}
	if s.started {
		s.blameLocked(relay.Outcome{By: relay.Client, Reason: "client vanished"}) // who takes nothing more
	}
	s.blameLocked(relay.Outcome{By: relay.Gateway, Reason: "the answer was not passed on"})
	return s.breakLocked()
}

// breakLocked reports whether the caller has to close the body, which nobody else does.
func (s *Stream) breakLocked() bool {
	broken := s.broken
	s.broken = true
	return !broken
}

// Outcome returns how the stream has ended, once it is closed.
func (s *Stream) Outcome() relay.Outcome {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out relay.Outcome
	if s.cause != nil {
		out = *s.cause
	}
	out.FromUpstream = s.countsLocked()
	return out
}

func (s *Stream) countsLocked() wsframe.Counts {
	return wsframe.Counts{Messages: s.events.count, Text: s.events.count, Bytes: s.bytes}
}
