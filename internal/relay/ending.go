package relay

import (
	"errors"
	"io"
	"os"
	"syscall"
	"time"

	"github.com/wsgateway/caddy-ws-gateway/internal/panics"
)

// ending is what a connection needs only once its end has begun.
type ending struct {
	by       Party
	cause    Close
	limit    string // that was broken; "" for none
	idle     bool   // for too long
	panicked *panics.Panic

	// A side that has ended while something is still to pass: the side has
	// half-closed and is being written to, or takes no more and is being read from.
	lingering *side
	quiet     time.Duration // how long nothing must pass for the lingering to be over
	latest    time.Time     // when lingering or passing is over in any case; zero for never

	deadline time.Time   // when timeUp has something to do
	timer    *time.Timer // calls timeUp; nil on the loop, which looks at the deadline itself
}

// The methods of this file are called with mu held, or take mu where they say so. A
// method that takes mu releases it by a defer, so that a panic never leaves mu held.
// If the method reports that the connection is over, its caller closes the conns.

// setRunning lets close frames be written and deadlines be set. It takes mu.
func (r *Relay) setRunning() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.running = true
	spring(r, "begin")
	if r.ending == nil {
		return
	}
	r.arm(r.closeTimeout)
	r.injectClose(&r.client)
	r.injectClose(&r.upstream)
}

// decide records the cause of the end if there is none yet, and reports whether there
// was none.
func (r *Relay) decide(by Party, c Close) bool {
	if r.ending != nil {
		return false
	}
	r.ending = &ending{by: by, cause: c}
	r.pulse &^= pingDue
	if r.pumps != nil && r.pumps.wake != nil {
		close(r.pumps.wake)
	}
	return true
}

// isEnding takes mu.
func (r *Relay) isEnding() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.ending != nil
}

// overrule records another cause in place of a failure of a side, as long as that side
// may still say why it failed. It reports whether that was so.
func (r *Relay) overrule(by Party, c Close) bool {
	s := r.lingers()
	if s == nil || s.gone {
		return false
	}
	r.ending.by, r.ending.cause, r.ending.limit = by, c, ""
	r.ending.lingering = nil
	return true
}

// overtake records another cause in place of a side's close frame, which has come behind
// what is the other cause and is not passed on. It reports whether that was so.
func (r *Relay) overtake(from *side, c Close) bool {
	if r.finished || r.ending.by != from.party || !from.scan.Closed() {
		return false
	}
	r.ending.by, r.ending.cause, r.ending.limit = Gateway, c, ""
	return true
}

// closeFrameCame begins the end that a side has asked for, before the side's close
// frame is passed on.
func (r *Relay) closeFrameCame(from *side) {
	code, reason, _ := from.scan.Close()
	c := Close{Code: code, Reason: reason}
	if r.decide(from.party, c) || r.lingers() == from && r.overrule(from.party, c) {
		r.ending.latest = time.Now().Add(maxPassing)
		r.arm(r.closeTimeout)
	}
}

// passing reports whether data is still being written to a side that the other side's
// close frame ends. That may take long, as long as it makes progress.
func (r *Relay) passing() bool {
	for _, to := range []*side{&r.client, &r.upstream} {
		if to.writing && !to.shut && r.other(to).scan.Closed() {
			return r.writeTimeout > 0 && time.Now().Before(r.ending.latest)
		}
	}
	return false
}

// closeFramePassed notes that a side's own close frame has gone out to the other side,
// which needs none of ours then, and which nothing may follow.
func (r *Relay) closeFramePassed(from, to *side) {
	from.complete = true
	to.pending = nil
	to.shut = true
	if r.lingers() != nil {
		r.endLinger()
	}
}

// streamEnded notes that nothing more can be read from a side. It takes mu.
func (r *Relay) streamEnded(from *side, err error) { r.closeIf(r.noteStreamEnd(from, err)) }

func (r *Relay) noteStreamEnd(from *side, err error) (over bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	to := r.other(from)
	from.complete, from.gone = true, true
	half := errors.Is(err, io.EOF)
	if !half {
		from.shut, from.pending = true, nil
	}
	switch {
	case r.finished:
	case r.decide(from.party, vanished(from)):
		if half {
			r.linger(from, r.lingerTimeout, maxLinger)
			break
		}
		r.arm(r.closeTimeout)
		r.requestClose(to, vanished(from))
	case r.lingers() == from:
		r.endLinger() // the side took no more, and has said all that it had to say
	case r.lingers() == to && to.gone:
		r.ending.lingering = nil // both sides have vanished, and neither can be told
	case to.pending != nil && to.mid:
		r.abandon(to)
	}
	return r.settle()
}

// writeFailed notes that a side takes no more. Unless the end has begun for another
// reason, that side is the reason. What the side sent before may still be there to be
// read, and end with a close frame.
func (r *Relay) writeFailed(to *side, err error) {
	to.shut = true
	to.pending = nil
	stalled := errors.Is(err, os.ErrDeadlineExceeded)
	switch {
	case r.finished:
	case stalled && r.decide(to.party, stoppedReading(to)):
		to.complete = true
		r.arm(r.closeTimeout)
		r.requestClose(r.other(to), stoppedReading(to))
	case r.decide(to.party, vanished(to)):
		r.lingerOverLastWords(to, err)
	case r.lingers() == to && to.gone:
		r.endLinger()
	case stalled:
		to.complete = true
	}
}

// noteWriteFailed is writeFailed for callers without mu.
func (r *Relay) noteWriteFailed(to *side, err error) (over bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.writeFailed(to, err)
	return r.settle()
}

// lingerOverLastWords waits for what a side has sent that takes no more. A socket that
// has failed gives what the kernel still holds, and then ends; so the time that the
// other side needs for that is the bound. Other conns may go on for ever.
func (r *Relay) lingerOverLastWords(s *side, err error) {
	_, failed := errors.AsType[syscall.Errno](err)
	switch {
	case !failed:
		r.linger(s, r.lingerTimeout, maxLinger)
	case r.writeTimeout <= 0:
		r.linger(s, r.closeTimeout, maxLinger)
	default:
		r.linger(s, r.closeTimeout, 0)
	}
}

// vanished is what the other side is told of a side whose stream has ended or failed.
func vanished(s *side) Close { return lost(s, " vanished") }

// stoppedReading is what the other side is told of a side that has stalled.
func stoppedReading(s *side) Close { return lost(s, " stopped reading") }

// lost is what the other side is told of a side that went without a close frame. A
// client is to come back and be given another upstream, which many do not after 1011.
func lost(s *side, how string) Close {
	code := codeInternalError
	if s.party == Upstream {
		code = codeServiceRestart
	}
	return Close{Code: code, Reason: s.party.String() + how}
}

// lingers returns the side that is lingering, or nil.
func (r *Relay) lingers() *side {
	if r.ending == nil {
		return nil
	}
	return r.ending.lingering
}

// linger keeps the connection up for a side that has ended, until nothing has passed
// for quiet, but no longer than most; 0 is for as long as it takes.
func (r *Relay) linger(s *side, quiet, most time.Duration) {
	r.ending.lingering, r.ending.quiet = s, quiet
	if most > 0 {
		r.ending.latest = time.Now().Add(most)
	}
	r.arm(quiet)
}

// quietIn returns how long the lingering has to last yet.
func (r *Relay) quietIn() time.Duration {
	now := time.Now()
	wait := moment(r.lastActive).Add(r.ending.quiet).Sub(now)
	if r.client.writing || r.upstream.writing {
		wait = r.ending.quiet
	}
	if !r.ending.latest.IsZero() {
		wait = min(wait, r.ending.latest.Sub(now))
	}
	return wait
}

// endLinger ends the lingering and tells the other side that the lingering one has
// vanished.
func (r *Relay) endLinger() {
	from := r.ending.lingering
	r.ending.lingering = nil
	from.complete = true
	r.arm(r.closeTimeout)
	r.requestClose(r.other(from), vanished(from))
}

// arm sets when timeUp is to be called. It is called only while the connection is
// ending.
func (r *Relay) arm(d time.Duration) {
	if !r.running {
		return
	}
	r.ending.deadline = time.Now().Add(d)
	switch {
	case r.looped:
	case r.ending.timer == nil:
		r.ending.timer = time.AfterFunc(d, func() { r.guarded(r.timeUp) })
	default:
		r.ending.timer.Reset(d)
	}
}

// timeUp does what is due when the deadline has come, if it has. It takes mu.
func (r *Relay) timeUp() { r.closeIf(r.noteTimeUp()) }

func (r *Relay) noteTimeUp() (over bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	spring(r, "deadline")
	switch left := time.Until(r.ending.deadline); {
	case r.finished:
	case left > 0:
		r.arm(left) // armed anew while this call was waiting for mu
	case r.ending.lingering != nil:
		if wait := r.quietIn(); wait > 0 {
			r.arm(wait)
			break
		}
		r.endLinger()
	case r.passing():
		r.arm(r.closeTimeout)
	default:
		r.finish()
		return true
	}
	return r.settle()
}

// settle finishes the connection if nothing more is expected from either side and
// nothing of ours is still to be written. It reports whether that is so, and the conns
// have to be closed.
func (r *Relay) settle() (over bool) {
	if !r.settled() {
		return false
	}
	r.finish()
	return true
}

func (r *Relay) settled() bool {
	return r.ending != nil && !r.finished && r.ending.lingering == nil &&
		r.client.settled() && r.upstream.settled()
}

func (s *side) settled() bool {
	return s.complete && !s.writing && s.pending == nil
}

// finish stops all writing. Its caller closes the conns next.
func (r *Relay) finish() {
	r.finished = true
	r.client.shut, r.upstream.shut = true, true
	r.client.pending, r.upstream.pending = nil, nil
	if r.ending.timer != nil {
		r.ending.timer.Stop()
	}
}

// closeIf closes the conns of a connection that is over. It is called without mu.
func (r *Relay) closeIf(over bool) {
	if over {
		r.closeConns()
	}
}

// closeConns closes both conns. It is called once, without mu. On the loop it does
// nothing, because the loop closes its descriptors when it finds the relay finished.
func (r *Relay) closeConns() {
	if r.looped {
		return
	}
	defer r.pumps.work.Done()
	r.hangUp()
}
