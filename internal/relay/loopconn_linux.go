//go:build !noloop && !386

package relay

import (
	"bytes"
	"io"
	"os"
	"syscall"
	"time"
)

// socket is that of a side on the loop. It belongs to the loop's goroutine, and no other
// uses the descriptor from the first to the last.
type socket struct {
	fd      int32
	watched uint16   // the events that the epoll set tells of, or moored; 0 if the socket is not in the set
	bulk    bool     // the last read filled its room, so that there is more
	slow    bool     // the kernel was told to hold less for the peer
	unsent  *chunk   // what the side has not taken yet
	tls     *session // nil if the socket is plain
}

// heldRead is how much is read at once from a client that is held back: a record of TLS,
// and then some.
const heldRead = 20 << 10

// What is asked of the epoll set for a side that is read from.
const incoming = syscall.EPOLLIN | syscall.EPOLLRDHUP

// moored is for a socket that is in the set from before there was a relay, while the set
// tells of nothing. It is no event.
const moored = 1 << 15

// passEarly passes on what came before and could not be passed then, as far as that can
// be passed now, and the end of the stream if TLS has brought that along.
func (l *loop) passEarly(r *Relay, from, to *side) {
	if k := from.kept; k != nil {
		l.passKept(r, from, to, k)
	}
	ended := from.socket.tls != nil && from.socket.tls.end != nil
	if k := from.kept; !r.place.valid || k != nil && (!k.short || !ended) {
		return
	}
	from.kept = nil
	if ended && !from.gone && to.socket.unsent == nil {
		r.streamEnded(from, from.socket.tls.end)
		r.place.touched = true
	}
}

func (l *loop) passKept(r *Relay, from, to *side, k *kept) {
	for r.place.valid && to.socket.unsent == nil {
		p := l.room(r, from, to)
		p = p[:copy(p, k.data)]
		rest, short := l.pass(r, from, to, p)
		k.data = k.data[len(p)-len(rest):]
		k.short = short && len(k.data) == len(rest)
		if len(k.data) == 0 {
			from.kept = nil // else it would be held for as long as the connection lives
			return
		}
		if len(rest) == len(p) {
			return // nothing of it may pass yet
		}
	}
}

// resume passes on what a rate has held back, as far as that may pass now.
func (l *loop) resume(r *Relay) {
	if c := &r.client; c.kept != nil && !c.kept.short {
		l.passEarly(r, c, &r.upstream)
	}
}

// passNew passes on p, which lies in the loop's chunk behind what came early and was too
// short. What may not pass yet is kept.
func (l *loop) passNew(r *Relay, from, to *side, p []byte) {
	from.kept = nil
	if rest, short := l.pass(r, from, to, p); len(rest) > 0 && r.place.valid {
		from.kept = &kept{data: bytes.Clone(rest), short: short}
	}
}

// room is where bytes for a side are read to. It is smaller if TLS is going to make
// them more.
func (l *loop) room(r *Relay, from, to *side) []byte {
	most := min(l.readSize, r.mostAtOnce(from))
	if to.socket.tls != nil {
		most = min(most, chunkSize/2)
	}
	return l.chunk.data[:l.bound(from, to, most)]
}

// mostAtOnce returns how much is read from a side at most in one go. What a rate is going
// to hold back has to be kept.
func (r *Relay) mostAtOnce(from *side) int {
	switch {
	case from.party != Client || r.guard == nil || !r.policy.holdsBack():
		return chunkSize
	case from.slowed:
		return heldRead
	default:
		return firstRead
	}
}

// waiting returns what came and is not passed on yet.
func (s *side) waiting() []byte {
	if s.kept == nil {
		return nil
	}
	return s.kept.data
}

// receive reads once from a side and passes the bytes on.
func (l *loop) receive(r *Relay, from, to *side) {
	if from.socket.tls != nil {
		l.receiveRecords(r, from, to)
		return
	}
	room := l.room(r, from, to)
	had := copy(room, from.waiting())
	n, errno := receive(from.socket.fd, room[had:])
	switch {
	case errno == syscall.EAGAIN:
	case errno != 0:
		r.streamEnded(from, errno)
		r.place.touched = true
	case n == 0:
		r.streamEnded(from, io.EOF)
		r.place.touched = true
	default:
		from.socket.bulk = had+n == len(room)
		l.again = l.again || from.socket.bulk
		l.passNew(r, from, to, room[:had+n])
	}
}

// pass writes p, which lies in the loop's chunk, to a side, up to a close frame. It
// returns what may not be written yet, and whether that is too short to be judged.
func (l *loop) pass(r *Relay, from, to *side, p []byte) (rest []byte, short bool) {
	now := monotonic(l.now)
	for len(p) > 0 && r.place.valid {
		begun := from.begun()
		next := r.takeBaton(from, to, p, now)
		switch next.fate {
		case fatePass:
			spring(r, "write")
			err := l.write(to, &l.chunk, p[:next.n])
			if c := to.socket.unsent; c != nil {
				c.carries = cargoFrames
				c.begun = RestOfFrame(p[:next.n], begun, next.n-len(c.unsent))
			}
			p = p[next.n:]
			if to.socket.unsent != nil {
				r.place.touched = true
				return p, false
			}
			l.passed(r, from, to, err)
			if c := to.socket.unsent; c != nil && c.carries == cargoPing {
				return p, false
			}
		case fateSwallow:
			r.place.touched = true // the next ping may be due before the answer was
			p = p[next.n:]
		case fateWait:
			l.timers.set(r.place.index, now+int64(next.n))
			r.place.touched = true // nothing more is to be read
			return p, false
		case fateShort, fateBusy: // the loop is never busy with a ping here
			r.place.touched = true
			return p, true
		case fateDrop, fateBreach:
			r.place.touched = true
			return nil, false
		}
	}
	return nil, false
}

// write sends p, which lies in the chunk that the loop has at in, to a side. If the side
// does not take all of p, the rest becomes the side's unsent.
func (l *loop) write(to *side, in **chunk, p []byte) error {
	if to.socket.tls != nil {
		return l.seal(to, p)
	}
	sent, errno := send(to.socket.fd, p)
	if errno == 0 && sent < len(p) {
		l.own(to, in, p[sent:])
	}
	return errorOf(errno)
}

// passed ends on the loop what takeBaton began.
func (l *loop) passed(r *Relay, from, to *side, err error) {
	if r.notePassed(from, to, err, monotonic(l.now)) {
		l.lookAfter(r) // before more is passed, because a close frame may be waiting
	}
}

func (r *Relay) notePassed(from, to *side, err error, now int64) (asks bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.pieceWritten(from, to, err, now)
	r.settle()
	return r.ending != nil || r.pulse.is(pingDue)
}

func errorOf(errno syscall.Errno) error {
	if errno == 0 {
		return nil
	}
	return errno
}

// lookAfter does what the rules of ending have asked for, and sees to it that the loop
// hears of whatever the connection waits for now.
func (l *loop) lookAfter(r *Relay) {
	if !r.place.valid {
		return
	}
	r.place.touched = false
	due := r.takeDue(monotonic(l.now))
	for due.to != nil {
		l.inject(r, due)
		due = r.takeDue(monotonic(l.now))
	}
	if due.finished {
		l.close(r)
		return
	}
	if !due.alarm.IsZero() {
		// Later than now in any case, else ring would not come to an end.
		l.timers.set(r.place.index, max(monotonic(due.alarm), monotonic(l.now)+1))
	}
	err := l.listen(r, &r.client, &r.upstream)
	if err == nil {
		err = l.listen(r, &r.upstream, &r.client)
	}
	if err != nil { // the loop would not hear of what comes
		l.wreck(r, Close{Code: codeInternalError, Reason: "cannot be watched: " + err.Error()}, nil)
	}
}

// due is what the rules ask for now.
type due struct {
	to       *side  // is to be sent a frame of ours; nil for none
	frame    []byte // a ping, or a close frame
	cargo    cargo  // which of the two
	finished bool
	alarm    time.Time // when the connection is to be looked at again, or zero
}

// takeDue returns what is due. It takes the baton for a frame of ours.
func (r *Relay) takeDue(now int64) due {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range []*side{&r.client, &r.upstream} {
		if s.pending != nil && !s.mid && !s.writing {
			return due{to: s, frame: s.takePending(), cargo: cargoClose}
		}
	}
	if r.mayPing() {
		return due{to: &r.client, frame: r.takePing(now), cargo: cargoPing}
	}
	return due{finished: r.finished, alarm: r.alarm()}
}

// inject writes a frame from takeDue.
func (l *loop) inject(r *Relay, d due) {
	spring(r, "inject")
	err := l.write(d.to, &l.out, l.out.data[:copy(l.out.data, d.frame)])
	if c := d.to.socket.unsent; c != nil {
		c.carries, c.begun = d.cargo, len(c.unsent)
		return
	}
	r.injected(d.to, d.cargo, err)
}

// injected notes that a frame of ours was written, or failed to be.
func (r *Relay) injected(to *side, what cargo, err error) {
	if what == cargoPing {
		r.notePing(err)
		return
	}
	r.noteClose(to, err)
}

// alarm returns when the deadline of the ending comes or a side stalls, or zero. The
// caller holds mu.
func (r *Relay) alarm() time.Time {
	var first time.Time
	if r.ending != nil {
		first = r.ending.deadline
	} else if at := r.attendsAt(); at != never {
		first = moment(at)
	}
	for _, s := range []*side{&r.client, &r.upstream} {
		if at := r.stallsAt(s); !at.IsZero() && (first.IsZero() || at.Before(first)) {
			first = at
		}
	}
	return first
}

// timeUp gives up on sides that have stalled, and on an ending that is overdue.
func (l *loop) timeUp(r *Relay) {
	for _, to := range []*side{&r.client, &r.upstream} {
		at := r.stallsAt(to)
		if r.place.valid && !at.IsZero() && !at.After(l.now) && !l.moves(to) {
			l.flushed(r, r.other(to), to, os.ErrDeadlineExceeded)
		}
	}
	if r.overdue(l.now) {
		r.timeUp()
	}
	r.noteTimeDue(monotonic(l.now))
}

// overdue reports whether the deadline of the ending has come.
func (r *Relay) overdue(now time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.ending != nil && !r.ending.deadline.After(now)
}

// listen has the epoll set tell what is worth knowing of a side: whether the side has
// sent something, unless what it sent before is still here, and whether it takes what
// is unsent.
func (l *loop) listen(r *Relay, s, other *side) error {
	var want uint16
	if s.socket.unsent != nil {
		want = syscall.EPOLLOUT
	}
	if !s.gone && other.socket.unsent == nil && (s.kept == nil || s.kept.short) {
		want |= incoming
	}
	if want == s.socket.watched {
		return nil
	}
	return l.watch(r, s, want)
}

// watch has the epoll set tell of these events of a side, and of no other.
func (l *loop) watch(r *Relay, s *side, want uint16) error {
	k := key{r.place.index << 1, r.place.generation}
	if s == &r.upstream {
		k.socket++
	}
	if err := watch(l.epoll, s.socket.fd, uint32(s.socket.watched), uint32(want), k); err != nil {
		return err
	}
	s.socket.watched = want
	return nil
}

// close ends a connection that is finished.
func (l *loop) close(r *Relay) {
	l.evict(r)
	for _, s := range []*side{&r.upstream, &r.client} {
		spring(r, "close")
		if s.socket.tls != nil {
			l.sealEnd(s)
		}
		if c := l.disown(s); c != nil {
			c.release()
		}
	}
	l.letGo(r)
}
