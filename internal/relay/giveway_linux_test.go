//go:build !noloop && !386

package relay

import (
	"sync"
	"testing"
	"time"
)

// TestConnectionsAreServedByThoseThatOpen has a loop whose goroutine never gets its turn.
func TestConnectionsAreServedByThoseThatOpen(t *testing.T) {
	t.Parallel()
	l := ownLoop(t)
	f := onTCP(t, Config{})
	f.startOn(t, l)
	mustWrite(t, f.client, maskedText("hi"))
	arrived := make(chan struct{})
	go func() {
		defer close(arrived)
		mustRead(t, f.upstream, maskedText("hi"))
	}()
	eventually(t, "the message", func() bool {
		l.giveWay(monotonic(time.Now().Add(time.Second)))
		select {
		case <-arrived:
			return true
		default:
			return false
		}
	})
}

func TestOpeningsLeaveALoopAloneThatHasTurnedLately(t *testing.T) {
	t.Parallel()
	l := ownLoop(t)
	onTCP(t, Config{EarlyFromClient: maskedText("hi")}).startOn(t, l) // which calls the loop
	now := monotonic(time.Now())
	l.turned.Store(now)
	l.giveWay(now + int64(giveWayAfter) - 1)
	if len(l.queue) != 1 {
		t.Error("it was turned before its time")
	}
	l.turning.Lock()
	l.giveWay(now + int64(giveWayAfter))     // and does not wait for that turn to end
	l.turned.Store(now + int64(time.Minute)) // that turn has ended
	l.turnSince(now + int64(waitAfter))      // for which somebody has waited
	if len(l.queue) != 1 {
		t.Error("it was turned though it had turned meanwhile")
	}
	l.giveWay(now + int64(2*time.Minute))
	if len(l.queue) != 0 {
		t.Error("it was not turned when it was late")
	}
}

// TestLoopIsCalledAfterOthersHaveHeardACall has the call for one connection be heard in the
// turn of somebody who opens another, so that it wakes the loop's goroutine no more.
func TestLoopIsCalledAfterOthersHaveHeardACall(t *testing.T) {
	t.Parallel()
	early := Config{EarlyFromClient: maskedText("hi")} // the loop is called for such a connection
	for name, row := range map[string]func(another, giveWay func(), one *fixture){
		"for what comes later": func(another, giveWay func(), _ *fixture) { giveWay(); another() },
		"for what has come in that turn": func(another, giveWay func(), one *fixture) {
			setTrap(t, one.Relay, func(at string) {
				if at == "call" {
					another()
				}
			})
			giveWay()
		},
	} {
		t.Run(name, func(t *testing.T) {
			l := ownLoop(t)
			one := onTCP(t, early)
			one.startOn(t, l)
			row(func() { onTCP(t, early).startOn(t, l) }, func() { l.giveWay(monotonic(time.Now().Add(time.Second))) }, one)
			if n, errno := readyEvents(l.epoll, l.events[:]); n != 1 || errno != 0 || len(l.queue) != 1 {
				t.Errorf("%d connections wait for a loop that was called %d times, %v", len(l.queue), n, errno)
			}
		})
	}
}

// TestNobodyTurnsADeadLoop has a loop give up before those get their turn who wait for it.
func TestNobodyTurnsADeadLoop(t *testing.T) {
	t.Parallel()
	for name, turn := range map[string]func(l *loop){
		"who opens a connection": func(l *loop) { l.giveWay(monotonic(time.Now().Add(time.Hour))) },
		"its goroutine":          func(l *loop) { l.takeTurn() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := ownLoop(t)
			over := onTCP(t, Config{EarlyFromClient: maskedText("hi")})
			over.startOn(t, l)
			l.mu.Lock()
			l.queue = append([]*Relay{nil}, l.queue...)
			l.mu.Unlock()
			l.takeTurn()
			wantEnd(t, over.end(t), Gateway, 1011, "internal error")
			setTrap(t, over.Relay, func(at string) { t.Errorf("%s of a connection that is over", at) })
			turn(l)
		})
	}
}

// TestLoopThatGivesUpInOtherHandsIsLeftByItsGoroutine has a panic that is no connection's come
// in the turn of somebody who opens a connection, while the loop's goroutine waits.
func TestLoopThatGivesUpInOtherHandsIsLeftByItsGoroutine(t *testing.T) {
	t.Parallel()
	l := ownLoop(t)
	left := make(chan struct{})
	go func() {
		defer close(left)
		l.run()
	}()
	f := onTCP(t, Config{EarlyFromClient: maskedText("hi")})
	f.startOn(t, l)
	mustRead(t, f.upstream, maskedText("hi"))
	eventually(t, "the goroutine to wait", func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		return !l.awake
	})
	l.mu.Lock()
	l.queue = append(l.queue, nil)
	l.mu.Unlock()
	l.giveWay(monotonic(time.Now().Add(time.Second)))
	wantEnd(t, f.end(t), Gateway, 1011, "internal error")
	take(t, "the goroutine to leave", left)
}

// TestTurnsStartFewConnectionsAtOnce has more connections come than a turn may start.
func TestTurnsStartFewConnectionsAtOnce(t *testing.T) {
	t.Parallel()
	l := ownLoop(t)
	for range maxCalls + 1 {
		onTCP(t, Config{EarlyFromClient: maskedText("hi")}).startOn(t, l)
	}
	for turn, want := range []struct {
		started int
		again   bool
	}{{maxCalls, true}, {maxCalls + 1, false}} {
		if again := l.takeTurn(); l.called != want.started || again != want.again {
			t.Errorf("after turn %d, %d were started, and it is again: %t; want %d, %t", turn+1, l.called, again, want.started, want.again)
		}
	}
}

// TestLoopsTurnInManyHands has messages pass, and connections panic, while the loop is
// turned by its own goroutine and by others.
func TestLoopsTurnInManyHands(t *testing.T) {
	t.Parallel()
	l := ownLoop(t)
	go l.run()
	over := make(chan struct{})
	var hands sync.WaitGroup
	for range 3 {
		hands.Go(func() {
			for {
				select {
				case <-over:
					return
				default:
					l.giveWay(monotonic(time.Now().Add(time.Minute)))
				}
			}
		})
	}
	for i := range 20 {
		f := onTCP(t, Config{})
		if i%4 == 3 {
			trapAt(t, f.Relay, "event")
		}
		f.startOn(t, l)
		if i%4 == 3 {
			mustWrite(t, f.client, maskedText("hi"))
			wantPanic(t, f.end(t), 1011)
			continue
		}
		for range 50 {
			mustWrite(t, f.client, maskedText("hi"))
			mustRead(t, f.upstream, maskedText("hi"))
			mustWrite(t, f.upstream, text("ho"))
			mustRead(t, f.client, text("ho"))
		}
		f.client.Close()
		f.upstream.Close()
		if o := f.end(t); o.Panic != nil {
			t.Errorf("a panic of another's: %v", o.Panic)
		}
	}
	close(over)
	hands.Wait()
}
