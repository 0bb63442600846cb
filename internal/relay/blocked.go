package relay

import (
	"cmp"
	"net"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/wsgateway/caddy-ws-gateway/internal/panics"
)

// lookEvery is how often the writes of all goroutines are looked at, at most, and how
// long a write has to last for its side to count as stalled.
const lookEvery = 50 * time.Millisecond

// blockedWrites are the directions of all connections that goroutines relay. A write
// that lasts holds the buffer that it writes from.
type blockedWrites struct {
	budget *budget

	mu       sync.Mutex // guards what follows
	first    *flow
	enlisted bool // with the budget

	oldest   atomic.Int64 // since when the longest write had lasted when that was last looked at; 0 for none
	lookedAt atomic.Int64
	awaited  atomic.Bool // a look is going to be taken
	shedding atomic.Bool // somebody is ending connections
}

var processWrites = blockedWrites{budget: &processBudget}

// flow is one direction of a connection that goroutines relay.
type flow struct {
	all            *blockedWrites
	relay          *Relay
	to             *side
	pace           *progress
	earlier, later *flow // guarded by all.mu

	since   atomic.Int64 // when the write under way began; 0 if none is
	charged atomic.Int64
	cut     atomic.Bool // the write under way is to be given up, and none may follow
}

// enter makes a direction one whose writes may be given up.
func (b *blockedWrites) enter(r *Relay, to *side) *flow {
	f := &flow{all: b, relay: r, to: to}
	f.pace = newProgress(r, to, f)
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.enlisted {
		b.enlisted = true
		b.budget.enlist(b)
	}
	f.later = b.first
	if b.first != nil {
		b.first.earlier = f
	}
	b.first = f
	return f
}

// leave undoes enter.
func (f *flow) leave() {
	f.ends()
	f.all.mu.Lock()
	defer f.all.mu.Unlock()
	if f.earlier != nil {
		f.earlier.later = f.later
	} else {
		f.all.first = f.later
	}
	if f.later != nil {
		f.later.earlier = f.earlier
	}
}

// begins is called before a write of p, which holds all that p has room for. A nil flow
// is that of our own frames, which hold little.
func (f *flow) begins(p []byte) {
	if f == nil {
		return
	}
	f.charged.Store(int64(cap(p)))
	f.to.held.Store(int32(len(p)))
	f.since.Store(max(1, monotonic(time.Now())))
	f.all.budget.charge(cap(p))
	if f.all.budget.exceeded() {
		f.all.lookLater()
	}
}

// ends is called after the write.
func (f *flow) ends() {
	if f == nil {
		return
	}
	f.since.Store(0)
	f.to.held.Store(0)
	f.uncharge()
}

// uncharge may be called more than once.
func (f *flow) uncharge() { f.all.budget.uncharge(int(f.charged.Swap(0))) }

func (f *flow) paced() *progress {
	if f == nil {
		return nil
	}
	return f.pace
}

func (f *flow) isGivenUp() bool { return f != nil && f.cut.Load() }

// hurry ends a write that is given up, even if its deadline was moved meanwhile.
func (f *flow) hurry() {
	if f.cut.Load() {
		_ = f.to.conn.SetWriteDeadline(time.Unix(1, 0)) // else the conns are closed when the end takes too long
	}
}

// lookLater has somebody shed when the writes that have just begun have lasted for some
// time, if the budget is exceeded then.
func (b *blockedWrites) lookLater() {
	if b.awaited.CompareAndSwap(false, true) {
		time.AfterFunc(lookEvery, b.lookNow)
	}
}

func (b *blockedWrites) lookNow() {
	defer panics.Contain()
	b.awaited.Store(false)
	if b.budget.exceeded() {
		b.budget.callLongest()
		b.lookLater()
	}
}

// stalledSince implements holder.
func (b *blockedWrites) stalledSince() (since int64, ok bool) {
	now, last := monotonic(time.Now()), b.lookedAt.Load()
	if now-last >= int64(lookEvery) && b.lookedAt.CompareAndSwap(last, now) {
		b.oldest.Store(oldestOf(b.lasting(now)))
	}
	since = b.oldest.Load()
	return since, since != 0
}

// lasting is a write that lasts.
type lasting struct {
	flow  *flow
	since int64
}

// lasting returns the writes that have lasted for some time, the longest first.
func (b *blockedWrites) lasting(now int64) []lasting {
	list := b.lastingUnsorted(now - int64(lookEvery))
	slices.SortFunc(list, func(one, other lasting) int { return cmp.Compare(one.since, other.since) })
	return list
}

func (b *blockedWrites) lastingUnsorted(before int64) (list []lasting) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for f := b.first; f != nil; f = f.later {
		if since := f.since.Load(); since != 0 && since <= before && !f.cut.Load() {
			list = append(list, lasting{f, since})
		}
	}
	return list
}

func oldestOf(list []lasting) int64 {
	if len(list) == 0 {
		return 0
	}
	return list[0].since
}

// shed implements holder.
func (b *blockedWrites) shed() {
	if b.shedding.CompareAndSwap(false, true) {
		go b.relieve()
	}
}

func (b *blockedWrites) relieve() {
	defer panics.Contain()
	defer b.shedding.Store(false)
	list := b.lasting(monotonic(time.Now()))
	b.oldest.Store(oldestOf(list))
	b.budget.relieve(b, func() bool {
		for len(list) > 0 {
			longest := list[0]
			list = list[1:]
			b.oldest.Store(oldestOf(list))
			if longest.flow.since.Load() == longest.since {
				longest.flow.giveUp()
				return true
			}
		}
		return false
	})
}

// giveUp ends the connection because the side is slow. The write under way ends, and its
// writer finds out why.
func (f *flow) giveUp() {
	defer f.relay.contain()
	spring(f.relay, "slow")
	f.relay.noteSlow(f.to)
	f.cut.Store(true)
	f.uncharge()
	f.hurry()
}

// noteSlow has both sides told that one of them is slow. It takes mu.
func (r *Relay) noteSlow(to *side) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.decideSlow(to) {
		own, other := slowConsumer(to)
		r.requestClose(to, own)
		r.requestClose(r.other(to), other)
	}
}

// noteGivenUp ends what takeBaton began: of p, only so much was written. If the frame in
// progress can be ended, what is left of it goes out with the close frame that waits for
// that, and nothing else. It takes mu.
func (r *Relay) noteGivenUp(from, to *side, p []byte, begun, written int) (over bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.finished || to.pending == nil { // the end had begun for another reason
		r.pieceWritten(from, to, os.ErrDeadlineExceeded, monotonic(time.Now()))
		return r.settle()
	}
	to.writing = false
	if r.tellByItself(to) {
		return false
	}
	rest := RestOfFrame(p, begun, written)
	if rest < 0 || rest > smallPiece || !GoesOnAfterDeadline(to.conn) {
		r.abandon(to)
		return r.settle()
	}
	to.mid = false
	last := append(slices.Clone(p[written:written+rest]), to.takePending()...)
	_ = to.conn.SetWriteDeadline(time.Now().Add(r.closeTimeout)) // which may fail, as in Relay.write
	r.pumps.work.Add(1)
	go r.writeInjected(to, last)
	return false
}

// Teller is a Conn in place of a peer that knows by itself where a frame may follow what
// the peer has got. Tell writes a close frame, even after a write was given up, and may
// take so long.
type Teller interface {
	Conn
	Tell(c Close, within time.Duration) error
}

// tellByItself has a side that is a [Teller] told the close frame that is pending. The
// caller holds mu.
func (r *Relay) tellByItself(to *side) bool {
	teller, ok := to.conn.(Teller)
	if !ok || to.pending == nil {
		return false
	}
	c := *to.pending
	to.pending, to.shut, to.writing = nil, true, true
	r.pumps.work.Add(1)
	go r.tell(to, teller, c)
	return true
}

func (r *Relay) tell(to *side, teller Teller, c Close) {
	defer r.pumps.work.Done()
	defer r.contain()
	r.closeIf(r.noteClose(to, teller.Tell(c, r.closeTimeout)))
}

// GoesOnAfterDeadline reports whether more can be written to a conn after a write that
// has timed out, at the very byte that is next.
func GoesOnAfterDeadline(c Conn) bool {
	switch c.(type) {
	case *net.TCPConn, *net.UnixConn, Socket:
		return true
	}
	return false
}
