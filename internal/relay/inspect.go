package relay

import (
	"math"

	"github.com/wsgateway/caddy-ws-gateway/internal/wsframe"
)

// piece is what is to be done with bytes that came from a side.
type piece struct {
	n    int // the first so many of them; where they wait, for how many nanoseconds at most
	fate fate
}

// fate is what becomes of a piece.
type fate uint8

const (
	fatePass    fate = iota // is to be written to the other side
	fateSwallow             // is to be left out: it answers a ping of ours
	fateDrop                // is to be left out, and so is all that follows
	fateShort               // is the beginning of what is judged as a whole, and has to wait for the rest
	fateWait                // has to wait until a rate allows it
	fateBusy                // has to wait until a ping is written
	fateBreach              // may not pass, and ends the connection
)

// followPiece follows the stream of a side over as much of p as may be written to the
// other side in one go, and makes the caller the writer there if that is anything.
func (r *Relay) followPiece(from, to *side, p []byte, now int64) (next piece, over bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.marks.Due(now) {
		r.mark(now)
	}
	if to.shut || from.barred {
		return piece{fate: fateDrop}, r.followDropped(from, p)
	}
	if to.party == Client && r.pumps != nil && r.pumps.handback != nil {
		return piece{fate: fateBusy}, false
	}
	to.writing = true
	spring(r, "locked")
	data := from.scan.Data()
	next, v := r.nextPiece(from, to, p, now)
	to.writing = next.fate == fatePass
	from.waits = next.fate == fateWait
	if from.party == Client && next.fate <= fateSwallow {
		r.pulse |= heard
	}
	switch next.fate {
	case fatePass:
		from.carries = from.scan.Data() != data
		if from.scan.Closed() {
			r.closeFrameCame(from)
		}
	case fateSwallow:
		r.notePong(now)
	case fateBreach:
		r.breach(from, to, v)
		return piece{fate: fateDrop}, r.followDropped(from, p)
	case fateDrop, fateShort, fateWait, fateBusy:
	}
	return next, false
}

// nextPiece follows the stream of a side over what may be written in one go: all of p,
// but no further than a close frame, nor than a frame that has another fate, and no
// further than the end of the frame in progress if a frame of ours waits for that.
func (r *Relay) nextPiece(from, to *side, p []byte, now int64) (piece, *violation) {
	cut := to.pending != nil || r.pulse.is(pingDue) && to.party == Client
	n := 0
	for n < len(p) {
		took, fate, v := r.nextFrame(from, p[n:], now)
		switch {
		case fate == fatePass:
		case n > 0: // comes next, once that is written
			return piece{n: n}, nil
		default:
			return piece{took, fate}, v
		}
		n += took
		if cut || from.scan.Closed() || from.metered {
			break
		}
	}
	return piece{n: n}, nil
}

// nextFrame follows the stream to the end of the frame in progress, or of the next frame
// if none is, as far as p goes and may be passed now. Where a frame has another fate, the
// stream is left to stand before the frame, and n says how long a pong to ours is.
func (r *Relay) nextFrame(from *side, p []byte, now int64) (n int, fate fate, v *violation) {
	if !from.scan.AtBoundary() {
		return r.nextPayload(from, p, now)
	}
	h, complete := wsframe.ParseHeader(p)
	held := r.ending == nil // else the policy has no say any more
	switch {
	case !complete:
		return 0, fateShort, nil
	case h.Endless():
		return 0, fateBreach, endlessFrame
	case h.Control():
		fate, v = r.judgeControl(from, &h, p, now)
	case held:
		var wait int64
		if fate, wait, v = r.judgeData(from, &h, now); fate == fateWait {
			return waitOf(wait), fate, nil
		}
	}
	switch fate {
	case fatePass:
	case fateSwallow:
		return h.Size + pingPayload, fate, nil
	default:
		return 0, fate, v
	}
	payload := upTo(p[h.Size:], h.Length)
	if held && r.meters(from, &h) {
		allowed, wait := r.meter(payload, h.Length, now)
		if wait > 0 {
			return waitOf(wait), fateWait, nil
		}
		payload = payload[:allowed]
	}
	if held && r.strict != nil {
		if fate, v = r.strict.judge(from.party, &h, payload); fate != fatePass {
			return 0, fate, v
		}
	}
	r.accept(from, &h, len(payload), now)
	from.scan.Begin(h)
	if len(payload) > 0 {
		from.scan.ScanToBoundary(payload)
	}
	return h.Size + len(payload), fatePass, v
}

// nextPayload follows the stream over more payload of the frame in progress.
func (r *Relay) nextPayload(from *side, p []byte, now int64) (n int, fate fate, v *violation) {
	p = upTo(p, from.scan.Left())
	if r.ending == nil {
		if from.metered {
			allowed, wait := r.meter(p, from.scan.Left(), now)
			if wait > 0 {
				return waitOf(wait), fateWait, nil
			}
			p = p[:allowed]
			r.policy.Bytes.take(&r.guard.bytes, uint64(allowed), now, r.lateness())
		}
		if r.strict != nil && !r.assembles() {
			ends := uint64(len(p)) == from.scan.Left() && from.scan.Final()
			if v = r.strict.sides[from.party].judgeRest(p, from.scan.Key(), ends); v != nil {
				return 0, fateBreach, v
			}
		}
	}
	return from.scan.ScanToBoundary(p), fatePass, v
}

// waitOf returns a wait as a piece has it. One that is too long is looked at again.
func waitOf(wait int64) int { return int(min(wait, math.MaxInt32)) }

// upTo returns the first n bytes of p, or all if p has no more.
func upTo(p []byte, n uint64) []byte {
	if uint64(len(p)) > n {
		return p[:n]
	}
	return p
}

// accept notes that a frame passes, with so much of its payload for now.
func (r *Relay) accept(from *side, h *wsframe.Header, payload int, now int64) {
	if h.Control() {
		if h.Opcode != wsframe.Close {
			controlRate.take(&from.controls, 1, now, 0)
		}
		return
	}
	from.metered = false
	if r.guard == nil || from.party != Client {
		return
	}
	if rate := &r.policy.Messages; rate.Count > 0 && h.Opcode != wsframe.Continuation {
		rate.take(&r.guard.messages, 1, now, r.lateness())
	}
	if rate := &r.policy.Bytes; rate.Count > 0 {
		from.metered = r.meters(from, h)
		if from.metered {
			rate.take(&r.guard.bytes, uint64(payload), now, r.lateness())
		} else {
			rate.take(&r.guard.bytes, h.Length, now, r.lateness())
		}
	}
	from.slowed = from.slowed && !r.eases(now)
}
