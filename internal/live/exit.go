package live

import (
	"io"
	"maps"
	"time"

	"github.com/wsgateway/caddy-ws-gateway/internal/panics"
)

// How long HTTP/3 clients may take to close their QUIC connection when the process
// exits, where WebSockets were live till then, and where they were drained before.
const (
	hangUpDelay        = 2 * time.Second
	drainedHangUpDelay = 500 * time.Millisecond
)

// Server is an HTTP/3 server. The set remembers the servers that its connections came
// over, and does not keep them in memory.
type Server interface {
	io.Closer

	// Gone reports whether nobody has the server any more, so that there is nothing
	// to close.
	Gone() bool
}

// Exit ends every connection, now and from now on, and drains nothing any more.
// AwaitEmpty will wait for connections no longer than period. Exit reports whether
// this was the first call.
func (s *Set) Exit(period time.Duration) (first bool) {
	first = s.beginExit(period)
	for _, c := range s.list(func(*Conn) bool { return true }) {
		c.end(endExit)
	}
	return first
}

func (s *Set) beginExit(period time.Duration) (first bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.exiting {
		return false
	}
	s.exiting = true
	s.exitBy = time.Now().Add(period)
	return true
}

// Exiting reports whether Exit was called.
func (s *Set) Exiting() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.exiting
}

// HangUp closes the HTTP/3 servers that hold live connections, once these connections
// are over and their clients had time to close the QUIC connection themselves (RFC
// 9114 section 5.2): a server without a grace period would wait for ever for a client
// that does not. If the node drains, that goes for the servers that have held some
// before as well.
func (s *Set) HangUp() {
	for server, connections := range s.busyServers() {
		go s.hangUpAfter(server, connections)
	}
}

// busyServers are the servers that HangUp is about, with their live connections.
func (s *Set) busyServers() map[Server][]*Conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	busy := make(map[Server][]*Conn)
	if s.node.drain != nil {
		for server := range s.servers {
			busy[server] = nil
		}
	}
	for c := range s.connections.all() {
		if c.Server != nil {
			busy[c.Server] = append(busy[c.Server], c)
		}
	}
	return busy
}

func (s *Set) hangUpAfter(server Server, connections []*Conn) {
	defer panics.Contain()
	for _, c := range connections {
		<-s.gone(c)
	}
	delay := hangUpDelay
	if len(connections) == 0 {
		delay = drainedHangUpDelay
	}
	time.Sleep(delay)
	_ = server.Close()
}

// rememberLocked remembers the server, and forgets those that are gone.
func (s *Set) rememberLocked(server Server) {
	if s.servers[server] {
		return
	}
	maps.DeleteFunc(s.servers, func(known Server, _ bool) bool { return known.Gone() })
	s.servers[server] = true
}

// AwaitEmpty waits, while the process exits, until every connection is gone or
// the time for that is over.
func (s *Set) AwaitEmpty() {
	emptied, left := s.untilEmpty()
	if emptied == nil {
		return
	}
	timer := time.NewTimer(left)
	defer timer.Stop()
	select {
	case <-emptied:
	case <-timer.C:
	}
}

// untilEmpty returns a channel that is closed when the last connection is gone, and
// how long to wait for that; nil where there is nothing to wait for.
func (s *Set) untilEmpty() (emptied <-chan struct{}, left time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	left = time.Until(s.exitBy)
	if s.connections.count == 0 || left <= 0 {
		return nil, 0
	}
	if s.emptied == nil {
		s.emptied = make(chan struct{})
	}
	return s.emptied, left
}
