package live

import (
	"container/heap"
	"sync"
	"time"

	"github.com/wsgateway/caddy-ws-gateway/internal/panics"
)

// maxNap is how long the one timer sleeps at most while there are deadlines:
// they are points on the wall clock, which may be set.
const maxNap = time.Second

// deadlines ends connections when their authority does, or when they are too old.
// One timer serves all of them; a connection costs an entry in a heap.
type deadlines struct {
	mu    sync.Mutex // guards what follows, and the connections' fields that say so
	queue dueQueue
	timer *time.Timer
	end   func(*Conn) // called once the end of a connection is claimed
}

// set makes the connection end at a time, or never where the time is zero. It is false
// where the connection is over or ending already.
func (d *deadlines) set(c *Conn, at time.Time) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if c.dueNever || c.leaving.Load() {
		return false
	}
	d.dropLocked(c)
	if at.IsZero() {
		return true
	}
	c.due = at.Add(time.Millisecond - 1).UnixMilli()
	heap.Push(&d.queue, c)
	if d.queue[0] == c {
		d.armLocked()
	}
	return true
}

// forget removes a connection that is over, for which set is false from then on.
func (d *deadlines) forget(c *Conn) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.dropLocked(c)
	c.dueNever = true
}

func (d *deadlines) dropLocked(c *Conn) {
	if c.dueIndex > 0 {
		heap.Remove(&d.queue, int(c.dueIndex-1))
	}
}

func (d *deadlines) armLocked() {
	if len(d.queue) == 0 {
		return
	}
	nap := min(maxNap, max(0, time.Until(time.UnixMilli(d.queue[0].due))))
	if d.timer == nil {
		d.timer = time.AfterFunc(nap, d.run)
		return
	}
	d.timer.Reset(nap)
}

// run is what the timer does.
func (d *deadlines) run() {
	defer panics.Contain()
	for _, c := range d.takeDue() {
		d.endOne(c)
	}
}

// takeDue removes the connections that are due, and sets the timer for the next one.
func (d *deadlines) takeDue() (over []*Conn) {
	d.mu.Lock()
	defer d.mu.Unlock()
	defer d.armLocked()
	now := time.Now().UnixMilli()
	for len(d.queue) > 0 && d.queue[0].due <= now {
		c, _ := heap.Pop(&d.queue).(*Conn)
		if c.claimEnd() { // under the lock, so that it cannot be renewed any more
			over = append(over, c)
		}
	}
	return over
}

func (d *deadlines) endOne(c *Conn) {
	defer c.contain() // other connections are to be ended as well
	d.end(c)
}

// endsBy is when the connection has to end: when its authority does, or when it
// is too old.
func (c *Conn) endsBy(expires time.Time) time.Time {
	if c.TooOld.IsZero() || !expires.IsZero() && expires.Before(c.TooOld) {
		return expires
	}
	return c.TooOld
}

// endOnTime tells the sides of a connection whose time has come.
func (c *Conn) endOnTime() {
	if !c.TooOld.IsZero() && !time.Now().Before(c.TooOld) {
		c.tell(endAge)
		return
	}
	c.tell(endExpired)
}

// dueQueue is a heap, the next one due first.
type dueQueue []*Conn

// Len implements heap.Interface.
func (q dueQueue) Len() int { return len(q) }

// Less implements heap.Interface.
func (q dueQueue) Less(i, j int) bool { return q[i].due < q[j].due }

// Swap implements heap.Interface.
func (q dueQueue) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].dueIndex, q[j].dueIndex = int32(i+1), int32(j+1)
}

// Push implements heap.Interface.
func (q *dueQueue) Push(x any) {
	c, _ := x.(*Conn)
	*q = append(*q, c)
	c.dueIndex = int32(len(*q))
}

// Pop implements heap.Interface.
func (q *dueQueue) Pop() any {
	last := len(*q) - 1
	c := (*q)[last]
	(*q)[last] = nil
	*q = (*q)[:last]
	c.dueIndex = 0
	return c
}

// Interface guards
var _ heap.Interface = (*dueQueue)(nil)
