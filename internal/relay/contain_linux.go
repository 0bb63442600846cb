//go:build !noloop && !386

package relay

import (
	"github.com/wsgateway/caddy-ws-gateway/internal/panics"
)

// contain ends the connection that the loop has in hand if the function that
// defers it panics. If it has none in hand, it is the loop that cannot be relied
// on any more.
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

// wreck ends a connection at once. A side is told so if it takes a close frame
// without waiting.
func (l *loop) wreck(r *Relay, cause Close, p *panics.Panic) {
	defer l.drop(r)
	defer func() { _ = recover() }() // the first panic is the one to tell of
	tell, _ := r.wreck(cause, p)
	for _, t := range tell {
		if t.to.socket.unsent == nil {
			_ = l.write(t.to, &l.out, l.out.data[:copy(l.out.data, t.frame)])
			if t.to.socket.tls != nil {
				l.sealEnd(t.to)
			}
		}
	}
	for _, s := range []*side{&r.upstream, &r.client} {
		// It is left to the garbage collector: that nobody else has it is not sure.
		s.socket.unsent = nil
	}
}

// drop lets go of a connection, once: it gives back its place and descriptors,
// and tells who waits for its end.
func (l *loop) drop(r *Relay) {
	done := r.done
	if done == nil {
		return
	}
	r.done = nil
	if r.place.settled {
		l.evict(r)
	}
	for _, s := range []*side{&r.upstream, &r.client} {
		if s.socket.watched != 0 {
			// The set forgets it in any case once it is closed.
			_ = watch(l.epoll, s.socket.fd, s.socket.watched, 0, key{})
		}
		closeDescriptor(s.socket.fd)
		s.socket = socket{fd: -1}
		s.early = nil
	}
	go done(r.outcome())
}

// giveUp ends the loop and all its connections. Another will take its place.
// Its descriptors stay open: someone may be about to call it.
func (l *loop) giveUp() {
	l.burying.Lock()
	defer l.burying.Unlock()
	queue := l.die()
	l.timers = nil
	for _, at := range l.places {
		if at.relay != nil {
			at.relay.place.timer = 0
			l.bury(at.relay)
		}
	}
	for _, r := range append(queue, l.calls[l.called:]...) {
		if r != nil {
			l.bury(r)
		}
	}
}

// die returns those who are queued; nobody is from then on.
func (l *loop) die() (queue []*Relay) {
	l.mu.Lock()
	defer l.mu.Unlock()
	queue, l.queue = l.queue, nil
	l.dead.Store(true)
	return queue
}

// bury ends a connection of a loop that has died.
func (l *loop) bury(r *Relay) {
	defer func() { _ = recover() }() // there are others to be ended
	l.wreck(r, internalError, nil)
}

// buryLate does so for one that came when the loop had died. It may be one of
// those that it had.
func (l *loop) buryLate(r *Relay) {
	l.burying.Lock()
	defer l.burying.Unlock()
	l.bury(r)
}
