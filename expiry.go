package wsgateway

import (
	"container/heap"
	"sync"
	"time"
)

// maxNap is how long the one timer sleeps at most while there are deadlines:
// they are points on the wall clock, which may be set.
const maxNap = time.Second

// deadlines ends connections when their authority does. One timer serves all
// of them; a connection costs a place in a heap.
type deadlines struct {
	mu    sync.Mutex // guards what follows, and the connections' fields that say so
	queue dueQueue
	timer *time.Timer
	end   func(*connection) // for those whose end is claimed
}

// set makes the connection end at that time, or never where it is zero. It is
// false where the connection is over or ending already.
func (d *deadlines) set(c *connection, at time.Time) bool {
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

// forget takes out a connection that is over. It cannot be set again.
func (d *deadlines) forget(c *connection) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.dropLocked(c)
	c.dueNever = true
}

func (d *deadlines) dropLocked(c *connection) {
	if c.duePlace > 0 {
		heap.Remove(&d.queue, c.duePlace-1)
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
	defer contain(nil)
	for _, c := range d.takeDue() {
		d.endOne(c)
	}
}

// takeDue takes out the connections that are due, and sets the timer for the next.
func (d *deadlines) takeDue() (over []*connection) {
	d.mu.Lock()
	defer d.mu.Unlock()
	defer d.armLocked()
	now := time.Now().UnixMilli()
	for len(d.queue) > 0 && d.queue[0].due <= now {
		c, _ := heap.Pop(&d.queue).(*connection)
		if c.claimEnd() { // here, so that nobody can renew it any more
			over = append(over, c)
		}
	}
	return over
}

func (d *deadlines) endOne(c *connection) {
	defer c.contain() // there are others to be ended
	d.end(c)
}

// dueQueue is a heap, the next one due first.
type dueQueue []*connection

// Len implements heap.Interface.
func (q dueQueue) Len() int { return len(q) }

// Less implements heap.Interface.
func (q dueQueue) Less(i, j int) bool { return q[i].due < q[j].due }

// Swap implements heap.Interface.
func (q dueQueue) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].duePlace, q[j].duePlace = i+1, j+1
}

// Push implements heap.Interface.
func (q *dueQueue) Push(x any) {
	c, _ := x.(*connection)
	*q = append(*q, c)
	c.duePlace = len(*q)
}

// Pop implements heap.Interface.
func (q *dueQueue) Pop() any {
	last := len(*q) - 1
	c := (*q)[last]
	(*q)[last] = nil
	*q = (*q)[:last]
	c.duePlace = 0
	return c
}

// Interface guards
var _ heap.Interface = (*dueQueue)(nil)
