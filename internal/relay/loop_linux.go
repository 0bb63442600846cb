//go:build !noloop && !386

package relay

import (
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/wsgateway/caddy-ws-gateway/internal/panics"
)

// What a loop does at most in one go, and in how large pieces.
const (
	maxEvents = 256

	// A chunk is read at once where there is little else to do; a turn with many
	// events reads smaller pieces, so that nobody waits long. Fewer and larger
	// ones are cheaper: at 512 KiB bulk took a quarter less CPU than at 128.
	chunkSize = 512 << 10
	minPiece  = 128 << 10 // a message of 64 KiB and its header, at once
	turnSize  = 1 << 20

	// What a side has not taken is moved out of the chunk if it is no more than
	// this, so that a side that stalls holds little memory. A session may add
	// something, for which there is some more room.
	smallRest = 64 << 10
	restRoom  = smallRest + 1<<10

	epollET = 1 << 31 // syscall's is negative

	// After so many turns in a row the loop waits all the same, with a call to
	// itself pending. Only when a goroutine waits does Go's scheduler look at
	// the network for others.
	breatheAfter = 16
)

// loop serves the connections whose sides are sockets, plain or under TLS. All of its
// fields but those of the queue belong to its one goroutine.
type loop struct {
	epoll  int // belongs to file
	file   *os.File
	caller int // an eventfd that is written to after something was queued

	piece  int           // how much is read at once in this turn
	chunk  *chunk        // what is read into
	out    *chunk        // where records are sealed, and close frames of ours made
	raw    [rawSize]byte // where records are read to
	events [maxEvents]syscall.EpollEvent
	again  bool // more may be ready than the last look told
	now    time.Time

	places []tenancy
	vacant []int32

	timers timers
	clock  *time.Timer // calls the loop at clockAt
	ringAt time.Time

	busy    *Relay   // whom the loop has in hand
	handled int      // how many of this turn's events
	calls   []*Relay // were queued, and are being looked after
	called  int      // how many of them were

	mu    sync.Mutex  // guards queue, awake, and the setting of dead
	queue []*Relay    // have to be looked after
	awake bool        // the loop will look at the queue before it waits
	dead  atomic.Bool // it serves nobody any more

	burying sync.Mutex // held while connections of a dead loop are ended
}

// tenancy says who has a place, and how many have had it before. A key from an
// earlier generation is void: what the kernel has still to say of a descriptor
// that was closed is not taken for news of its successor.
type tenancy struct {
	relay      *Relay
	generation int32
}

// key is what the epoll set knows a socket by: the place of its connection,
// doubled, plus one for the upstream's.
type key struct{ place, generation int32 }

// place is where a connection lives. It belongs to the loop's goroutine, except
// for loop, which is set before.
type place struct {
	loop       *loop
	index      int32 // in loop.places
	generation int32
	timer      int32 // position in loop.timers plus one, or 0
	settled    bool  // it has the place
	touched    bool  // it has to be looked after
}

// chunk is what was read from one side in one go. While the other side takes
// not all of it, that side owns it, and nothing more is read.
type chunk struct {
	unsent  []byte // what is still to be written
	dropped []byte // what is not to be written, and has to be followed then
	carries cargo
	moved   time.Time // when the side last took something
	queued  int32     // what the kernel had then that the peer had not taken
	data    []byte
}

// cargo is what the unsent of a side is.
type cargo uint8

const (
	cargoNothing cargo = iota // nothing that the relay knows of: TLS speaks for itself
	cargoFrames               // what came from the other side
	cargoClose                // one of ours, behind nothing or the former
)

// Chunks, and what small rests are moved to.
var (
	chunks = sync.Pool{New: func() any { return &chunk{data: make([]byte, chunkSize)} }}
	rests  = sync.Pool{New: func() any { return &chunk{data: make([]byte, restRoom)} }}
)

// release lets the chunk be used again.
func (c *chunk) release() {
	if len(c.data) == chunkSize {
		chunks.Put(c)
	} else {
		rests.Put(c)
	}
}

// loops are made when the first connection comes and last as long as the
// process, unless one has to give up. One for two processors was cheapest.
var (
	loops    atomic.Pointer[[]*loop]
	nextLoop atomic.Uint32
	makeMu   sync.Mutex // held while loops are made
)

func pickLoop() (*loop, error) {
	all := loops.Load()
	if all == nil {
		var err error
		if all, err = makeLoops(); err != nil {
			return nil, err
		}
	}
	l := (*all)[int(nextLoop.Add(1))%len(*all)]
	if !l.dead.Load() {
		return l, nil
	}
	all, err := makeLoops()
	if err != nil {
		return nil, err
	}
	return (*all)[0], nil
}

// makeLoops makes what loops are missing. It fails if there is none then, and is
// to be tried again for the next connection: descriptors may have been short.
func makeLoops() (*[]*loop, error) {
	makeMu.Lock()
	defer makeMu.Unlock()
	var alive []*loop
	if all := loops.Load(); all != nil {
		for _, l := range *all {
			if !l.dead.Load() {
				alive = append(alive, l)
			}
		}
	}
	for len(alive) < max(1, runtime.GOMAXPROCS(0)/2) {
		l, err := newLoop()
		if err != nil && len(alive) == 0 {
			return nil, err
		}
		if err != nil {
			break
		}
		alive = append(alive, l)
		go l.run()
	}
	loops.Store(&alive)
	return &alive, nil
}

func newLoop() (*loop, error) {
	epoll, file, err := newEpoll()
	if err != nil {
		return nil, err
	}
	caller, err := newEventfd()
	if err != nil {
		_ = file.Close() // nobody has used it
		return nil, err
	}
	// Edge-triggered, so that nobody has to read it.
	if err := watch(epoll, int32(caller), 0, syscall.EPOLLIN|epollET, key{}); err != nil {
		_ = file.Close()
		closeDescriptor(int32(caller))
		return nil, err
	}
	l := &loop{
		epoll:  epoll,
		file:   file,
		caller: caller,
		piece:  minPiece,
		chunk:  chunks.Get().(*chunk),
		out:    chunks.Get().(*chunk),
		vacant: nil,
		places: make([]tenancy, 1), // place 0 is the caller's
	}
	l.clock = time.AfterFunc(time.Hour, l.call)
	l.clock.Stop()
	return l, nil
}

// newEpoll makes an epoll set that Go's poller waits for.
func newEpoll() (int, *os.File, error) {
	epoll, err := syscall.EpollCreate1(syscall.EPOLL_CLOEXEC)
	if err != nil {
		return -1, nil, err
	}
	if err := syscall.SetNonblock(epoll, true); err != nil {
		closeDescriptor(int32(epoll))
		return -1, nil, err
	}
	file := os.NewFile(uintptr(epoll), "epoll") // non-blocking, so that Go's poller takes it
	if err := file.SetReadDeadline(time.Time{}); err != nil {
		_ = file.Close() // it was not taken; nobody has used it
		return -1, nil, err
	}
	return epoll, file, nil
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
	if err != nil { // nobody ever closes it
		panic(panics.Fault("the event loop cannot wait: " + err.Error()))
	}
}

// turns handles whatever is ready and reports whether there is nothing to wait
// for any more. Before it waits, the set need not be found empty: if each event
// was one of reading, and the read found less than it had room for, then whatever
// comes now makes a new wake-up.
func (l *loop) turns(uintptr) bool {
	l.mu.Lock()
	l.awake = true
	l.mu.Unlock()
	for turn := 1; ; turn++ {
		n, errno := readyEvents(l.epoll, l.events[:])
		if errno != 0 { // nobody closes it, and nothing else is wrong with it
			panic(panics.Fault("the event loop's epoll set is gone: " + errno.Error()))
		}
		l.now = time.Now()
		l.again = n == len(l.events)
		l.piece = min(max(turnSize/max(n, 1), minPiece), chunkSize)
		l.handled = 0
		for !l.turn(n) {
			if l.dead.Load() {
				return true
			}
		}
		if !l.again && l.mayWait() {
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

// turn does what there is to do after n events have come. It reports whether it
// came to the end: after a panic it is to be called again, to go on with the
// next.
func (l *loop) turn(n int) (whole bool) {
	defer l.contain()
	for l.handled < n {
		event := &l.events[l.handled]
		l.handled++
		l.handle(event)
		l.busy = nil
	}
	l.answerCalls()
	l.ring()
	return true
}

// mayWait reports whether nobody is queued; from then on the loop must be called.
func (l *loop) mayWait() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.awake = len(l.queue) > 0
	return !l.awake
}

// handle does what an event asks for.
func (l *loop) handle(event *syscall.EpollEvent) {
	if event.Fd < 2 {
		return // a call, which made the loop turn; the queue says what for
	}
	at := l.places[event.Fd>>1]
	r := at.relay
	if r == nil || at.generation != event.Pad {
		l.again = true // its connection is gone
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
	l.awake = true // it is about to be
	return asleep, true
}

// call makes the loop turn. It could fail only if it had been called some 2^64 times
// in vain, and then the call before is still to be heard.
func (l *loop) call() {
	one := [8]byte{1}
	_, _ = syscall.Write(l.caller, one[:])
}

// answerCalls looks after the connections that are queued.
func (l *loop) answerCalls() {
	if l.called == len(l.calls) { // else a panic has interrupted it
		l.takeQueue()
	}
	for l.called < len(l.calls) {
		r := l.calls[l.called]
		l.calls[l.called] = nil
		l.called++
		l.busy = r
		spring(r, "call")
		if r.place.generation == 0 {
			l.settle(r)
		}
		l.lookAfter(r)
		l.busy = nil
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

// ring looks after the connections whose moment has come, and sets the clock
// for the next.
func (l *loop) ring() {
	for r := l.timers.due(l.now); r != nil; r = l.timers.due(l.now) {
		l.busy = r
		spring(r, "timer")
		l.timeUp(r)
		l.lookAfter(r)
		l.busy = nil
	}
	next := l.timers.next()
	if next.IsZero() || next.Equal(l.ringAt) {
		return
	}
	l.ringAt = next
	l.clock.Reset(time.Until(next))
}

// settle gives a connection its place.
func (l *loop) settle(r *Relay) {
	if len(l.vacant) == 0 {
		l.vacant = append(l.vacant, int32(len(l.places)))
		l.places = append(l.places, tenancy{})
	}
	last := len(l.vacant) - 1
	index := l.vacant[last]
	l.vacant = l.vacant[:last]
	at := &l.places[index]
	at.relay = r
	at.generation = max(at.generation+1, 1) // 0 is for who never had a place
	r.place.index, r.place.generation = index, at.generation
	r.place.settled = true
	l.begin(r)
}

// evict takes a connection's place back.
func (l *loop) evict(r *Relay) {
	r.place.settled = false
	l.places[r.place.index].relay = nil
	l.vacant = append(l.vacant, r.place.index)
	l.timers.remove(r)
}
