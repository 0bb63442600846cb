//go:build !noloop && !386

package relay

import (
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/wsgateway/caddy-ws-gateway/internal/panics"
)

// What a loop does at most in one go, and in how large pieces.
const (
	maxEvents = 256
	maxCalls  = 64

	// A chunk is read at once where there is little else to do; a turn with many
	// events reads less at once, so that no connection waits long. Fewer and larger
	// reads are cheaper: at 512 KiB bulk took a quarter less CPU than at 128.
	chunkSize = 512 << 10
	minRead   = 128 << 10
	turnSize  = 1 << 20

	// How much is read at once from a side that is not known to have more: a message
	// of 64 KiB, with its header and those of its records.
	firstRead = 66 << 10

	// What a side has not taken is moved out of the chunk if it is not much, so that
	// a side that stalls holds little memory. There is so much more room, for alerts
	// and a close frame under TLS.
	restSpare = 768

	epollET = 1 << 31 // syscall's is negative

	// After so many turns in a row the loop waits all the same, with a call to
	// itself pending. Only when a goroutine waits does Go's scheduler look at the
	// network for other goroutines.
	breatheAfter = 16
)

// loop serves connections whose sides are sockets, plain or under TLS. All fields but
// those of the queue belong to whoever turns it: the loop's one goroutine, or somebody
// who gives way to its connections.
type loop struct {
	turning sync.Mutex   // held during a turn
	turned  atomic.Int64 // when the latest turn ended

	epoll  int // belongs to file
	file   *os.File
	caller int // an eventfd that is written to after a connection was queued

	readSize int           // how much is read at once in this turn
	chunk    *chunk        // what is read into
	out      *chunk        // where records are sealed, and close frames of ours made
	raw      [rawSize]byte // where records are read to
	events   [maxEvents]syscall.EpollEvent
	again    bool // more may be ready than the last look showed
	now      time.Time

	found [maxEvents]*Relay // whose the events are

	stalled  stalled // the chunks that sides own
	budget   *budget // that what they hold is charged to
	shedding atomic.Bool

	timers wheel
	clock  *time.Timer // calls the loop at ringAt
	ringAt int64

	busy    *Relay   // the connection that the loop has in hand
	handled int      // how many of this turn's events are handled
	calls   []*Relay // were queued, and are being looked after
	called  int      // how many of the calls are answered

	mu     sync.Mutex // guards the rest, and the setting of dead
	places []tenancy
	vacant []int32
	queue  []*Relay    // have to be looked after
	awake  bool        // the loop will look at the queue before it waits
	wakes  int64       // when it will do so in any case
	dead   atomic.Bool // the loop serves no connection any more

	burying sync.Mutex // held while connections of a dead loop are ended
}

// run waits in Go's poller for the epoll set to have something, so that no
// thread is taken up by waiting.
func (l *loop) run() {
	for !l.dead.Load() {
		l.wait()
	}
}

// wait turns and waits, which ends when the loop has given up.
func (l *loop) wait() {
	defer l.contain()
	raw, err := l.file.SyscallConn()
	if err == nil {
		err = raw.Read(l.turns)
	}
	if err != nil { // the set is never closed
		panic(panics.Fault("the event loop cannot wait: " + err.Error()))
	}
}

// turns handles whatever is ready, and reports whether there is nothing to wait for any
// more. Before the loop waits, the set need not be found empty: if each event was one
// of reading, and each read found less than it had room for, then whatever comes now
// wakes the loop.
func (l *loop) turns(uintptr) bool {
	l.mu.Lock()
	l.awake = true
	l.mu.Unlock()
	for turn := 1; ; turn++ {
		if again := l.takeTurn(); l.dead.Load() {
			return true
		} else if !again && l.mayWait() {
			return false
		}
		if turn == breatheAfter {
			l.mu.Lock()
			l.awake = false
			l.mu.Unlock()
			l.call()
			return false
		}
	}
}

// takeTurn handles what is ready, and reports whether more may be.
func (l *loop) takeTurn() (again bool) {
	l.turning.Lock()
	defer l.turning.Unlock()
	if l.dead.Load() { // it has given up in the turn that was waited for
		return false
	}
	return l.turnNow()
}

// turnNow is takeTurn for whoever holds turning.
func (l *loop) turnNow() (again bool) {
	defer l.contain()
	n, errno := readyEvents(l.epoll, l.events[:])
	if errno != 0 { // the set is never closed, and a call can fail for no other reason
		panic(panics.Fault("the event loop's epoll set is gone: " + errno.Error()))
	}
	l.now = time.Now()
	l.again = n == len(l.events)
	l.find(n)
	l.readSize = min(max(turnSize/max(n, 1), minRead), chunkSize)
	l.handled = 0
	for !l.turn(n) && !l.dead.Load() {
	}
	l.turned.Store(monotonic(time.Now()))
	return l.again
}

// turn does what there is to do after n events have come. It reports whether it came to
// the end: after a panic turn is called again, and goes on with the next event.
func (l *loop) turn(n int) (completed bool) {
	defer l.contain()
	for l.handled < n {
		event, r := &l.events[l.handled], l.found[l.handled]
		l.found[l.handled] = nil
		l.handled++
		if r != nil {
			l.handle(r, event)
		}
		l.busy = nil
		l.relieve()
	}
	l.answerCalls()
	l.relieve()
	l.ring()
	return true
}

// mayWait reports whether no connection is queued and none has to be shed; if so, the
// loop must be called from then on. It is asked after every turn, whoever took that: a
// call that somebody else's turn has heard does not wake the loop's goroutine.
func (l *loop) mayWait() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.awake = len(l.queue) > 0 || l.shedding.Load()
	return !l.awake
}

// find looks up whose the events are, and tells those who wait for a first word. An
// event of a call needs nobody: it made the loop turn, and the queue holds its reason.
func (l *loop) find(n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range n {
		event := &l.events[i]
		if event.Fd < 2 {
			continue
		}
		at := &l.places[event.Fd>>1]
		switch {
		case at.generation != event.Pad: // whoever had the place is gone
		case at.berth != nil:
			at.berth.tell()
		default:
			l.found[i] = at.relay
		}
	}
}

// handle does what an event asks for.
func (l *loop) handle(r *Relay, event *syscall.EpollEvent) {
	if !r.place.valid {
		l.again = true // the connection has ended in this turn
		return
	}
	l.busy = r
	spring(r, "event")
	from, to := &r.client, &r.upstream
	if event.Fd&1 != 0 {
		from, to = to, from
	}
	if event.Events&^syscall.EPOLLIN != 0 {
		l.again = true
		if from.socket.unsent != nil {
			l.flush(r, to, from)
		}
	}
	if from.socket.watched&syscall.EPOLLIN != 0 && event.Events&^syscall.EPOLLOUT != 0 {
		l.receive(r, from, to)
	}
	if !r.client.waits || r.isEnding() { // else its deadline is what it waits for
		l.resume(r)
	}
	if r.place.touched {
		l.lookAfter(r)
	}
}

// callLoop has the loop look after the connection. It may be called from
// anywhere.
func (r *Relay) callLoop() {
	l := r.place.loop
	asleep, ok := l.enqueue(r)
	switch {
	case !ok:
		go l.buryLate(r)
	case asleep:
		l.call()
	}
}

// enqueue fails if the loop has given up.
func (l *loop) enqueue(r *Relay) (asleep, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.dead.Load() {
		return false, false
	}
	l.queue = append(l.queue, r)
	asleep = !l.awake
	l.awake = true // or about to be
	return asleep, true
}

// call makes the loop turn. It could fail only after some 2^64 calls that the loop has
// not heard, and then the loop is going to turn anyway.
func (l *loop) call() {
	one := [8]byte{1}
	_, _ = syscall.Write(l.caller, one[:])
}

// answerCalls looks after the connections that are queued.
func (l *loop) answerCalls() {
	if l.called == len(l.calls) { // else a panic has interrupted the answering
		l.takeQueue()
	}
	for most := l.called + maxCalls; l.called < len(l.calls); {
		if l.called == most {
			l.again = true // events first: what is new waits rather than what is there
			return
		}
		r := l.calls[l.called]
		l.calls[l.called] = nil
		l.called++
		l.busy = r
		spring(r, "call")
		if !r.place.begun {
			l.begin(r)
		}
		l.resume(r)
		l.lookAfter(r)
		l.busy = nil
		l.relieve()
	}
}

// takeQueue makes the queue the calls that are being answered.
func (l *loop) takeQueue() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.queue) > 0 {
		l.calls, l.queue = l.queue, l.calls[:0]
		l.called = 0
	}
}

// ring looks after the connections whose timers have expired, and sets the clock for
// the next one.
func (l *loop) ring() {
	now := monotonic(l.now)
	for i, ok := l.timers.takeExpired(now); ok; i, ok = l.timers.takeExpired(now) {
		r := l.tenant(i)
		l.busy = r
		spring(r, "timer")
		l.timeUp(r)
		l.resume(r)
		l.lookAfter(r)
		l.busy = nil
	}
	next, ok := l.timers.next()
	if !ok {
		next = never
	}
	if next == l.ringAt {
		return
	}
	l.ringAt = next
	l.noteWakes(next)
	if !ok {
		return // the clock may still ring once for nobody
	}
	l.clock.Reset(time.Duration(next - monotonic(time.Now())))
}

// noteWakes notes when the loop will wake in any case. A connection that was queued
// meanwhile, and did not call the loop because that was to be earlier, is looked after now.
func (l *loop) noteWakes(at int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.wakes = at
	l.again = l.again || len(l.queue) > 0
}
