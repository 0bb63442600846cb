//go:build !noloop && !386

package relay

import (
	"os"
)

// maxLastWords is the most that a close frame takes, as a record too.
const maxLastWords = 2 + 4 + 125 + 64

// maxLooks is how many of the longest stalled sides are asked whether they have not moved
// all the same, before one is ended.
const maxLooks = 16

// stalledSince implements holder.
func (l *loop) stalledSince() (since int64, ok bool) {
	since = l.stalled.since.Load()
	return since, since != 0
}

// shed implements holder.
func (l *loop) shed() {
	l.shedding.Store(true)
	if l.mustBeCalled() {
		l.call()
	}
}

func (l *loop) mustBeCalled() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	asleep := !l.awake && !l.dead.Load()
	l.awake = true // or about to be
	return asleep
}

// relieve sheds if the loop was asked to.
func (l *loop) relieve() {
	if l.shedding.Load() && l.shedding.Swap(false) {
		l.budget.relieve(l, l.endLongest)
	}
}

// endLongest ends the connection of the side that has been stalled for longest, and
// reports whether there is one.
func (l *loop) endLongest() bool {
	for range maxLooks {
		if c := l.stalled.first; c == nil || c == l.stalled.last || !l.moves(c.owner) {
			break
		}
	}
	c := l.stalled.first
	if c == nil {
		return false
	}
	r, to := c.relay, c.owner
	l.busy = r
	spring(r, "slow")
	l.endSlow(r, to)
	l.lookAfter(r)
	l.busy = nil
	return true
}

// endSlow ends a connection because one side is slow, and lets go at once of what is held
// for that side, but for the rest of a frame and a close frame if that is little.
func (l *loop) endSlow(r *Relay, to *side) {
	c := to.socket.unsent
	if r.isEnding() {
		l.flushed(r, r.other(to), to, os.ErrDeadlineExceeded)
		return
	}
	rest := c.tail(r, to)
	frame := r.endSlow(to, rest >= 0)
	l.disown(to)
	defer c.release()
	r.place.touched = true
	if frame == nil {
		if to.socket.tls != nil {
			to.socket.tls.torn = true
		}
		return
	}
	last := restFor(rest + maxLastWords)
	last.unsent = append(last.data[:0], c.unsent[:rest]...)
	if to.socket.tls == nil {
		last.unsent = append(last.unsent, frame...)
	}
	last.first, last.begun, last.carries = last.unsent, unknownRest, cargoClose
	last.relay, last.owner = r, to
	l.hold(to, last)
	if to.socket.tls != nil {
		if err := l.seal(to, l.out.data[:copy(l.out.data, frame)]); err != nil {
			l.flushed(r, r.other(to), to, err)
		}
	}
}

// tail returns how much of what a side has not taken has to be written before a close
// frame can be, or less than 0 if that is not all there, or is so much that no memory
// would be saved. Records of TLS cannot be left out.
func (c *chunk) tail(r *Relay, to *side) int {
	rest := unknownRest
	switch {
	case to.socket.tls == nil:
		rest = RestOfFrame(c.first, c.begun, len(c.first)-len(c.unsent))
	case c.carries == cargoFrames && r.other(to).scan.AtBoundary(), c.carries == cargoPing, c.carries == cargoNothing && !to.mid:
		rest = len(c.unsent)
	}
	if rest < 0 || rest+maxLastWords > restBelow(len(c.data)) {
		return unknownRest
	}
	return rest
}
