package relay

import (
	"net"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/wsgateway/caddy-ws-gateway/internal/panics"
)

// looksPerTimeout is how often a write is looked at within the write timeout.
const looksPerTimeout = 4

// progress tells a slow peer from one that has stopped reading: the kernel may take
// nothing more for long although the peer does, because the kernel makes room by large
// pieces only. A write of a goroutine that makes no progress is looked at now and then,
// and its deadline is moved for as long as the peer takes something. The deadline is
// moved before it passes, since crypto/tls does not recover from one that has.
type progress struct {
	relay   *Relay
	to      *side
	socket  syscall.RawConn // that the bytes go to
	shared  net.Conn        // that carries other streams as well, if the conn is a stream
	timeout time.Duration
	flow    *flow

	mu      sync.Mutex // guards what follows
	timer   *time.Timer
	ticking bool      // the timer is set
	since   time.Time // when the write under way began; zero if none is
	until   time.Time // its deadline
	looked  bool      // this write was looked at
	untaken int32     // at the last look
}

// newProgress returns nil if there is no timeout, or no socket to look at.
func newProgress(r *Relay, to *side, f *flow) *progress {
	if r.writeTimeout <= 0 {
		return nil
	}
	socket, shared := socketBeneath(to.conn)
	if socket == nil {
		return nil
	}
	return &progress{relay: r, to: to, socket: socket, shared: shared, timeout: r.writeTimeout, flow: f}
}

// socketBeneath returns the socket beneath a conn if it can be found: below TLS and
// the wrappers that say what they wrap. If the conn is a stream among others, shared is
// the conn that carries them all.
func socketBeneath(c any) (socket syscall.RawConn, shared net.Conn) {
	for range 10 {
		switch around := c.(type) {
		case syscall.Conn:
			raw, err := around.SyscallConn()
			if err != nil {
				return nil, shared
			}
			return raw, shared
		case interface{ SharedConn() net.Conn }:
			shared = around.SharedConn()
			c = shared
		case interface{ NetConn() net.Conn }:
			c = around.NetConn()
		case interface{ Raw() net.Conn }:
			c = around.Raw()
		default:
			return nil, shared
		}
	}
	return nil, shared
}

// writes is called before a write whose deadline is a timeout ahead.
func (p *progress) writes(now time.Time) {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.since, p.until, p.looked = now, now.Add(p.timeout), false
	switch {
	case p.ticking:
	case p.timer == nil:
		p.timer = time.AfterFunc(p.timeout/looksPerTimeout, p.look)
	default:
		p.timer.Reset(p.timeout / looksPerTimeout)
	}
	p.ticking = true
}

// wrote is called after the write, whose deadline is not moved any more then. If the
// deadline has passed, wrote reports whether the peer has taken nothing.
func (p *progress) wrote() (stuck bool) {
	if p == nil {
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.since = time.Time{}
	return p.looked
}

// look is called by the timer.
func (p *progress) look() {
	defer panics.Contain()
	if p.inspect() {
		p.relay.closeIf(p.relay.noteWriteFailed(p.to, os.ErrDeadlineExceeded))
		_ = p.shared.Close() // the server or client of HTTP that owns it will find out
	}
}

// inspect moves the deadline of a write that makes progress, and reports whether a
// deadline that has passed had no effect: HTTP/2 can tell the client nothing, not even
// that a stream ends, while the socket takes nothing. Where no write is under way, the
// timer is not set again, so that a quiet connection has none.
func (p *progress) inspect() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.since.IsZero() {
		p.ticking = false
		return false
	}
	p.timer.Reset(p.timeout / looksPerTimeout)
	now := time.Now()
	if now.Sub(p.since) < p.timeout/looksPerTimeout {
		return false // the write has only begun
	}
	bytes, takes, ok := p.ask()
	// What passes over a shared socket may belong to other streams. If that socket
	// takes more, this write does not wait for the socket.
	moves := bytes != p.untaken && (p.shared == nil || !takes)
	late := false
	switch {
	case ok && (!p.looked || moves):
		p.until = now.Add(p.timeout)
		_ = p.to.conn.SetWriteDeadline(p.until) // which may fail, as in Relay.write
		p.flow.hurry()
	case ok && p.shared != nil && !takes && now.After(p.until):
		late = true
	}
	p.looked, p.untaken = ok, bytes
	return late
}

// ask returns how much the peer has not taken yet, and whether the kernel takes more.
func (p *progress) ask() (bytes int32, takes, ok bool) {
	if p.socket.Control(func(fd uintptr) { bytes, takes, ok = untakenAndRoom(fd) }) != nil {
		return 0, false, false // the socket is closed
	}
	return bytes, takes, ok
}
