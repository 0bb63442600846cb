package relay

import (
	"net"
	"os"
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
	relay   *Relay
	to      *side
	socket  syscall.RawConn // what is written to
	shared  net.Conn        // what others write to as well, if the conn is a stream
	timeout time.Duration

	mu      sync.Mutex // guards what follows
	timer   *time.Timer
	ticking bool      // the timer is set
	since   time.Time // when the write under way began; zero if none is
	until   time.Time // its deadline
	looked  bool      // at this write
	queued  int32     // at the last look
}

// newProgress returns nil if there is nothing to look at.
func newProgress(r *Relay, to *side) *progress {
	if r.writeTimeout <= 0 {
		return nil
	}
	socket, shared := socketBeneath(to.conn)
	if socket == nil {
		return nil
	}
	return &progress{relay: r, to: to, socket: socket, shared: shared, timeout: r.writeTimeout}
}

// socketBeneath returns the socket that what is written to a conn goes to, if it
// can be found: below TLS and the wrappers that tell what they are around. If the
// conn is a stream among others, shared is what they have in common.
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

// begin is called before a write whose deadline is a timeout ahead.
func (p *progress) begin(now time.Time) {
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

// look is what the timer does.
func (p *progress) look() {
	defer panics.Contain()
	if p.overdue() {
		p.relay.closeIf(p.relay.noteWriteFailed(p.to, os.ErrDeadlineExceeded))
		_ = p.shared.Close() // its owner will find out
	}
}

// overdue looks, and reports whether the deadline has not helped: HTTP/2 can tell
// the client nothing, not even that a stream ends, while its socket takes nothing.
// When it finds no write the timer is not set again, so that a quiet connection
// has none.
func (p *progress) overdue() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.since.IsZero() {
		p.ticking = false
		return false
	}
	p.timer.Reset(p.timeout / looksPerTimeout)
	now := time.Now()
	if now.Sub(p.since) < p.timeout/looksPerTimeout {
		return false // it has only begun
	}
	bytes, takes, ok := p.ask()
	// What passes over a shared socket may be others'. If that takes more, it is
	// not the one that this write waits for.
	moves := bytes != p.queued && (p.shared == nil || !takes)
	late := false
	switch {
	case ok && (!p.looked || moves):
		p.until = now.Add(p.timeout)
		_ = p.to.conn.SetWriteDeadline(p.until) // as with that of the write itself
	case ok && p.shared != nil && !takes && now.After(p.until):
		late = true
	}
	p.looked, p.queued = ok, bytes
	return late
}

// ask returns what the peer has not taken yet, and whether the kernel takes more.
func (p *progress) ask() (bytes int32, takes, ok bool) {
	if p.socket.Control(func(fd uintptr) { bytes, takes, ok = queuedAnd(fd) }) != nil {
		return 0, false, false // it is closed
	}
	return bytes, takes, ok
}
