//go:build !noloop && !386

package relay

import (
	"time"
)

// own makes a side the owner of what the side has not taken of the chunk that the loop
// has at in: of a copy if that is small, and else of the chunk, which the loop replaces.
func (l *loop) own(to *side, in **chunk, unsent []byte) {
	c := restFor(len(unsent) + restSpare)
	if c != nil {
		unsent = c.data[:copy(c.data, unsent)]
	} else {
		c = *in
		*in = chunks.Get().(*chunk)
	}
	c.unsent, c.first, c.begun, c.carries = unsent, unsent, unknownRest, cargoNothing
	c.relay, c.owner = l.busy, to
	l.hold(to, c)
}

// hold makes a side the owner of a chunk, and charges the chunk to the budget.
func (l *loop) hold(to *side, c *chunk) {
	to.socket.unsent = c
	l.noteMoved(to)
	to.held.Store(int32(len(c.unsent)))
	l.budget.charge(len(c.data))
}

// disown undoes hold, and returns the chunk, or nil if the side owns none.
func (l *loop) disown(s *side) *chunk {
	c := s.socket.unsent
	if c == nil {
		return nil
	}
	s.socket.unsent = nil
	l.stalled.remove(c)
	s.held.Store(0)
	l.budget.uncharge(len(c.data))
	return c
}

// noteMoved notes that the peer has taken something now.
func (l *loop) noteMoved(to *side) {
	c := to.socket.unsent
	left, _ := untaken(uintptr(to.socket.fd)) // if that fails, 0 is never undercut
	l.stalled.touch(c, l.now, left)
}

// backlog returns how much of what was written the peer has not taken yet.
func (s *socket) backlog() (bytes int32, ok bool) { return untaken(uintptr(s.fd)) }

// moves reports whether the peer has taken something since that was last noted. The
// kernel may not take more all the same, because it makes room by large pieces only.
func (l *loop) moves(to *side) bool {
	left, ok := untaken(uintptr(to.socket.fd))
	if !ok || left >= to.socket.unsent.untaken {
		return false
	}
	l.stalled.touch(to.socket.unsent, l.now, left)
	return true
}

// flush sends more of what a side has not taken yet.
func (l *loop) flush(r *Relay, from, to *side) {
	c := to.socket.unsent
	sent, errno := send(to.socket.fd, c.unsent)
	c.unsent = c.unsent[sent:]
	if sent > 0 {
		l.noteMoved(to)
		to.held.Store(int32(len(c.unsent)))
	}
	if errno != 0 || len(c.unsent) == 0 {
		l.flushed(r, from, to, errorOf(errno))
	}
}

// flushed ends what own began, after everything was sent or sending has failed.
func (l *loop) flushed(r *Relay, from, to *side, err error) {
	c := l.disown(to)
	defer c.release()
	if t := to.socket.tls; t != nil {
		t.torn = len(c.unsent) > 0
	}
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
