//go:build !noloop && !386

package relay

import "time"

// For how long a loop may not have turned before others turn it, and before others wait
// for a turn to end that has begun.
const (
	giveWayAfter = time.Millisecond
	waitAfter    = 5 * time.Millisecond
)

// GiveWay lets the connections that are there go before one that opens. Go's scheduler
// has a loop wait in line like anybody else: behind thousands of goroutines when thousands
// of clients come at once. So whoever opens a connection calls GiveWay between steps that
// take long, and loops that have not turned lately are turned there and then.
func GiveWay() {
	all := loops.Load()
	if all == nil {
		return
	}
	now := time.Now()
	for _, l := range *all {
		l.giveWay(monotonic(now))
	}
}

func (l *loop) giveWay(now int64) {
	late := time.Duration(now - l.turned.Load())
	if late < giveWayAfter {
		return
	}
	if !l.turning.TryLock() {
		if late < waitAfter {
			return
		}
		l.turning.Lock() // whoever turns the loop waits in the line that this leaves
	}
	l.turnSince(now)
}

// turnSince takes a turn in the place of the loop's goroutine unless there was one since.
// It unlocks turning.
func (l *loop) turnSince(now int64) {
	defer l.turning.Unlock()
	if l.turned.Load() > now || l.dead.Load() {
		return
	}
	if again := l.turnNow(); again || l.dead.Load() || !l.mayWait() {
		l.call() // what was to wake the loop's goroutine may be gone
	}
}
