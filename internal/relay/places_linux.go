//go:build !noloop && !386

package relay

// tenancy says who has a place, and how many have had the place before. A key of an
// earlier generation is void, so that an event of a descriptor that was closed is not
// taken for an event of its successor.
type tenancy struct {
	relay      *Relay
	berth      *Berth // of the upstream's socket, where there is no relay yet
	generation int32
}

// key is what the epoll set knows a socket by: twice the index of its connection's
// place, plus one for the upstream's socket, and the place's generation.
type key struct{ socket, generation int32 }

// place is where a connection is on the loop. It belongs to the loop's goroutine from
// when the loop has heard of the connection.
type place struct {
	loop       *loop
	index      int32 // in loop.places, and the entry in loop.timers
	generation int32
	valid      bool // the connection has the place
	begun      bool // the connection relays
	touched    bool // the connection has to be looked after
}

// enter gives a connection a place, or that of its upstream's berth. If there is nothing
// to do in the connection yet, it relays from then on, and the loop need not be called.
// It fails if the loop has given up.
func (l *loop) enter(r *Relay, b *Berth) (calls, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.dead.Load() {
		return false, false
	}
	if b != nil && b.holds() {
		r.place.index, r.place.generation = b.index, b.generation
		r.upstream.socket.watched = moored
	} else {
		r.place.index, r.place.generation = l.take()
	}
	l.places[r.place.index] = tenancy{relay: r, generation: r.place.generation}
	r.place.valid = true
	defer func() { // also where a panic ends it
		if !ok {
			l.vacate(r.place.index)
			r.place.valid = false
		}
	}()
	calls = !r.isQuiet() || !l.beginQuietly(r)
	return calls, true
}

// take returns a place that is vacant. The caller holds mu.
func (l *loop) take() (index, generation int32) {
	if len(l.vacant) == 0 {
		l.vacant = append(l.vacant, int32(len(l.places)))
		l.places = append(l.places, tenancy{})
	}
	last := len(l.vacant) - 1
	index = l.vacant[last]
	l.vacant = l.vacant[:last]
	at := &l.places[index]
	at.generation = max(at.generation+1, 1) // 0 is for connections that never had a place
	return index, at.generation
}

// tenant returns the connection that has a place.
func (l *loop) tenant(index int32) *Relay {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.places[index].relay
}

// vacate takes a place back. The caller holds mu.
func (l *loop) vacate(index int32) {
	at := &l.places[index]
	at.relay, at.berth = nil, nil
	l.vacant = append(l.vacant, index)
}

// evict takes a connection's place back.
func (l *loop) evict(r *Relay) {
	r.place.valid = false
	l.timers.remove(r.place.index)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.vacate(r.place.index)
}
