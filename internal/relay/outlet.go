package relay

import (
	"errors"
	"os"
	"time"

	"github.com/wsgateway/caddy-ws-gateway/internal/wsframe"
)

// takeBaton makes the caller the writer to a side, if the first of the bytes that came
// from the other side are to be written there.
func (r *Relay) takeBaton(from, to *side, p []byte, now int64) piece {
	next, over := r.followPiece(from, to, p, now)
	r.closeIf(over)
	return next
}

// followDropped follows the stream over p to see the close frame with which the side
// answers ours. The caller holds mu.
func (r *Relay) followDropped(from *side, p []byte) (over bool) {
	if from.scan.Closed() {
		return false
	}
	from.scan.Scan(p)
	if from.scan.Closed() {
		from.complete = true
		if r.lingers() == from {
			r.closeFrameCame(from) // the side says why, if only to us
		}
	}
	return r.settle()
}

// returnBaton ends what takeBaton began: it notes what was written and, at the end of a
// frame, writes the frame of ours that waited for that.
func (r *Relay) returnBaton(from, to *side, err error, flow *flow) {
	ping, closing, over := r.notePiece(from, to, err, monotonic(time.Now()))
	if ping != nil {
		r.pumps.keeper.set(r.pumps.entry, r.wakesAt()) // nothing else asks when the answer is due
		_, err := r.write(to, ping, flow)
		closing, over = r.notePing(err)
	}
	if closing != nil {
		r.writeClose(to, closing)
		return
	}
	r.closeIf(over)
}

func (r *Relay) notePiece(from, to *side, err error, now int64) (ping, closing []byte, over bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.pieceWritten(from, to, err, now)
	switch {
	case to.pending != nil && !to.mid:
		return nil, to.takePending(), false
	case to.party == Client && r.mayPing():
		return r.takePing(now), nil, false
	}
	return nil, nil, r.settle()
}

// pieceWritten notes that the piece that takeBaton allowed was written, or failed to
// be. The caller holds mu.
func (r *Relay) pieceWritten(from, to *side, err error, now int64) {
	to.writing = false
	to.mid = !from.scan.AtBoundary()
	if to.mid && from.barred && to.pending != nil {
		r.abandon(to) // the rest of the frame was rejected
	}
	if from.carries {
		r.lastActive = now
	}
	if from.scan.Closed() {
		r.closeFramePassed(from, to)
	}
	if err != nil {
		r.writeFailed(to, err)
	}
}

// requestClose has a close frame of ours written to a side: now, or by the pump
// that is writing to it, at the end of the frame in progress. The caller holds
// mu.
func (r *Relay) requestClose(to *side, c Close) {
	if to.shut {
		return
	}
	to.pending = &c
	switch {
	case !r.running || to.writing:
	case !to.mid:
		r.injectClose(to)
	case r.other(to).gone:
		r.abandon(to)
	}
}

// injectClose has the pending close frame written: by the loop, which looks for such a
// frame, or by a goroutine of its own, so that the caller need not wait for the peer to
// take the frame. The outlet must be idle and between two frames. The caller holds mu.
func (r *Relay) injectClose(to *side) {
	if r.looped {
		return
	}
	frame := to.takePending()
	r.pumps.work.Add(1)
	go r.writeInjected(to, frame)
}

func (r *Relay) writeInjected(to *side, frame []byte) {
	defer r.pumps.work.Done()
	defer r.contain()
	spring(r, "inject")
	r.writeClose(to, frame)
}

// takePending takes the baton for good, for writing the close frame that is returned.
// The caller holds mu.
func (s *side) takePending() []byte {
	frame := wsframe.AppendClose(nil, s.pending.Code, s.pending.Reason, s.masked)
	s.pending = nil
	s.shut = true
	s.writing = true
	return frame
}

// writeClose writes a frame from takePending.
func (r *Relay) writeClose(to *side, frame []byte) {
	_, err := r.write(to, frame, nil)
	r.closeIf(r.noteClose(to, err))
}

// noteClose notes that a frame from takePending was written, or failed to be. It takes
// mu.
func (r *Relay) noteClose(to *side, err error) (over bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	to.writing = false
	if err != nil {
		r.writeFailed(to, err)
	}
	return r.settle()
}

// abandon gives up on a side to which no close frame can be sent, because the side has
// got the beginning of a frame whose rest will never come. A [Teller] has not. The caller
// holds mu.
func (r *Relay) abandon(s *side) {
	r.tellByItself(s)
	s.pending = nil
	s.shut = true
	s.complete = true
}

// errGivenUp is why a write ended that was given up because the side is slow.
var errGivenUp = errors.New("relay: given up, for the peer is slow")

// write writes all of p, as a part of flow where that is not nil. A write that has timed
// out goes on if some of p went out, unless the peer is known to have taken nothing all
// the same. It returns how much went out.
func (r *Relay) write(to *side, p []byte, flow *flow) (written int, err error) {
	flow.begins(p)
	defer flow.ends()
	pace := flow.paced()
	for {
		if r.writeTimeout > 0 {
			now := time.Now()
			// A conn that cannot do this is still bounded by CloseTimeout.
			_ = to.conn.SetWriteDeadline(now.Add(r.writeTimeout))
			pace.writes(now)
		}
		if flow.isGivenUp() {
			return written, errGivenUp
		}
		n, err := to.conn.Write(p[written:])
		written += max(n, 0)
		stuck := pace.wrote()
		switch {
		case err == nil:
			if r.writeTimeout > 0 {
				// What crypto/tls writes of its own accord must not meet this deadline.
				_ = to.conn.SetWriteDeadline(time.Time{})
			}
			return written, nil
		case flow.isGivenUp():
			return written, errGivenUp
		case n <= 0 || written >= len(p) || stuck || !errors.Is(err, os.ErrDeadlineExceeded):
			return written, err
		}
	}
}
