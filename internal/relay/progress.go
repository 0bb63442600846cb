package relay

import (
	"net"
	"sync"
	"syscall"
	"time"

	"github.com/wsgateway/caddy-ws-gateway/internal/panics"
)

// looksPerTimeout is how often a write that is stuck is looked at within the time
// that it may be.
const looksPerTimeout = 4

// progress sees to it that a peer that takes what is written to it, but slowly, is
// not taken for one that has stopped: the kernel may take nothing more for long,
// because it makes room by large pieces only. A write of the goroutine relay that
// makes no progress is looked at now and then, and its deadline moved for as long
// as the peer takes something. A deadline that has passed would be too late, since
// TLS does not recover from that.
type progress struct {
	conn    Conn
	socket  syscall.RawConn // what conn writes to
	timeout time.Duration

	mu      sync.Mutex // guards what follows
	timer   *time.Timer
	ticking bool      // the timer is set
	since   time.Time // when the write under way began; zero if none is
	looked  bool      // at this write
	queued  int32     // at the last look
}

// newProgress returns nil if there is nothing to look at.
func newProgress(c Conn, timeout time.Duration) *progress {
	if timeout <= 0 {
		return nil
	}
	socket := socketBeneath(c)
	if socket == nil {
		return nil
	}
	return &progress{conn: c, socket: socket, timeout: timeout}
}

// socketBeneath returns the socket that what is written to a conn goes to, if it
// can be found: below TLS and the wrappers that tell what they are around.
func socketBeneath(c any) syscall.RawConn {
	for range 10 {
		switch around := c.(type) {
		case syscall.Conn:
			raw, err := around.SyscallConn()
			if err != nil {
				return nil
			}
			return raw
		case interface{ NetConn() net.Conn }:
			c = around.NetConn()
		case interface{ Raw() net.Conn }:
			c = around.Raw()
		default:
			return nil
		}
	}
	return nil
}

// begin is called before a write whose deadline is a timeout ahead.
func (p *progress) begin(now time.Time) {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.since, p.looked = now, false
	switch {
	case p.ticking:
	case p.timer == nil:
		p.timer = time.AfterFunc(p.timeout/looksPerTimeout, p.look)
	default:
		p.timer.Reset(p.timeout / looksPerTimeout)
	}
	p.ticking = true
}

// end is called after it. The deadline is not moved any more then; if it has
// passed, end reports whether that is because the peer took nothing.
func (p *progress) end() (stuck bool) {
	if p == nil {
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.since = time.Time{}
	return p.looked
}

// look is what the timer does. When it finds no write it is not set again, so that
// a quiet connection has none.
func (p *progress) look() {
	defer panics.Contain()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.since.IsZero() {
		p.ticking = false
		return
	}
	p.timer.Reset(p.timeout / looksPerTimeout)
	now := time.Now()
	if now.Sub(p.since) < p.timeout/looksPerTimeout {
		return // it has only begun
	}
	bytes, ok := p.ask()
	if ok && (!p.looked || bytes != p.queued) {
		_ = p.conn.SetWriteDeadline(now.Add(p.timeout)) // as with that of the write itself
	}
	p.looked, p.queued = ok, bytes
}

// ask returns what the peer has not taken yet.
func (p *progress) ask() (bytes int32, ok bool) {
	if p.socket.Control(func(fd uintptr) { bytes, ok = queued(fd) }) != nil {
		return 0, false // it is closed
	}
	return bytes, ok
}
