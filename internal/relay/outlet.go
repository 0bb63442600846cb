package relay

import (
	"errors"
	"os"
	"time"

	"github.com/wsgateway/caddy-ws-gateway/internal/wsframe"
)

// takeBaton makes the caller the writer to a side, and follows the stream over
// as much of p as may be written there in one go: n bytes. It is refused when
// nothing may be written there any more; p is then dropped.
func (r *Relay) takeBaton(from, to *side, p []byte) (n int, ok bool) {
	r.mu.Lock()
	if to.shut {
		r.dropAndUnlock(from, p)
		return 0, false
	}
	to.writing = true
	n = from.scanPiece(p, to.pending != nil)
	if from.scan.Closed() {
		r.closeFrameCame(from)
	}
	r.mu.Unlock()
	return n, true
}

// scanPiece follows the stream over as much of p as may be written in one go:
// all of it, but no further than a close frame, and no further than the end of
// the frame in progress if a close frame of ours waits for it (cut).
func (s *side) scanPiece(p []byte, cut bool) int {
	n := 0
	for n < len(p) {
		n += s.scan.ScanToBoundary(p[n:])
		if cut || s.scan.Closed() {
			break
		}
	}
	return n
}

// dropAndUnlock follows the stream over what can no longer be passed on, to see
// the close frame with which the side answers ours. It releases mu.
func (r *Relay) dropAndUnlock(from *side, p []byte) {
	if from.scan.Closed() {
		r.mu.Unlock()
		return
	}
	from.scan.Scan(p)
	if from.scan.Closed() {
		from.ended = true
	}
	r.settleAndUnlock()
}

// returnBaton ends what takeBaton began: it notes what was written and, at the
// end of a frame, has the close frame written that waited for it.
func (r *Relay) returnBaton(from, to *side, err error) {
	now := time.Now()
	r.mu.Lock()
	r.pieceWritten(from, to, err, now)
	if to.pending != nil && !to.mid {
		frame := to.takePending()
		r.mu.Unlock()
		r.writeClose(to, frame)
		return
	}
	r.settleAndUnlock()
}

// pieceWritten notes that what takeBaton allowed was written, or that it was
// not. The caller holds mu.
func (r *Relay) pieceWritten(from, to *side, err error, now time.Time) {
	to.writing = false
	to.mid = !from.scan.AtBoundary()
	r.lastActive = now
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

// injectClose has the pending close frame written: by the loop, which looks for
// it, or in a goroutine of its own, so that nobody has to wait for the peer to
// take it. The outlet must be idle and between two frames. The caller holds mu.
func (r *Relay) injectClose(to *side) {
	if r.looped {
		return
	}
	frame := to.takePending()
	r.work.Add(1)
	go r.writeInjected(to, frame)
}

func (r *Relay) writeInjected(to *side, frame []byte) {
	defer r.work.Done()
	r.writeClose(to, frame)
}

// takePending takes the baton for good, to write the close frame that it
// returns. The caller holds mu.
func (s *side) takePending() []byte {
	frame := wsframe.AppendClose(nil, s.pending.Code, s.pending.Reason, s.masked)
	s.pending = nil
	s.shut = true
	s.writing = true
	return frame
}

// writeClose writes a frame from takePending.
func (r *Relay) writeClose(to *side, frame []byte) {
	err := r.write(to, frame)
	r.mu.Lock()
	r.closeWritten(to, err)
	r.settleAndUnlock()
}

// closeWritten notes that a frame from takePending was written, or that it was
// not. The caller holds mu.
func (r *Relay) closeWritten(to *side, err error) {
	to.writing = false
	if err != nil {
		r.writeFailed(to, err)
	}
}

// abandon gives up on a side that cannot be sent its close frame, because it has
// got the beginning of a frame whose rest will never come. The caller holds mu.
func (r *Relay) abandon(s *side) {
	s.pending = nil
	s.shut = true
	s.ended = true
}

// write writes all of p. A write that has timed out goes on if at least some of
// it went out.
func (r *Relay) write(to *side, p []byte) error {
	for {
		if r.writeTimeout > 0 {
			// A conn that cannot do this is still bounded by CloseTimeout.
			_ = to.conn.SetWriteDeadline(time.Now().Add(r.writeTimeout))
		}
		n, err := to.conn.Write(p)
		if err == nil {
			if r.writeTimeout > 0 {
				// What TLS writes of its own accord must not meet a deadline of ours.
				_ = to.conn.SetWriteDeadline(time.Time{})
			}
			return nil
		}
		if n <= 0 || n >= len(p) || !errors.Is(err, os.ErrDeadlineExceeded) {
			return err
		}
		p = p[n:]
	}
}
