package wsgateway

import (
	"container/heap"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"
)

// defaultJitterPercent is by how much ages differ where nothing is said.
const defaultJitterPercent = 10

func (m *MaxAge) jitter() float64 {
	if m.JitterPercent == nil {
		return defaultJitterPercent
	}
	return *m.JitterPercent
}

func (m *MaxAge) validate() error {
	switch {
	case m == nil:
		return nil
	case m.Duration <= 0:
		return fmt.Errorf("max_age: %s is not an age: give one above 0, or remove it", time.Duration(m.Duration))
	case !(m.jitter() >= 0 && m.jitter() <= 100):
		return fmt.Errorf("max_age: a jitter of %g percent is not from 0 to 100", m.jitter())
	}
	return nil
}

// draw is the age of one connection.
func (m *MaxAge) draw() time.Duration {
	spread := m.jitter() / 100 * (2*rand.Float64() - 1) //nolint:gosec // jitter needs no secrecy
	return time.Duration(float64(m.Duration) * (1 + spread))
}

// deadlines ends connections when their time has come. One timer serves all, and
// is armed for the next only.
type deadlines struct {
	mu    sync.Mutex // guards what follows
	queue deadlineQueue
	timer *time.Timer
}

type deadline struct {
	at         time.Time
	connection *connection
}

func newDeadlines() *deadlines { return new(deadlines) }

// add has the connection ended at a time, unless it is over by then.
func (d *deadlines) add(c *connection, at time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	heap.Push(&d.queue, deadline{at, c})
	if d.queue[0].connection == c {
		d.armLocked()
	}
}

// armLocked sets the timer for the first in the queue.
func (d *deadlines) armLocked() {
	if len(d.queue) == 0 {
		return
	}
	wait := time.Until(d.queue[0].at)
	if d.timer == nil {
		d.timer = time.AfterFunc(wait, d.due)
		return
	}
	d.timer.Reset(wait)
}

// due ends those whose time has come.
func (d *deadlines) due() {
	d.mu.Lock()
	now := time.Now()
	var over []*connection
	for len(d.queue) > 0 && !d.queue[0].at.After(now) {
		next, _ := heap.Pop(&d.queue).(deadline)
		over = append(over, next.connection)
	}
	d.armLocked()
	d.mu.Unlock()
	for _, c := range over {
		c.end(endAge)
	}
}

// remove forgets a connection that is over.
func (d *deadlines) remove(c *connection) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if c.deadline > 0 {
		heap.Remove(&d.queue, c.deadline-1)
	}
}

// deadlineQueue is a heap; each connection knows its place in it, plus one.
type deadlineQueue []deadline

func (q deadlineQueue) Len() int           { return len(q) }
func (q deadlineQueue) Less(i, j int) bool { return q[i].at.Before(q[j].at) }
func (q deadlineQueue) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].connection.deadline, q[j].connection.deadline = i+1, j+1
}

// Push implements heap.Interface.
func (q *deadlineQueue) Push(x any) {
	d, _ := x.(deadline)
	*q = append(*q, d)
	d.connection.deadline = len(*q)
}

// Pop implements heap.Interface.
func (q *deadlineQueue) Pop() any {
	last := (*q)[len(*q)-1]
	(*q)[len(*q)-1] = deadline{}
	*q = (*q)[:len(*q)-1]
	last.connection.deadline = 0
	return last
}
