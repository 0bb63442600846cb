package live

import (
	"time"

	"github.com/wsgateway/caddy-ws-gateway/internal/balance"
)

// node is whether the process takes new connections or lets go of those it has, as
// when it is about to be replaced. The lock of the set guards it.
type node struct {
	since   time.Time
	drain   *nodeDrain             // nil while it is ready
	waiters map[chan struct{}]bool // closed when it drains
}

// nodeDrain is a drain of every connection of the process.
type nodeDrain struct {
	began  time.Time
	period *time.Duration // nil for the drain period of each connection
	over   chan struct{}  // closed when the node is ready again, or drains in another period
}

// NodeView is the node as the admin API shows it.
type NodeView struct {
	ID    string    `json:"id"`
	State string    `json:"state"`
	Live  int       `json:"live"`
	Since time.Time `json:"since"`

	// EndsAt is when the last connection is going to be ended; zero where the node does
	// not drain.
	EndsAt time.Time `json:"ends_at,omitzero"`
}

// Node is the state that the node is in.
func (s *Set) Node() NodeView {
	view, drain := s.viewNode()
	if drain != nil {
		view.EndsAt = shownTime(drain.began.Add(s.longest(drain)))
	}
	return view
}

func (s *Set) viewNode() (view NodeView, drain *nodeDrain) {
	s.mu.Lock()
	defer s.mu.Unlock()
	state := balance.Ready
	if s.node.drain != nil {
		state = balance.Drain
	}
	view = NodeView{ID: s.ID, State: state.String(), Live: s.connections.count, Since: s.node.since.UTC().Truncate(time.Second)}
	return view, s.node.drain
}

// longest is how long the drain takes at most.
func (s *Set) longest(drain *nodeDrain) (period time.Duration) {
	if drain.period != nil {
		return *drain.period
	}
	s.walk(func(c *Conn) { period = max(period, c.DrainPeriod) })
	return period
}

// DrainNode ends every connection within the period, and those that are added from now
// on within what is left of it. Without a period, each is ended within the drain period
// that it was opened with. Another period than before holds for what is left.
func (s *Set) DrainNode(period *time.Duration) {
	if drain, left := s.beginNodeDrain(period); drain != nil {
		s.schedule(left, drain.plan())
	}
}

// beginNodeDrain returns the drain and the connections that it is for; nil where the
// node drains in this period already.
func (s *Set) beginNodeDrain(period *time.Duration) (begun *nodeDrain, left []*Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	switch before := s.node.drain; {
	case before == nil:
		s.node.since = now
		for waiter := range s.node.waiters {
			close(waiter)
		}
		clear(s.node.waiters)
	case samePeriod(before.period, period):
		return nil, nil
	default:
		close(before.over)
	}
	s.node.drain = &nodeDrain{began: now, over: make(chan struct{})}
	if period != nil {
		s.node.drain.period = new(*period)
	}
	for c := range s.connections.all() {
		if !c.leaving.Load() {
			left = append(left, c)
		}
	}
	return s.node.drain, left
}

func samePeriod(a, b *time.Duration) bool {
	return a == b || a != nil && b != nil && *a == *b
}

// ReadyNode ends the drain of the node. The connections whose turn has not come stay,
// unless something else drains them.
func (s *Set) ReadyNode() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.node.drain == nil {
		return
	}
	close(s.node.drain.over)
	s.node.drain, s.node.since = nil, time.Now()
}

// NodeDraining reports whether the node drains, and in which period; nil for that of
// each connection.
func (s *Set) NodeDraining() (period *time.Duration, draining bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.node.drain == nil {
		return nil, false
	}
	return s.node.drain.period, true
}

// NodeDrains returns a channel of the caller's own that is closed when the node drains,
// until forget is called.
func (s *Set) NodeDrains() (drains <-chan struct{}, forget func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	waiter := make(chan struct{})
	if s.node.drain != nil {
		close(waiter)
		return waiter, func() {}
	}
	s.node.waiters[waiter] = true
	return waiter, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.node.waiters, waiter)
	}
}

// plan is that of the connections that are there, or come, while the node drains.
func (d *nodeDrain) plan() plan {
	return plan{
		within: func(c *Conn) time.Duration {
			period := c.DrainPeriod
			if d.period != nil {
				period = *d.period
			}
			return max(0, period-time.Since(d.began))
		},
		still: func(*Conn) bool {
			select {
			case <-d.over:
				return false
			default:
				return true
			}
		},
		over: d.over,
	}
}
