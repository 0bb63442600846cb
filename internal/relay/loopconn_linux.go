//go:build !noloop && !386

package relay

import (
	"io"
	"os"
	"slices"
	"syscall"
	"time"
)

// socket is that of a side on the loop. It belongs to the loop's goroutine, and no other
// uses the descriptor from the first to the last.
type socket struct {
	fd      int32
	watched uint32   // the events that the epoll set tells of; 0 if the socket is not in the set
	unsent  *chunk   // what the side has not taken yet
	tls     *session // nil if the socket is plain
}

// What is asked of the epoll set for a side that is read from.
const incoming = syscall.EPOLLIN | syscall.EPOLLRDHUP

// passEarly passes on what came before the loop took over, as far as the other side
// takes it, and the end of the stream if TLS has brought that along.
func (l *loop) passEarly(r *Relay, from, to *side) {
	for r.place.valid && len(from.early) > 0 && to.socket.unsent == nil {
		n := copy(l.room(to), from.early)
		from.early = from.early[n:]
		l.pass(r, from, to, l.chunk.data[:n])
	}
	if len(from.early) > 0 || !r.place.valid {
		return
	}
	from.early = nil // else it would be held for as long as the connection lives
	if t := from.socket.tls; t != nil && t.end != nil && !from.gone && to.socket.unsent == nil {
		r.streamEnded(from, t.end)
		r.place.touched = true
	}
}

// room is where bytes for a side are read to. It is smaller if TLS is going to make
// them more.
func (l *loop) room(to *side) []byte {
	if to.socket.tls != nil {
		return l.chunk.data[:min(l.readSize, chunkSize/2)]
	}
	return l.chunk.data[:l.readSize]
}

// receive reads once from a side and passes the bytes on.
func (l *loop) receive(r *Relay, from, to *side) {
	if from.socket.tls != nil {
		l.receiveRecords(r, from, to)
		return
	}
	room := l.room(to)
	n, errno := receive(from.socket.fd, room)
	switch {
	case errno == syscall.EAGAIN:
	case errno != 0:
		r.streamEnded(from, errno)
		r.place.touched = true
	case n == 0:
		r.streamEnded(from, io.EOF)
		r.place.touched = true
	default:
		l.again = l.again || n == len(room)
		l.pass(r, from, to, room[:n])
	}
}

// pass writes p, which lies in the loop's chunk, to a side, up to a close frame.
func (l *loop) pass(r *Relay, from, to *side, p []byte) {
	for len(p) > 0 && r.place.valid {
		n, ok := r.takeBaton(from, to, p)
		if !ok {
			r.place.touched = true
			return
		}
		spring(r, "write")
		err := l.write(to, &l.chunk, p[:n])
		if c := to.socket.unsent; c != nil {
			c.carries, c.dropped = cargoFrames, slices.Clone(p[n:])
			r.place.touched = true
			return
		}
		l.passed(r, from, to, err)
		p = p[n:]
	}
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
	if r.notePassed(from, to, err, l.now) {
		l.lookAfter(r) // before more is passed, because a close frame may be waiting
	}
}

func (r *Relay) notePassed(from, to *side, err error, now time.Time) (ending bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.pieceWritten(from, to, err, now)
	r.settle()
	return r.ending != nil
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
	due := r.takeDue()
	for due.to != nil {
		l.inject(r, due.to, due.frame)
		due = r.takeDue()
	}
	if due.finished {
		l.close(r)
		return
	}
	l.timers.set(r, due.alarm)
	err := l.listen(r, &r.client, &r.upstream)
	if err == nil {
		err = l.listen(r, &r.upstream, &r.client)
	}
	if err != nil { // the loop would not hear of what comes
		l.wreck(r, Close{Code: codeInternalError, Reason: "cannot be watched: " + err.Error()}, nil)
	}
}

// due is what the rules of ending ask for now.
type due struct {
	to       *side  // is to be sent a close frame; nil for none
	frame    []byte // the close frame
	finished bool
	alarm    time.Time // when the connection is to be looked at again, or zero
}

// takeDue returns what is due. It takes the baton for a close frame.
func (r *Relay) takeDue() due {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range []*side{&r.client, &r.upstream} {
		if s.pending != nil && !s.mid && !s.writing {
			return due{to: s, frame: s.takePending()}
		}
	}
	return due{finished: r.finished, alarm: r.alarm()}
}

// inject writes a frame from takePending.
func (l *loop) inject(r *Relay, to *side, frame []byte) {
	spring(r, "inject")
	err := l.write(to, &l.out, l.out.data[:copy(l.out.data, frame)])
	if c := to.socket.unsent; c != nil {
		c.carries = cargoClose
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
		if r.place.valid && !at.IsZero() && !at.After(l.now) && !to.socket.moves(l.now) {
			l.flushed(r, r.other(to), to, os.ErrDeadlineExceeded)
		}
	}
	if r.overdue(l.now) {
		r.timeUp()
	}
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
	var want uint32
	if s.socket.unsent != nil {
		want = syscall.EPOLLOUT
	}
	if !s.gone && other.socket.unsent == nil && len(s.early) == 0 {
		want |= incoming
	}
	if want == s.socket.watched {
		return nil
	}
	k := key{r.place.index << 1, r.place.generation}
	if s == &r.upstream {
		k.socket++
	}
	if err := watch(l.epoll, s.socket.fd, s.socket.watched, want, k); err != nil {
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
		if c := s.socket.unsent; c != nil {
			s.socket.unsent = nil
			c.release()
		}
	}
	l.letGo(r)
}
