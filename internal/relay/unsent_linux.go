//go:build !noloop && !386

package relay

import (
	"time"
)

// own makes a side the owner of what the side has not taken of the chunk that the loop
// has at in: of a copy if that is small, and else of the chunk, which the loop replaces.
func (l *loop) own(to *side, in **chunk, unsent []byte) {
	var c *chunk
	if len(unsent) <= smallRest {
		c = rests.Get().(*chunk)
		unsent = c.data[:copy(c.data, unsent)]
	} else {
		c = *in
		*in = chunks.Get().(*chunk)
	}
	c.unsent, c.carries = unsent, cargoNothing
	to.socket.unsent = c
	to.socket.noteMoved(l.now)
}

// noteMoved notes that the peer has taken something now.
func (s *socket) noteMoved(now time.Time) {
	s.unsent.moved = now
	s.unsent.untaken, _ = untaken(uintptr(s.fd)) // if that fails, 0 is never undercut
}

// moves reports whether the peer has taken something since that was last noted. The
// kernel may not take more all the same, because it makes room by large pieces only.
func (s *socket) moves(now time.Time) bool {
	left, ok := untaken(uintptr(s.fd))
	if !ok || left >= s.unsent.untaken {
		return false
	}
	s.unsent.moved, s.unsent.untaken = now, left
	return true
}

// flush sends more of what a side has not taken yet.
func (l *loop) flush(r *Relay, from, to *side) {
	c := to.socket.unsent
	sent, errno := send(to.socket.fd, c.unsent)
	c.unsent = c.unsent[sent:]
	if sent > 0 {
		to.socket.noteMoved(l.now)
	}
	if errno != 0 || len(c.unsent) == 0 {
		l.flushed(r, from, to, errorOf(errno))
	}
}

// flushed ends what own began, after everything was sent or sending has failed.
func (l *loop) flushed(r *Relay, from, to *side, err error) {
	c := to.socket.unsent
	to.socket.unsent = nil
	defer c.release()
	r.place.touched = true
	switch c.carries {
	case cargoClose, cargoPing:
		r.injected(to, c.carries, err)
	case cargoFrames:
		l.passed(r, from, to, err)
	case cargoNothing:
		if err != nil {
			r.noteWriteFailed(to, err)
			return
		}
	}
	l.passEarly(r, from, to)
}

// stallsAt returns when a side will have taken nothing for too long, or zero.
func (r *Relay) stallsAt(s *side) time.Time {
	if s.socket.unsent == nil || r.writeTimeout <= 0 {
		return time.Time{}
	}
	return s.socket.unsent.moved.Add(r.writeTimeout)
}
