//go:build !noloop && !386

package relay

import (
	"crypto/tls"
	"net"
	"syscall"
	"time"

	"github.com/wsgateway/caddy-ws-gateway/internal/panics"
	"github.com/wsgateway/caddy-ws-gateway/internal/tcpdial"
)

// startOnLoop gives the connection to a loop, and reports whether a loop can serve it.
func (r *Relay) startOnLoop(done func(Outcome), knowsTLS func() bool) (started bool) {
	client, upstream := socketOf(r.client.conn, knowsTLS), socketOf(r.upstream.conn, knowsTLS)
	if client == nil || upstream == nil {
		return false
	}
	l, err := loopOf(upstream)
	return err == nil && r.startOn(l, client, upstream, done)
}

// loopOf returns the loop on which the upstream has a berth, or any.
func loopOf(upstream syscall.Conn) (*loop, error) {
	if c, ok := upstream.(tcpdial.Loose); ok {
		_, watch, _ := c.Lend()
		if b, ok := watch.(*Berth); ok && !b.loop.dead.Load() {
			return b.loop, nil
		}
	}
	return pickLoop()
}

// startOn gives the connection, whose sockets these are, to this loop. It fails if there
// are no descriptors to be had.
func (r *Relay) startOn(l *loop, client, upstream syscall.Conn, done func(Outcome)) (started bool) {
	clientFD, upstreamFD := int32(-1), int32(-1)
	var berth *Berth
	defer func() {
		if value := recover(); value != nil {
			started = true
			r.done = nil // the loop may hear of the connection yet, and is to leave it alone
			_, _ = r.wreck(internalError, panics.Caught(value))
			if berth != nil {
				berth.Leave(int(upstreamFD))
			}
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
	if upstreamFD, berth, err = yieldOf(upstream); err != nil {
		closeDescriptor(clientFD)
		return false
	}
	r.client.takeOver(clientFD)
	r.upstream.takeOver(upstreamFD)
	spring(r, "start")
	if berth != nil && berth.loop != l {
		berth.Leave(int(upstreamFD))
		berth = nil
	}
	r.place.loop = l
	r.done = done
	if calls, ok := l.enter(r, berth); calls || !ok {
		r.callLoop()
	}
	return true
}

// yieldOf returns a descriptor of the upstream's socket: the socket's own if nobody else
// knows that, and else another. The berth is nil if there is none.
func yieldOf(upstream syscall.Conn) (int32, *Berth, error) {
	if c, ok := upstream.(tcpdial.Loose); ok {
		if fd, watch, ok := c.Yield(); ok {
			b, _ := watch.(*Berth)
			return int32(fd), b, nil
		}
	}
	fd, err := duplicate(upstream)
	return fd, nil, err
}

// socketOf returns the socket of a conn, or nil if something is around the socket that
// may have read ahead, but for TLS, which can be asked.
func socketOf(c Conn, knowsTLS func() bool) syscall.Conn {
	if t, ok := c.(*tls.Conn); ok && knowsTLS() {
		if renegotiates(t) {
			return nil // crypto/tls would wait, in the middle of another handshake
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

// takeOver makes fd, which duplicates the side's socket, the only way to the socket.
// Go's poller must let go of the socket, which closing the conn does without the peer
// noticing. Closing fails only if the conn was closed before, and then using the socket
// fails as well.
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

// isQuiet reports whether the loop can wait for a connection as it is.
func (r *Relay) isQuiet() bool {
	return r.client.socket.tls == nil && r.upstream.socket.tls == nil && r.client.kept == nil && r.upstream.kept == nil
}

// beginQuietly is begin, in the goroutine of Start, for a connection in which nothing has
// to be done. It reports whether the loop need not be called. The caller holds mu.
func (l *loop) beginQuietly(r *Relay) (quiet bool) {
	r.place.begun = true
	r.setLooped()
	r.setRunning()
	alarm, due := r.nextAlarm()
	if due || l.watch(r, &r.client, incoming) != nil || l.watch(r, &r.upstream, incoming) != nil {
		return false // whatever has failed is tried again, and handled, on the loop
	}
	switch {
	case alarm.IsZero():
	case monotonic(alarm) < l.wakes:
		return false
	default:
		l.queue = append(l.queue, r) // the loop sets the timer before that comes
	}
	return true
}

// nextAlarm returns when the connection is to be looked at, or zero; due says that it is
// to be looked at now.
func (r *Relay) nextAlarm() (alarm time.Time, due bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.alarm(), r.ending != nil || r.finished
}

// begin relays what has come before the loop took over.
func (l *loop) begin(r *Relay) {
	r.place.begun = true
	r.setLooped()
	for _, s := range []*side{&r.client, &r.upstream} {
		if s.socket.tls != nil {
			l.readAhead(s)
		}
	}
	r.setRunning()
	l.lookAfter(r)
	l.passEarly(r, &r.client, &r.upstream)
	l.passEarly(r, &r.upstream, &r.client)
}

func (r *Relay) setLooped() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.looped = true
}
