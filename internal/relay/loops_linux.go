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

// loops are made when the first connection comes, and last as long as the process,
// unless a loop has to give up. One loop for two processors was cheapest.
var (
	loops    atomic.Pointer[[]*loop]
	nextLoop atomic.Uint32
	makeMu   sync.Mutex // held while loops are made
)

// pickLoop returns the loops in turn. It makes them if there are none yet or the one
// whose turn it is has given up.
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

// makeLoops makes the loops that are missing. It fails if there are none then, and is
// tried again for the next connection, because descriptors may have been short.
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
		l.budget.enlist(l)
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
		_ = file.Close() // not used yet
		return nil, err
	}
	// Edge-triggered, so that the eventfd need not be read.
	if err := watch(epoll, int32(caller), 0, syscall.EPOLLIN|epollET, key{}); err != nil {
		_ = file.Close()
		closeDescriptor(int32(caller))
		return nil, err
	}
	l := &loop{
		epoll:    epoll,
		file:     file,
		caller:   caller,
		readSize: minRead,
		chunk:    chunks.Get().(*chunk),
		out:      chunks.Get().(*chunk),
		budget:   &processBudget,
		vacant:   nil,
		places:   make([]tenancy, 1), // place 0 is the caller's
		timers:   newWheel(monotonic(time.Now())),
		ringAt:   never,
		wakes:    never,
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
		_ = file.Close() // the poller has not taken it
		return -1, nil, err
	}
	return epoll, file, nil
}
