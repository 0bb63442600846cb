package stream

import (
	"time"

	"github.com/wsgateway/caddy-ws-gateway/internal/relay"
	"github.com/wsgateway/caddy-ws-gateway/internal/wsframe"
)

// LastActive returns when the last event ended; of other types, when anything came.
func (s *Stream) LastActive() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lastActive.time()
}

// Counts counts what has passed: events as messages, and bytes of the body.
func (s *Stream) Counts() (fromClient, fromUpstream wsframe.Counts) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return fromClient, s.countsLocked()
}

// Pending is about what is held for a side, which a stream does not.
func (s *Stream) Pending() (toClient, toUpstream int) { return 0, 0 }

// Look returns what there is to see of the stream.
func (s *Stream) Look(now time.Time) relay.Look {
	s.mu.Lock()
	defer s.mu.Unlock()
	look := relay.Look{FromUpstream: s.countsLocked(), LastActive: s.lastActive.time()}
	_, look.PaceFromUpstream = s.marks.Pace(int64(momentOf(now)), int64(s.lastPassed), &look.FromClient, &look.FromUpstream)
	return look
}
