//go:build !noloop && !386

package relay

import (
	"io"
	"net"
	"os"
	"syscall"
	"time"
)

// socket is a side's on the loop. It belongs to the loop's goroutine, which is
// the only one to use the descriptor from the first to the last.
type socket struct {
	fd      int32
	watched uint32 // the events that the epoll set tells of; 0 if it is not in it
	unsent  *chunk // what the peer has not taken yet
}

// What is asked of the epoll set for a side that is read from.
const incoming = syscall.EPOLLIN | syscall.EPOLLRDHUP

// startOnLoop gives the connection to a loop if that can serve it.
func (r *Relay) startOnLoop(done func(Outcome)) bool {
	client, upstream := plainSocket(r.client.conn), plainSocket(r.upstream.conn)
	if client == nil || upstream == nil {
		return false
	}
	l, err := pickLoop()
	if err != nil {
		return false
	}
	clientFD, err := duplicate(client)
	if err != nil {
		return false
	}
	upstreamFD, err := duplicate(upstream)
	if err != nil {
		closeDescriptor(clientFD)
		return false
	}
	// From here on the descriptors are the loop's. Go's poller must let go of
	// the sockets, which closing does without the peers noticing.
	_ = r.client.conn.Close()
	_ = r.upstream.conn.Close()
	r.client.conn, r.upstream.conn = nil, nil
	r.client.socket.fd, r.upstream.socket.fd = clientFD, upstreamFD
	r.place.loop = l
	r.done = done
	r.callLoop()
	return true
}

// plainSocket returns the conn if it is a socket with nothing around it that may
// have read ahead.
func plainSocket(c Conn) syscall.Conn {
	switch c := c.(type) {
	case *net.TCPConn:
		return c
	case *net.UnixConn:
		return c
	}
	return nil
}

// begin relays what has come already.
func (l *loop) begin(r *Relay) {
	r.mu.Lock()
	r.looped = true
	r.mu.Unlock()
	r.start()
	l.lookAfter(r)
	l.passEarly(r, &r.client, &r.upstream)
	l.passEarly(r, &r.upstream, &r.client)
}

// passEarly passes on what came with the handshake, as far as the other side
// takes it.
func (l *loop) passEarly(r *Relay, from, to *side) {
	for r.place.settled && len(from.early) > 0 && to.socket.unsent == nil {
		n := copy(l.chunk.data[:], from.early)
		from.early = from.early[n:]
		l.pass(r, from, to, l.chunk.data[:n])
	}
	if len(from.early) == 0 {
		from.early = nil // not to be held for as long as the connection lives
	}
}

// receive reads once from a side and passes on what there was.
func (l *loop) receive(r *Relay, from, to *side) {
	n, errno := receive(from.socket.fd, l.chunk.data[:])
	switch {
	case errno == syscall.EAGAIN:
	case errno != 0:
		r.streamEnded(from, errno)
		r.place.touched = true
	case n == 0:
		r.streamEnded(from, io.EOF)
		r.place.touched = true
	default:
		l.again = l.again || n == chunkSize
		l.pass(r, from, to, l.chunk.data[:n])
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
		sent, errno := send(to.socket.fd, p[:n])
		if errno == 0 && sent < n {
			l.keep(to, p[sent:n], p[n:])
			r.place.touched = true
			return
		}
		l.passed(r, from, to, errorOf(errno))
		p = p[n:]
	}
}

// passed ends what takeBaton began.
func (l *loop) passed(r *Relay, from, to *side, err error) {
	r.mu.Lock()
	r.pieceWritten(from, to, err, l.now)
	ending := r.ending != nil
	r.settleAndUnlock()
	if ending {
		l.lookAfter(r) // before more is passed: a close frame may have waited for this
	}
}

func errorOf(errno syscall.Errno) error {
	if errno == 0 {
		return nil
	}
	return errno
}

// keep makes a side the owner of the loop's chunk, for what it has not taken of
// it. What lies behind a close frame is not to be sent at all.
func (l *loop) keep(to *side, unsent, dropped []byte) {
	c := l.chunk
	l.chunk = chunks.Get().(*chunk)
	c.unsent, c.dropped, c.closing, c.moved = unsent, dropped, false, l.now
	to.socket.unsent = c
}

// flush writes on what a side has not taken yet.
func (l *loop) flush(r *Relay, from, to *side) {
	c := to.socket.unsent
	sent, errno := send(to.socket.fd, c.unsent)
	c.unsent = c.unsent[sent:]
	if sent > 0 {
		c.moved = l.now
	}
	if errno != 0 || len(c.unsent) == 0 {
		l.flushed(r, from, to, errorOf(errno))
	}
}

// flushed is the end of a side's having something unsent, for good or ill.
func (l *loop) flushed(r *Relay, from, to *side, err error) {
	c := to.socket.unsent
	to.socket.unsent = nil
	defer chunks.Put(c)
	r.place.touched = true
	if c.closing {
		r.mu.Lock()
		r.closeWritten(to, err)
		r.settleAndUnlock()
		return
	}
	l.passed(r, from, to, err)
	if len(c.dropped) > 0 && r.place.settled {
		r.mu.Lock()
		r.dropAndUnlock(from, c.dropped)
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
	r.mu.Lock()
	for to := r.injectable(); to != nil; to = r.injectable() {
		frame := to.takePending()
		r.mu.Unlock()
		l.inject(r, to, frame)
		r.mu.Lock()
	}
	finished, alarm := r.finished, r.alarm()
	r.mu.Unlock()
	if finished {
		l.close(r)
		return
	}
	l.timers.set(r, alarm)
	l.listen(r, &r.client, &r.upstream)
	l.listen(r, &r.upstream, &r.client)
}

// injectable returns a side that can be sent a close frame now. The caller holds
// mu.
func (r *Relay) injectable() *side {
	for _, s := range []*side{&r.client, &r.upstream} {
		if s.pending != nil && !s.mid && !s.writing {
			return s
		}
	}
	return nil
}

// inject writes a frame from takePending.
func (l *loop) inject(r *Relay, to *side, frame []byte) {
	sent, errno := send(to.socket.fd, frame)
	if errno == 0 && sent < len(frame) {
		c := chunks.Get().(*chunk)
		c.unsent, c.dropped, c.closing, c.moved = c.data[:copy(c.data[:], frame[sent:])], nil, true, l.now
		to.socket.unsent = c
		return
	}
	r.mu.Lock()
	r.closeWritten(to, errorOf(errno))
	r.settleAndUnlock()
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
		if at := r.stallsAt(to); r.place.settled && !at.IsZero() && !at.After(l.now) {
			l.flushed(r, r.other(to), to, os.ErrDeadlineExceeded)
		}
	}
	r.mu.Lock()
	due := r.ending != nil && !r.ending.deadline.After(l.now)
	r.mu.Unlock()
	if due {
		r.timeUp()
	}
}

// listen has the epoll set tell what is worth knowing of a side: whether it has
// sent something, unless what it sent before is still here, and whether it takes
// what is here for it.
func (l *loop) listen(r *Relay, s, other *side) {
	var want uint32
	if s.socket.unsent != nil {
		want = syscall.EPOLLOUT
	}
	if !s.gone && other.socket.unsent == nil && len(s.early) == 0 {
		want |= incoming
	}
	if want == s.socket.watched {
		return
	}
	k := key{r.place.index << 1, r.place.generation}
	if s == &r.upstream {
		k.place++
	}
	watch(l.epoll, s.socket.fd, s.socket.watched, want, k)
	s.socket.watched = want
}

// close ends a connection that is finished.
func (l *loop) close(r *Relay) {
	l.evict(r)
	for _, s := range []*side{&r.upstream, &r.client} {
		if s.socket.watched != 0 {
			watch(l.epoll, s.socket.fd, s.socket.watched, 0, key{})
		}
		closeDescriptor(s.socket.fd)
		if c := s.socket.unsent; c != nil {
			chunks.Put(c)
		}
		s.socket = socket{fd: -1}
		s.early = nil
	}
	go r.done(r.outcome())
}
