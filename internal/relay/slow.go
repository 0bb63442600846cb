package relay

import (
	"os"

	"github.com/wsgateway/caddy-ws-gateway/internal/wsframe"
)

// codeTryAgainLater is what a side is told that is ended because it is slow and too much
// is held for such sides (RFC 6455, and the registry of IANA).
const codeTryAgainLater = 1013

// unknownRest is what RestOfFrame returns where a frame does not end within what there
// is.
const unknownRest = -1

// begun returns how many bytes from here on belong to the frame in progress; 0 if the
// stream stands between two frames. It may be called by the reader of the side.
func (s *side) begun() int {
	if s.scan.AtBoundary() {
		return 0
	}
	if left := s.scan.Left(); left > 0 && left <= chunkMost {
		return int(left)
	}
	return unknownRest
}

// chunkMost is more than anything that is written in one go.
const chunkMost = 1 << 30

// RestOfFrame returns how many bytes from sent on are needed to end the frame that is in
// progress there; less than 0 where nobody knows. The first of the bytes, as many as begun,
// end a frame.
func RestOfFrame(p []byte, begun, sent int) int {
	if begun < 0 || begun > len(p) {
		return unknownRest
	}
	var s wsframe.Scanner
	end := begun
	for end < sent {
		end += s.ScanToBoundary(p[end:])
		if !s.AtBoundary() {
			return unknownRest
		}
	}
	return end - sent
}

// slowConsumer is what a side is told that is ended for being slow, and what the other
// one is. As where a side has stalled for good, a client whose upstream is the slow one
// is to come back.
func slowConsumer(s *side) (own, other Close) {
	return Close{Code: codeTryAgainLater, Reason: "overloaded: slow consumer"}, lost(s, " reads too slowly")
}

// endSlow ends the connection of a side that has been slow for longest of all while too
// much is held. If the side can be told, so that a close frame can follow what is not
// dropped, endSlow takes the baton for the frame that it returns. The writer to the side
// has given up the rest of what it was writing. It takes mu.
func (r *Relay) endSlow(to *side, tellable bool) (frame []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	to.writing = false
	if r.decideSlow(to) {
		own, other := slowConsumer(to)
		if tellable {
			to.mid = false
			to.pending = &own
			frame = to.takePending()
		} else {
			r.abandon(to)
		}
		r.requestClose(r.other(to), other)
	} else {
		r.writeFailed(to, os.ErrDeadlineExceeded)
	}
	r.settle()
	return frame
}

// decideSlow records a slow side as the cause of the end, if there is none yet. The cause
// is what the client is told.
func (r *Relay) decideSlow(s *side) bool {
	cause, other := slowConsumer(s)
	if s.party == Upstream {
		cause = other
	}
	if !r.decide(Gateway, cause) {
		return false
	}
	r.ending.limit = LimitBuffers
	r.arm(r.closeTimeout)
	return true
}
