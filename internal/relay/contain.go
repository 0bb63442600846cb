package relay

import (
	"time"

	"github.com/wsgateway/caddy-ws-gateway/internal/panics"
	"github.com/wsgateway/caddy-ws-gateway/internal/wsframe"
)

// A panic ends one connection. How much of the relay's state is still true is not
// known then, so the rules of ending do not apply: nothing more is read or passed on,
// a side whose stream certainly stands between two frames gets a last close frame, and
// both sides are closed.

// internalError is what both sides are told after a panic.
var internalError = Close{Code: codeInternalError, Reason: "internal error"}

// told is a side and the close frame that can still be sent to the side.
type told struct {
	to    *side
	frame []byte
}

// wreck finishes the connection and notes why: what panicked, or nil where nothing did.
// It reports whether the connection was not finished before. If so, only the caller
// writes any more, and has to close both sides.
func (r *Relay) wreck(cause Close, p *panics.Panic) (tell []told, over bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.decide(Gateway, cause)
	if r.ending.panicked == nil {
		r.ending.panicked = p
	}
	r.handBack() // what has panicked may be the writing of a ping
	if r.finished {
		return nil, false
	}
	for _, s := range []*side{&r.client, &r.upstream} {
		if s.shut || s.writing || s.mid {
			continue
		}
		last := internalError
		if s.pending != nil {
			last = *s.pending
		}
		tell = append(tell, told{s, wsframe.AppendClose(nil, last.Code, last.Reason, s.masked)})
	}
	r.finish()
	return tell, true
}

// guarded calls f and contains its panic. Where goroutines relay, whatever runs in a
// goroutine or a timer of its own runs in here, or defers contain itself.
func (r *Relay) guarded(f func()) {
	defer r.contain()
	f()
}

// contain ends the connection if the function that defers it panics.
func (r *Relay) contain() {
	if value := recover(); value != nil {
		r.collapse(panics.Caught(value))
	}
}

// containEnd is contain for a caller of End, which is no part of the connection.
func (r *Relay) containEnd() {
	value := recover()
	if value == nil {
		return
	}
	p := panics.Caught(value)
	switch running, looped := r.noteBroken(p); {
	case looped:
		r.callLoop() // which finds the relay finished
	case running:
		r.collapse(p)
	}
}

// noteBroken notes a panic. If the relay is not running yet, it will begin with the
// end.
func (r *Relay) noteBroken(p *panics.Panic) (running, looped bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.decide(Gateway, internalError)
	r.ending.panicked = p
	if r.looped {
		r.finish()
	}
	return r.running, r.looped
}

// collapse ends the connection after a panic. The close frames may take as long
// as an orderly end may.
func (r *Relay) collapse(p *panics.Panic) {
	tell, over := r.wreck(internalError, p)
	if !over {
		return // the caller that finished the connection closes the conns
	}
	defer r.closeConns()
	bound := time.AfterFunc(r.closeTimeout, r.hangUp)
	defer bound.Stop()
	for _, t := range tell {
		t.send()
	}
}

// send writes the frame, as far as that goes.
func (t told) send() {
	defer func() { _ = recover() }() // the conn may be what has panicked
	_, _ = t.to.conn.Write(t.frame)
}

// hangUp closes both conns, the other one even if closing one panics. The upstream's
// comes first, because closing a client's TLS may take a moment.
func (r *Relay) hangUp() {
	for _, s := range []*side{&r.upstream, &r.client} {
		r.guarded(s.closeConn)
	}
}

func (s *side) closeConn() {
	if s.conn != nil { // else the loop has taken the socket over
		_ = s.conn.Close() // a failure would make no difference
	}
}

// trap lets tests have something panic; it is nil otherwise.
var trap func(r *Relay, at string)

// spring is called where tests want a panic.
func spring(r *Relay, at string) {
	if trap != nil {
		trap(r, at)
	}
}
