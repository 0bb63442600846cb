package relay

import (
	"bytes"
	"errors"
	"time"
)

// pump reads from one side until that side's stream ends, and passes the bytes on.
func (r *Relay) pump(from, to *side) {
	flow := r.pumps.buffers.writes.enter(r, to)
	defer flow.leave()
	var short []byte // what came and is to be judged together with what follows
	if early := from.kept; early != nil {
		from.kept = nil // else it would be held for as long as the connection lives
		short = bytes.Clone(r.pass(from, to, early.data, flow))
	}
	in := readerOf(from.conn, r.pumps.buffers)
	for {
		p, err := in.read()
		if len(p) > 0 {
			if len(short) > 0 {
				p = append(short, p...)
			}
			short = bytes.Clone(r.pass(from, to, p, flow))
		}
		in.release() // not after a panic: the buffer may still be in use
		if err != nil {
			r.streamEnded(from, err)
			return
		}
	}
}

// pass writes p, which came from one side, to the other, up to a close frame. It returns
// what is too short to be judged.
func (r *Relay) pass(from, to *side, p []byte, flow *flow) []byte {
	for len(p) > 0 {
		begun := from.begun()
		next := r.takeBaton(from, to, p, monotonic(time.Now()))
		switch next.fate {
		case fatePass:
			spring(r, "pump")
			written, err := r.write(to, p[:next.n], flow)
			if errors.Is(err, errGivenUp) {
				r.closeIf(r.noteGivenUp(from, to, p[:next.n], begun, written))
			} else {
				r.returnBaton(from, to, err, flow)
			}
			p = p[next.n:]
		case fateSwallow:
			r.pumps.keeper.set(r.pumps.entry, r.wakesAt()) // the next ping may be due before the answer was
			p = p[next.n:]
		case fateWait:
			r.waitForRate(time.Duration(next.n))
		case fateBusy:
			r.awaitBaton()
		case fateShort:
			return p
		case fateDrop, fateBreach:
			return nil
		}
	}
	return nil
}

// waitForRate waits for some time, or until the connection ends.
func (r *Relay) waitForRate(wait time.Duration) {
	ended := r.endOf()
	if ended == nil {
		return
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ended:
	}
}

// endOf returns what is closed when the connection begins to end; nil if it has begun. It
// takes mu.
func (r *Relay) endOf() <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ending != nil {
		return nil
	}
	if r.pumps.wake == nil {
		r.pumps.wake = make(chan struct{})
	}
	return r.pumps.wake
}
