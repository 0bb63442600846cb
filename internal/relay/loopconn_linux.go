//go:build !noloop && !386

package relay

import (
	"crypto/tls"
	"io"
	"net"
	"os"
	"slices"
	"syscall"
	"time"

	"github.com/wsgateway/caddy-ws-gateway/internal/panics"
)

// socket is a side's on the loop. It belongs to the loop's goroutine, which is
// the only one to use the descriptor from the first to the last.
type socket struct {
	fd      int32
	watched uint32   // the events that the epoll set tells of; 0 if it is not in it
	unsent  *chunk   // what the peer has not taken yet
	tls     *session // nil if what the peer sends is plain
}

// What is asked of the epoll set for a side that is read from.
const incoming = syscall.EPOLLIN | syscall.EPOLLRDHUP

// startOnLoop gives the connection to a loop if that can serve it.
func (r *Relay) startOnLoop(done func(Outcome), knowsTLS func() bool) (started bool) {
	client, upstream := socketOf(r.client.conn, knowsTLS), socketOf(r.upstream.conn, knowsTLS)
	if client == nil || upstream == nil {
		return false
	}
	l, err := pickLoop()
	return err == nil && r.startOn(l, client, upstream, done)
}

// startOn gives the connection, whose sockets these are, to this loop. It fails if
// there are no descriptors for it.
func (r *Relay) startOn(l *loop, client, upstream syscall.Conn, done func(Outcome)) (started bool) {
	clientFD, upstreamFD := int32(-1), int32(-1)
	defer func() {
		if value := recover(); value != nil {
			started = true
			_, _ = r.wreck(internalError, panics.Caught(value))
			closeDescriptor(clientFD)
			closeDescriptor(upstreamFD)
			r.hangUp()
			go done(r.outcome())
		}
	}()
	var err error
	if clientFD, err = duplicate(client); err != nil {
		return false
	}
	if upstreamFD, err = duplicate(upstream); err != nil {
		closeDescriptor(clientFD)
		return false
	}
	r.client.takeOver(clientFD)
	r.upstream.takeOver(upstreamFD)
	spring(r, "start")
	r.place.loop = l
	r.done = done
	r.callLoop()
	return true
}

// socketOf returns the socket of a conn that has nothing around it that may have
// read ahead, but for TLS, which can be asked.
func socketOf(c Conn, knowsTLS func() bool) syscall.Conn {
	if t, ok := c.(*tls.Conn); ok && knowsTLS() {
		if renegotiates(t) {
			return nil // crypto/tls would wait, in the middle of it
		}
		return plainSocket(t.NetConn())
	}
	return plainSocket(c)
}

func plainSocket(c Conn) syscall.Conn {
	switch c := c.(type) {
	case *net.TCPConn:
		return c
	case *net.UnixConn:
		return c
	case Socket:
		return c
	}
	return nil
}

// takeOver makes fd, which duplicates the socket, the only way to it. Go's
// poller must let go of the socket, which closing does without the peer
// noticing. If closing failed, it would have been closed before, and that shows
// when the socket is used.
func (s *side) takeOver(fd int32) {
	s.socket.fd = fd
	t, secure := s.conn.(*tls.Conn)
	if !secure {
		_ = s.conn.Close()
	} else {
		_ = t.NetConn().Close()
		s.socket.tls = newSession(t, insides)
	}
	s.conn = nil
}

// begin relays what has come already.
func (l *loop) begin(r *Relay) {
	r.setLooped()
	for _, s := range []*side{&r.client, &r.upstream} {
		if s.socket.tls != nil {
			l.readAhead(s)
		}
	}
	r.start()
	l.lookAfter(r)
	l.passEarly(r, &r.client, &r.upstream)
	l.passEarly(r, &r.upstream, &r.client)
}

func (r *Relay) setLooped() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.looped = true
}

// passEarly passes on what came before the loop took over, as far as the other
// side takes it; and the end of the stream if TLS has brought that along.
func (l *loop) passEarly(r *Relay, from, to *side) {
	for r.place.settled && len(from.early) > 0 && to.socket.unsent == nil {
		n := copy(l.room(to), from.early)
		from.early = from.early[n:]
		l.pass(r, from, to, l.chunk.data[:n])
	}
	if len(from.early) > 0 || !r.place.settled {
		return
	}
	from.early = nil // not to be held for as long as the connection lives
	if t := from.socket.tls; t != nil && t.ended != nil && !from.gone && to.socket.unsent == nil {
		r.streamEnded(from, t.ended)
		r.place.touched = true
	}
}

// room is where to read to what is for a side. TLS makes it longer.
func (l *loop) room(to *side) []byte {
	if to.socket.tls != nil {
		return l.chunk.data[:min(l.piece, chunkSize/2)]
	}
	return l.chunk.data[:l.piece]
}

// receive reads once from a side and passes on what there was.
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
	for len(p) > 0 && r.place.settled {
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

// write hands p, which lies in the chunk that the loop has at in, to a side. If
// the side does not take it all, the rest is its unsent.
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

// own makes a side the owner of what it has not taken of the chunk that the loop
// has at in: of a copy if that is small, else of the chunk.
func (l *loop) own(to *side, in **chunk, unsent []byte) {
	var c *chunk
	if len(unsent) <= smallRest {
		c = rests.Get().(*chunk)
		unsent = c.data[:copy(c.data, unsent)]
	} else {
		c = *in
		*in = chunks.Get().(*chunk)
	}
	c.unsent, c.dropped, c.carries = unsent, nil, cargoNothing
	to.socket.unsent = c
	to.socket.noteMoved(l.now)
}

// noteMoved notes that the side has taken something now.
func (s *socket) noteMoved(now time.Time) {
	s.unsent.moved = now
	s.unsent.queued, _ = queued(uintptr(s.fd)) // 0 is never found to have become less
}

// moves reports whether the peer has taken something since that was last noted:
// the kernel may still not take more, because it makes room by large pieces only.
func (s *socket) moves(now time.Time) bool {
	left, ok := queued(uintptr(s.fd))
	if !ok || left >= s.unsent.queued {
		return false
	}
	s.unsent.moved, s.unsent.queued = now, left
	return true
}

// passed ends what takeBaton began.
func (l *loop) passed(r *Relay, from, to *side, err error) {
	if r.notePassed(from, to, err, l.now) {
		l.lookAfter(r) // before more is passed: a close frame may have waited for this
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

// flush writes on what a side has not taken yet.
func (l *loop) flush(r *Relay, from, to *side) {
	c := to.socket.unsent
	sent, errno := send(to.socket.fd, c.unsent)
	c.unsent = c.unsent[sent:]
	if sent > 0 {
		to.socket.noteMoved(l.now)
	}
	if errno != 0 || len(c.unsent) == 0 {
		l.flushed(r, from, to, errorOf(errno))
	}
}

// flushed is the end of a side's having something unsent, for good or ill.
func (l *loop) flushed(r *Relay, from, to *side, err error) {
	c := to.socket.unsent
	to.socket.unsent = nil
	defer c.release()
	r.place.touched = true
	switch c.carries {
	case cargoClose:
		r.noteClose(to, err)
	case cargoFrames:
		l.passed(r, from, to, err)
		if len(c.dropped) > 0 && r.place.settled {
			r.drop(from, c.dropped)
		}
	case cargoNothing:
		if err != nil {
			r.noteWriteFailed(to, err)
			return
		}
	}
	l.passEarly(r, from, to)
}

// lookAfter does what the rules of ending have asked for, and sees to it that
// the loop hears of whatever the connection waits for now.
func (l *loop) lookAfter(r *Relay) {
	if !r.place.settled {
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
	if err != nil { // nobody would hear of what comes
		l.wreck(r, Close{Code: codeInternalError, Reason: "cannot be watched: " + err.Error()}, nil)
	}
}

// due is what the rules of ending ask for now.
type due struct {
	to       *side  // can be sent a close frame
	frame    []byte // which is this
	finished bool
	alarm    time.Time
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

// alarm returns when time will be up for something, or zero. The caller holds
// mu.
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

// stallsAt returns when a side will have taken nothing for too long, or zero.
func (r *Relay) stallsAt(s *side) time.Time {
	if s.socket.unsent == nil || r.writeTimeout <= 0 {
		return time.Time{}
	}
	return s.socket.unsent.moved.Add(r.writeTimeout)
}

// timeUp gives up on what has taken too long.
func (l *loop) timeUp(r *Relay) {
	for _, to := range []*side{&r.client, &r.upstream} {
		at := r.stallsAt(to)
		if r.place.settled && !at.IsZero() && !at.After(l.now) && !to.socket.moves(l.now) {
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

// listen has the epoll set tell what is worth knowing of a side: whether it has
// sent something, unless what it sent before is still here, and whether it takes
// what is here for it.
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
		k.place++
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
	l.drop(r)
}
