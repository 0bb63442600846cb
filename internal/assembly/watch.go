package assembly

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/wsgateway/caddy-ws-gateway/internal/panics"
	"github.com/wsgateway/caddy-ws-gateway/internal/relay"
)

// watch ends a connection whose handlers take too long, while they still do: nothing
// else could, for they have the goroutine. The timer is set once for many messages.
type watch struct {
	conn   *Conn
	sender relay.Party
	began  time.Time
	until  atomic.Int64 // in nanoseconds since began; 0 while nothing is being handled
	due    atomic.Int64 // when the timer fires; 0 for never
	over   atomic.Int64 // what until was when it had passed for the first time

	mu    sync.Mutex
	timer *time.Timer // guarded by mu
}

func newWatch(conn *Conn, sender relay.Party) *watch {
	return &watch{conn: conn, sender: sender, began: time.Now()}
}

func (w *watch) start(deadline time.Time) {
	until := max(1, int64(deadline.Sub(w.began)))
	w.until.Store(until)
	if due := w.due.Load(); due == 0 || due > until {
		w.set(until)
	}
}

func (w *watch) stop() { w.until.Store(0) }

// set has the timer fire.
func (w *watch) set(at int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.due.Store(at)
	in := time.Until(w.began.Add(time.Duration(at)))
	if w.timer == nil {
		w.timer = time.AfterFunc(in, w.look)
	} else {
		w.timer.Reset(in)
	}
}

// finish stops the timer of a connection that has ended.
func (w *watch) finish() {
	if w == nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.timer != nil {
		w.timer.Stop()
	}
}

// look is called by the timer.
func (w *watch) look() {
	defer panics.Contain()
	due := w.due.Swap(0)
	until := w.until.Load()
	switch now := int64(time.Since(w.began)); {
	case until == 0: // start sets the timer
	case now < until:
		w.set(until)
	case w.over.Swap(until) != until || now-due > int64(mostLate):
		w.set(now + int64(grace))
	default:
		w.conn.timeUp(w.sender)
	}
}

// A machine that is busy, or was asleep, may have kept the handlers from going on. They
// have so much more time, and then again where the timer itself came too late.
const (
	grace    = 100 * time.Millisecond
	mostLate = 20 * time.Millisecond
)

// timeUp ends the connection while a handler has a message of the sender.
func (c *Conn) timeUp(sender relay.Party) {
	defer c.reject(collapse(sender)) // also where the report panics
	if !c.rejected.Load() {
		c.Reporter.Failed(c.Connection, directionOf(sender), "", ErrBudget)
	}
}
