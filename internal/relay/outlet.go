package relay

import (
	"errors"
	"os"
	"time"

	"github.com/wsgateway/caddy-ws-gateway/internal/wsframe"
)

// takeBaton makes the calling pump the writer to a side. It is refused when
// nothing may be written there any more. If cut is true, a close frame waits for
// the end of the frame in progress.
func (r *Relay) takeBaton(to *side) (cut, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if to.shut {
		return false, false
	}
	to.writing = true
	return to.pending != nil, true
}

// returnBaton ends what takeBaton began: it records what was written and, at the
// end of a frame, writes the close frame that waited for it.
func (r *Relay) returnBaton(from, to *side, err error) {
	now := time.Now()
	_, _, closed := from.scan.Close()

	r.mu.Lock()
	to.writing = false
	to.mid = !from.scan.AtBoundary()
	from.counts = from.scan.Counts()
	r.lastActive = now
	if closed {
		r.closeFramePassed(from, to)
	}
	if err != nil {
		r.writeFailed(to, err)
	}
	if to.pending != nil && !to.mid {
		frame := to.takePending()
		r.mu.Unlock()
		r.writeClose(to, frame)
		return
	}
	r.settleAndUnlock()
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

// injectClose writes the pending close frame in a goroutine of its own, so that
// nobody has to wait for the peer to take it. The outlet must be idle and
// between two frames. The caller holds mu.
func (r *Relay) injectClose(to *side) {
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
	to.writing = false
	if err != nil {
		r.writeFailed(to, err)
	}
	r.settleAndUnlock()
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
			return nil
		}
		if n <= 0 || n >= len(p) || !errors.Is(err, os.ErrDeadlineExceeded) {
			return err
		}
		p = p[n:]
	}
}
