package live

import (
	"io"
	"time"

	"github.com/wsgateway/caddy-ws-gateway/internal/panics"
)

// hangUpDelay is how long HTTP/3 clients may take to close their QUIC connection when
// the process exits.
const hangUpDelay = 2 * time.Second

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
// that does not.
func (s *Set) HangUp() {
	servers := make(map[io.Closer][]*Conn)
	for _, c := range s.list(func(c *Conn) bool { return c.Server != nil }) {
		servers[c.Server] = append(servers[c.Server], c)
	}
	for server, connections := range servers {
		go s.hangUpAfter(server, connections)
	}
}

func (s *Set) hangUpAfter(server io.Closer, connections []*Conn) {
	defer panics.Contain()
	for _, c := range connections {
		<-s.gone(c)
	}
	time.Sleep(hangUpDelay)
	_ = server.Close()
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
	if len(s.connections) == 0 || left <= 0 {
		return nil, 0
	}
	if s.emptied == nil {
		s.emptied = make(chan struct{})
	}
	return s.emptied, left
}
