//go:build !noloop && !386

package relay

import (
	"io"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/wsgateway/caddy-ws-gateway/internal/tcpdial"
)

// oneWord has the epoll set tell once that a socket has something to say, and then of
// nothing until it is asked again.
const oneWord = syscall.EPOLLIN | syscall.EPOLLRDHUP | 1<<30 // EPOLLONESHOT

// Berth is the place on a loop of an upstream's socket before there is a relay. The loop
// tells who waits for the upstream's answer, and the relay inherits the place, so that
// Go's poller never hears of the socket.
type Berth struct {
	loop              *loop
	index, generation int32

	bell *bell // is rung when the socket has something to say; guarded by loop.mu
}

// bell wakes up who waits for a socket.
type bell struct {
	rung  chan struct{} // has room for one
	timer *time.Timer
}

var bells = sync.Pool{New: func() any {
	b := &bell{make(chan struct{}, 1), time.NewTimer(time.Hour)}
	b.timer.Stop()
	return b
}}

// Await reads what the upstream says on a socket that Go's poller does not know, and
// waits for that on a loop. It returns ErrNoLoop, and has read nothing, where there is
// none, or the socket is not like that: then the conn can be read from.
func Await(c tcpdial.Loose, p []byte, deadline time.Time) (int, error) {
	fd, watch, ok := c.Lend()
	if !ok {
		return 0, ErrNoLoop
	}
	b, _ := watch.(*Berth)
	for {
		ring := bells.Get().(*bell) //nolint:forcetypeassert // it holds nothing else
		if b == nil {
			if b = newBerth(int32(fd), ring); b == nil {
				bells.Put(ring)
				return 0, ErrNoLoop
			}
			c.Keep(b)
		} else if !b.ask(int32(fd), ring) {
			b.silence(ring)
			return 0, ErrNoLoop
		}
		err := b.wait(ring, deadline)
		b.silence(ring)
		if err != nil {
			return 0, err
		}
		n, errno := receive(int32(fd), p)
		switch {
		case errno == syscall.EAGAIN:
		case errno != 0:
			return 0, os.NewSyscallError("read", errno)
		case n == 0 && len(p) > 0:
			return 0, io.EOF
		default:
			return n, nil
		}
	}
}

// newBerth gives a socket a place on a loop, which rings when the socket has something to
// say. It returns nil if there is no loop to be had.
func newBerth(fd int32, ring *bell) *Berth {
	l, err := pickLoop()
	if err != nil {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.dead.Load() {
		return nil
	}
	b := &Berth{loop: l, bell: ring}
	b.index, b.generation = l.take()
	if watch(l.epoll, fd, 0, oneWord, b.key()) != nil {
		l.vacate(b.index)
		return nil
	}
	l.places[b.index].berth = b
	return b
}

// key is what the epoll set knows the socket by, before and after there is a relay.
func (b *Berth) key() key { return key{b.index<<1 | 1, b.generation} }

// holds reports whether the place is still the berth's. The caller holds the loop's mu.
func (b *Berth) holds() bool { return b.loop.places[b.index].berth == b }

// ask has the loop ring again. It fails if the loop has given up.
func (b *Berth) ask(fd int32, ring *bell) bool {
	b.loop.mu.Lock()
	defer b.loop.mu.Unlock()
	b.bell = ring
	return !b.loop.dead.Load() && watch(b.loop.epoll, fd, oneWord, oneWord, b.key()) == nil
}

// tell rings. The caller holds the loop's mu.
func (b *Berth) tell() {
	if b.bell == nil {
		return
	}
	select {
	case b.bell.rung <- struct{}{}:
	default:
	}
}

// wait waits until the loop has rung, or the deadline has come.
func (b *Berth) wait(ring *bell, deadline time.Time) error {
	ring.timer.Reset(time.Until(deadline))
	defer ring.timer.Stop()
	select {
	case <-ring.rung:
	case <-ring.timer.C:
		return os.ErrDeadlineExceeded
	}
	if b.loop.dead.Load() {
		return ErrNoLoop
	}
	return nil
}

// silence takes the bell back: nobody rings it any more.
func (b *Berth) silence(ring *bell) {
	b.hang()
	select {
	case <-ring.rung:
	default:
	}
	bells.Put(ring)
}

func (b *Berth) hang() {
	b.loop.mu.Lock()
	defer b.loop.mu.Unlock()
	b.bell = nil
}

// Leave implements tcpdial.Watch: the berth gives its place back.
func (b *Berth) Leave(fd int) {
	b.loop.mu.Lock()
	defer b.loop.mu.Unlock()
	if b.holds() {
		_ = watch(b.loop.epoll, int32(fd), oneWord, 0, key{}) // the set of a loop that has given up may be gone
		b.loop.vacate(b.index)
	}
}

// Interface guards
var _ tcpdial.Watch = (*Berth)(nil)
