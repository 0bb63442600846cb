//go:build !noloop && !386

package relay

import (
	"time"

	"github.com/wsgateway/caddy-ws-gateway/internal/panics"
)

// contain ends the connection that the loop has in hand if the function that defers
// contain panics. If the loop has none in hand, the loop itself cannot be relied on any
// more.
func (l *loop) contain() {
	value := recover()
	if value == nil {
		return
	}
	p, r := panics.Caught(value), l.busy
	l.busy = nil
	if r == nil {
		panics.Report(p)
		l.giveUp()
		return
	}
	l.wreck(r, internalError, p)
}

// wreck ends a connection at once. A side is told so if a close frame can be sent there
// without waiting.
func (l *loop) wreck(r *Relay, cause Close, p *panics.Panic) {
	defer l.letGo(r)
	defer func() { _ = recover() }() // the first panic is the one in the outcome
	tell, _ := r.wreck(cause, p)
	for _, t := range tell {
		if t.to.socket.unsent == nil {
			_ = l.write(t.to, &l.out, l.out.data[:copy(l.out.data, t.frame)])
			if t.to.socket.tls != nil {
				l.sealEnd(t.to)
			}
		}
	}
}

// letGo makes the loop forget a connection, once: it takes back the place, closes the
// descriptors, and has done called.
func (l *loop) letGo(r *Relay) {
	done := r.done
	if done == nil {
		return
	}
	r.done = nil
	if r.place.valid {
		l.evict(r)
	}
	for _, s := range []*side{&r.upstream, &r.client} {
		closeDescriptor(s.socket.fd) // which the epoll set forgets by that, unless a forked process holds the socket
		l.disown(s)                  // after a panic, the chunk is left to the garbage collector: it may still be in use
		s.socket = socket{fd: -1}
		s.kept = nil
	}
	go done(r.outcome())
}

// giveUp ends the loop and all its connections. Another loop will be made instead. The
// loop's own descriptors stay open, because a goroutine may be about to call the loop.
func (l *loop) giveUp() {
	l.burying.Lock()
	defer l.burying.Unlock()
	live, queue := l.die()
	l.budget.dismiss(l)
	l.timers = newWheel(monotonic(time.Now())) // this one may be what has panicked
	for _, r := range live {
		l.bury(r)
	}
	for _, r := range append(queue, l.calls[l.called:]...) {
		if r != nil {
			l.bury(r)
		}
	}
}

// die marks the loop as dead, so that nobody is given a place and no connection is queued
// any more, and returns the connections that have a place, and those that are queued. Who
// waits for a first word is told to do so elsewhere.
func (l *loop) die() (live, queue []*Relay) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range l.places {
		at := &l.places[i]
		if at.relay != nil {
			live = append(live, at.relay)
		}
		if at.berth != nil {
			at.berth.tell()
		}
	}
	queue, l.queue = l.queue, nil
	l.dead.Store(true)
	return live, queue
}

// bury ends a connection of a loop that has died.
func (l *loop) bury(r *Relay) {
	defer func() { _ = recover() }() // other connections are to be ended too
	l.wreck(r, internalError, nil)
}

// buryLate ends a connection that was queued when the loop had died. The loop may have
// had that connection before.
func (l *loop) buryLate(r *Relay) {
	l.burying.Lock()
	defer l.burying.Unlock()
	l.bury(r)
}
