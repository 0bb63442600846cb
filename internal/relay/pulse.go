package relay

import (
	"encoding/binary"
	"hash/maphash"
	"math"
	"math/rand/v2"
	"time"

	"github.com/wsgateway/caddy-ws-gateway/internal/wsframe"
)

// pingPayload is the size of the payload of our pings.
const pingPayload = 8

var pingSeed = maphash.MakeSeed()

// pingKey is the payload of our pings, which is the connection's own, so that the answers
// to other pings are told from those to ours.
func (r *Relay) pingKey() uint64 { return maphash.Comparable(pingSeed, r) }

// pulse is what is known of the pings of ours and their answers.
type pulse uint8

const (
	pingDue pulse = 1 << iota // one is to be written
	awaited                   // one was written, and is not answered yet
	delayed                   // the client was given more time to answer that one
	heard                     // the client has sent something since it was given the time
	oneMiss                   // from here on: how many times it was given more time for that
)

// maxMisses is how many times a client that is heard of may let the timeout pass without
// answering a ping: the answer may be behind much that the client had sent before.
const maxMisses = 3

func (p pulse) is(what pulse) bool { return p&what != 0 }

// never is later than any moment.
const never = math.MaxInt64

func newGuard(now int64, p *Policy) guard {
	g := guard{messages: now, bytes: now}
	// The first ping comes somewhat earlier, so that connections that were opened
	// together are not pinged together.
	g.pulse = now
	if half := int64(p.PingInterval / 2); half > 0 {
		g.pulse -= rand.Int64N(half) //nolint:gosec // as above
	}
	return g
}

// judgePong finds out whether a frame of the client, at the start of p, answers a ping of
// ours.
func (r *Relay) judgePong(h *wsframe.Header, p []byte) fate {
	if r.policy.PingInterval <= 0 || h.Opcode != wsframe.Pong || h.Length != pingPayload || !h.Masked {
		return fatePass
	}
	if len(p) < h.Size+pingPayload {
		return fateShort
	}
	key := uint64(binary.LittleEndian.Uint32(h.Key[:]))
	if binary.LittleEndian.Uint64(p[h.Size:])^(key|key<<32) != r.pingKey() {
		return fatePass
	}
	return fateSwallow
}

// notePong notes that the client has answered a ping of ours.
func (r *Relay) notePong(now int64) {
	controlRate.take(&r.client.controls, 1, now, 0)
	if !r.pulse.is(awaited) {
		return
	}
	r.pulse &^= awaited
	if r.pulse.is(delayed) {
		return // by much that came before it: that says nothing of the way
	}
	g := r.guard
	rtt := uint32(min(max(1, (now-g.pulse)/int64(time.Microsecond)), math.MaxUint32))
	if g.rtt == 0 {
		g.smoothed = rtt
	}
	g.rtt = rtt
	g.smoothed = uint32((7*uint64(g.smoothed) + uint64(rtt)) / 8)
	if r.policy.Answered != nil {
		r.policy.Answered(time.Duration(rtt) * time.Microsecond)
	}
}

// RTT returns how long the client has taken to answer the latest ping of ours, and a
// mean in which the latest pings weigh most (RFC 6298, section 2); 0 if there was none.
func (r *Relay) RTT() (last, smoothed time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.guard == nil {
		return 0, 0
	}
	return time.Duration(r.guard.rtt) * time.Microsecond, r.guard.meanRTT()
}

// meanRTT is the mean of how long the client takes to answer pings of ours; 0 where that
// was not measured.
func (g *guard) meanRTT() time.Duration {
	if g == nil {
		return 0
	}
	return time.Duration(g.smoothed) * time.Microsecond
}

// attendsAt returns when attend has something to do, or never. The caller holds mu.
func (r *Relay) attendsAt() int64 {
	if r.guard == nil || r.ending != nil {
		return never
	}
	at := int64(never)
	if idle := r.policy.IdleTimeout; idle > 0 {
		at = r.lastActive + int64(idle)
	}
	if r.policy.PingInterval > 0 && !r.pulse.is(pingDue) {
		at = min(at, r.pulseAt())
	}
	return at
}

// pulseAt returns when the next ping is due, or when the answer to the latest one is.
func (r *Relay) pulseAt() int64 {
	if r.pulse.is(awaited) {
		return r.guard.pulse + int64(r.policy.PingTimeout)
	}
	return r.guard.pulse + int64(r.policy.PingInterval)
}

// attend ends a connection that has been idle for too long, or whose client has not
// answered a ping, and has a ping written if one is due. The caller holds mu.
func (r *Relay) attend(now int64) {
	if r.guard == nil || r.ending != nil {
		return
	}
	heldBack := r.client.waits || r.upstream.writing // and nothing is read from the client
	if idle := int64(r.policy.IdleTimeout); idle > 0 && now >= r.lastActive+idle {
		if !heldBack && !r.client.writing {
			r.endIdle()
			return
		}
		r.lastActive = now // a message is on its way
	}
	switch {
	case r.policy.PingInterval <= 0 || r.pulse.is(pingDue) || now < r.pulseAt():
	case !r.pulse.is(awaited):
		r.pulse |= pingDue
		r.injectPing(now)
	case heldBack, r.clientTakes():
		r.delayPong(now)
	case r.pulse.is(heard) && r.pulse/oneMiss < maxMisses:
		r.pulse += oneMiss
		r.delayPong(now)
	default:
		r.endUnanswered()
	}
}

// delayPong gives the client as much time again to answer.
func (r *Relay) delayPong(now int64) {
	r.pulse = r.pulse&^heard | delayed
	r.guard.pulse = now
}

// clientTakes reports whether the client has taken something since the last look, and not
// all, where the kernel tells. A ping may be behind much that a client takes slowly.
func (r *Relay) clientTakes() bool {
	left, ok := r.backlog()
	if !ok {
		return false
	}
	before := r.taken
	r.taken = uint32(r.upstream.scan.Data()) - uint32(left) // and some headers
	return left > 0 && int32(r.taken-before) > 0
}

// backlog returns how much of what was written to the client it has not taken yet.
func (r *Relay) backlog() (bytes int32, ok bool) {
	if r.looped {
		return r.client.socket.backlog()
	}
	socket, _ := socketBeneath(r.client.conn)
	if socket == nil {
		return 0, false
	}
	err := socket.Control(func(fd uintptr) { bytes, _, ok = untakenAndRoom(fd) })
	return bytes, ok && err == nil
}

// takePing takes the baton to the client for writing the ping that is returned.
func (r *Relay) takePing(now int64) []byte {
	r.pulse = awaited
	r.guard.pulse = now
	r.clientTakes()
	r.client.writing = true
	var payload [pingPayload]byte
	binary.LittleEndian.PutUint64(payload[:], r.pingKey())
	return wsframe.AppendPing(make([]byte, 0, 2+pingPayload), payload[:])
}

// mayPing reports whether a ping is due and may be written now.
func (r *Relay) mayPing() bool {
	c := &r.client
	return r.pulse.is(pingDue) && r.ending == nil && !c.shut && !c.writing && !c.mid
}

// injectPing has a ping that is due written, unless the pump to the client will do so at
// the end of the frame in progress: by the loop, which looks for it, or by a goroutine
// of its own, so that the caller need not wait for the client to take it.
func (r *Relay) injectPing(now int64) {
	if r.looped || !r.mayPing() {
		return
	}
	frame := r.takePing(now)
	r.pumps.handback = make(chan struct{})
	r.pumps.work.Add(1)
	go r.writePing(frame)
}

func (r *Relay) writePing(frame []byte) {
	defer r.pumps.work.Done()
	defer r.contain()
	spring(r, "ping")
	_, err := r.write(&r.client, frame, nil)
	closing, over := r.notePing(err)
	if closing != nil {
		r.writeClose(&r.client, closing)
		return
	}
	r.closeIf(over)
}

// notePing notes that a frame from takePing was written, or failed to be, and returns
// the close frame that has waited for that. It takes mu.
func (r *Relay) notePing(err error) (closing []byte, over bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	to := &r.client
	to.writing = false
	r.handBack()
	if err != nil {
		r.writeFailed(to, err)
	}
	if !r.looped && to.pending != nil && !to.mid {
		return to.takePending(), false
	}
	return nil, r.settle()
}

// handBack lets the pump to the client go on that waits for a ping to be written, if one
// does. The caller holds mu.
func (r *Relay) handBack() {
	if r.pumps != nil && r.pumps.handback != nil {
		close(r.pumps.handback)
		r.pumps.handback = nil
	}
}

// awaitBaton waits until a ping is written.
func (r *Relay) awaitBaton() {
	if busy := r.busyUntil(); busy != nil {
		<-busy
	}
}

// busyUntil takes mu.
func (r *Relay) busyUntil() <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.pumps.handback
}

// wakesAt returns when timeDue is to be called, or never. It takes mu.
func (r *Relay) wakesAt() int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.attendsAt()
}

// timeDue attends to a connection that goroutines relay, and returns when to do so
// again, or never. It takes mu.
func (r *Relay) timeDue() (next int64) {
	next, over := r.noteTimeDue(monotonic(time.Now()))
	if over {
		go r.guarded(r.closeConns) // which may take a moment, and others wait
	}
	return next
}

func (r *Relay) noteTimeDue(now int64) (next int64, over bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.attend(now)
	return r.attendsAt(), r.settle()
}

// endIdle ends a connection that carries no messages.
func (r *Relay) endIdle() {
	c := Close{Code: codeGoingAway, Reason: "idle for too long"}
	r.decide(Gateway, c)
	r.ending.idle = true
	r.arm(r.closeTimeout)
	r.requestClose(&r.client, c)
	r.requestClose(&r.upstream, c)
}

// endUnanswered ends a connection whose client has not answered a ping. Nothing more is
// expected from the client, but it is told if it takes that at once.
func (r *Relay) endUnanswered() {
	c := lost(&r.client, " stopped answering")
	r.decide(Client, c)
	r.arm(r.closeTimeout)
	r.client.complete = true
	r.requestClose(&r.client, Close{Code: codeGoingAway, Reason: "ping not answered"})
	r.requestClose(&r.upstream, c)
}
