package live

import (
	"iter"
	"time"
)

// departure is a moment at which a drain is going to end a connection, if still is true
// then.
type departure struct {
	connection *Conn
	after      time.Duration // since the drain began
	at         time.Time
	still      func(*Conn) bool
}

// departures is a list of departures, which does not change: nil is the empty list.
type departures struct {
	*departure
	next *departures
}

func (l *departures) all() iter.Seq[*departure] {
	return func(yield func(*departure) bool) {
		for ; l != nil; l = l.next {
			if !yield(l.departure) {
				return
			}
		}
	}
}

func (l *departures) without(d *departure) (left *departures) {
	for other := range l.all() {
		if other != d {
			left = &departures{other, left}
		}
	}
	return left
}

// announce has the connection show when it is going to be ended.
func (s *Set) announce(d *departure) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := d.connection
	c.departures = &departures{d, c.departures}
}

// callOff is for departures that do not take place.
func (s *Set) callOff(off ...*departure) {
	for _, d := range off {
		s.callOffOne(d)
	}
}

func (s *Set) callOffOne(d *departure) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := d.connection
	c.departures = c.departures.without(d)
}
