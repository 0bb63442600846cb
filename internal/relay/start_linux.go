//go:build !noloop && !386

package relay

import (
	"crypto/tls"
	"net"
	"syscall"

	"github.com/wsgateway/caddy-ws-gateway/internal/panics"
)

// startOnLoop gives the connection to a loop, and reports whether a loop can serve it.
func (r *Relay) startOnLoop(done func(Outcome), knowsTLS func() bool) (started bool) {
	client, upstream := socketOf(r.client.conn, knowsTLS), socketOf(r.upstream.conn, knowsTLS)
	if client == nil || upstream == nil {
		return false
	}
	l, err := pickLoop()
	return err == nil && r.startOn(l, client, upstream, done)
}

// startOn gives the connection, whose sockets these are, to this loop. It fails if there
// are no descriptors to be had.
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

// begin relays what has come before the loop took over.
func (l *loop) begin(r *Relay) {
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
