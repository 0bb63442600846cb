//go:build !noloop && !386

package relay

import (
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
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

	mu    sync.Mutex // guards queue and awake
	queue []*Relay   // have to be looked after
	spare []*Relay   // the queue of next time
	awake bool       // the loop will look at the queue before it waits
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
	moved   time.Time
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
// process. One for two processors was cheapest.
var (
	loops    []*loop
	errLoops error
	makeOnce sync.Once
	nextLoop atomic.Uint32
)

func pickLoop() (*loop, error) {
	makeOnce.Do(func() {
		for range max(1, runtime.GOMAXPROCS(0)/2) {
			l, err := newLoop()
			if err != nil {
				errLoops = err
				return
			}
			loops = append(loops, l)
			go l.run()
		}
	})
	if errLoops != nil {
		return nil, errLoops
	}
	return loops[int(nextLoop.Add(1))%len(loops)], nil
}

func newLoop() (*loop, error) {
	epoll, err := syscall.EpollCreate1(syscall.EPOLL_CLOEXEC)
	if err != nil {
		return nil, err
	}
	if err := syscall.SetNonblock(epoll, true); err != nil {
		return nil, err
	}
	caller, err := newEventfd()
	if err != nil {
		return nil, err
	}
	l := &loop{
		epoll:  epoll,
		file:   os.NewFile(uintptr(epoll), "epoll"), // non-blocking, so that Go's poller takes it
		caller: caller,
		piece:  minPiece,
		chunk:  chunks.Get().(*chunk),
		out:    chunks.Get().(*chunk),
		vacant: nil,
		places: make([]tenancy, 1), // place 0 is the caller's
	}
	// Edge-triggered, so that nobody has to read it.
	watch(epoll, int32(caller), 0, syscall.EPOLLIN|epollET, key{})
	l.clock = time.AfterFunc(time.Hour, l.call)
	l.clock.Stop()
	return l, nil
}

// run waits in Go's poller for the epoll set to have something, so that no
// thread is taken up by waiting.
func (l *loop) run() {
	raw, err := l.file.SyscallConn()
	if err == nil {
		err = raw.Read(l.turns)
	}
	panic("relay: the event loop's descriptor is gone: " + err.Error()) // nobody ever closes it
}

// turns handles whatever is ready and reports that it wants to wait. Before it
// does, the set need not be found empty: if each event was one of reading, and
// the read found less than it had room for, then whatever comes now makes a new
// wake-up.
func (l *loop) turns(uintptr) bool {
	l.mu.Lock()
	l.awake = true
	l.mu.Unlock()
	for turn := 1; ; turn++ {
		n := readyEvents(l.epoll, l.events[:])
		l.now = time.Now()
		l.again = n == len(l.events)
		l.piece = min(max(turnSize/max(n, 1), minPiece), chunkSize)
		for i := range l.events[:n] {
			l.handle(&l.events[i])
		}
		l.answerCalls()
		l.ring()
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
	l.mu.Lock()
	l.queue = append(l.queue, r)
	asleep := !l.awake
	l.awake = true // it is about to be
	l.mu.Unlock()
	if asleep {
		l.call()
	}
}

// call makes the loop turn.
func (l *loop) call() {
	one := [8]byte{1}
	_, _ = syscall.Write(l.caller, one[:])
}

// answerCalls looks after the connections that are queued.
func (l *loop) answerCalls() {
	l.mu.Lock()
	if len(l.queue) == 0 {
		l.mu.Unlock()
		return
	}
	queue := l.queue
	l.queue = l.spare[:0]
	l.mu.Unlock()
	for i, r := range queue {
		queue[i] = nil
		if r.place.generation == 0 {
			l.settle(r)
		}
		l.lookAfter(r)
	}
	l.spare = queue
}

// ring looks after the connections whose moment has come, and sets the clock
// for the next.
func (l *loop) ring() {
	for r := l.timers.due(l.now); r != nil; r = l.timers.due(l.now) {
		l.timeUp(r)
		l.lookAfter(r)
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
