//go:build !noloop && !386

package relay

import (
	"sync/atomic"
	"time"
)

// stalled are the chunks of a loop that sides own, in the order in which the sides have
// last taken something, so that the one that has been stalled for longest is first.
// A side that owns no chunk is not among them, and costs nothing.
type stalled struct {
	first, last *chunk
	since       atomic.Int64 // when the first has last moved; 0 if there is none
}

// touch notes that the owner of a chunk has taken something now, which makes it the
// last.
func (s *stalled) touch(c *chunk, now time.Time, untaken int32) {
	c.moved, c.untaken = now, untaken
	if c == s.last {
		s.note()
		return
	}
	s.unlink(c)
	c.earlier = s.last
	if s.last == nil {
		s.first = c
	} else {
		s.last.later = c
	}
	s.last = c
	s.note()
}

// remove takes a chunk out.
func (s *stalled) remove(c *chunk) {
	s.unlink(c)
	s.note()
}

// unlink takes a chunk out, if it is in.
func (s *stalled) unlink(c *chunk) {
	switch {
	case c.earlier != nil:
		c.earlier.later = c.later
	case s.first == c:
		s.first = c.later
	default:
		return
	}
	if c.later != nil {
		c.later.earlier = c.earlier
	} else {
		s.last = c.earlier
	}
	c.earlier, c.later = nil, nil
}

// note lets others know about the first.
func (s *stalled) note() {
	if s.first == nil {
		s.since.Store(0)
		return
	}
	s.since.Store(max(1, monotonic(s.first.moved)))
}
