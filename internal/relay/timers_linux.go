//go:build !noloop && !386

package relay

import (
	"container/heap"
	"time"
)

// timers are the connections of a loop that wait for a moment, the next one first, each
// at most once. A connection that never had to wait is not among them.
type timers []timer

type timer struct {
	at    time.Time
	relay *Relay
}

// set makes a connection wait for at, unless at is zero or the connection waits for an
// earlier moment anyway: what it really waits for is seen when that moment has come.
func (t *timers) set(r *Relay, at time.Time) {
	where := int(r.place.timer) - 1
	switch {
	case at.IsZero() || where >= 0 && !at.Before((*t)[where].at):
	case where < 0:
		heap.Push(t, timer{at, r})
	default:
		(*t)[where].at = at
		heap.Fix(t, where)
	}
}

// remove makes a connection wait for no moment.
func (t *timers) remove(r *Relay) {
	if where := int(r.place.timer) - 1; where >= 0 {
		heap.Remove(t, where)
	}
}

// next returns the first moment, or zero.
func (t *timers) next() time.Time {
	if len(*t) == 0 {
		return time.Time{}
	}
	return (*t)[0].at
}

// takeExpired takes out the first connection if its moment has come, and else returns
// nil.
func (t *timers) takeExpired(now time.Time) *Relay {
	if len(*t) == 0 || (*t)[0].at.After(now) {
		return nil
	}
	return heap.Pop(t).(timer).relay
}

// Len implements heap.Interface.
func (t *timers) Len() int { return len(*t) }

// Less implements heap.Interface: the earlier moment is first.
func (t *timers) Less(i, j int) bool { return (*t)[i].at.Before((*t)[j].at) }

// Swap implements heap.Interface, and keeps the indexes in the connections' places.
func (t *timers) Swap(i, j int) {
	s := *t
	s[i], s[j] = s[j], s[i]
	s[i].relay.place.timer, s[j].relay.place.timer = int32(i+1), int32(j+1)
}

// Push implements heap.Interface.
func (t *timers) Push(x any) {
	*t = append(*t, x.(timer))
	x.(timer).relay.place.timer = int32(len(*t))
}

// Pop implements heap.Interface.
func (t *timers) Pop() any {
	s := *t
	last := s[len(s)-1]
	s[len(s)-1] = timer{}
	*t = s[:len(s)-1]
	last.relay.place.timer = 0
	return last
}
