package admission

import "slices"

// Seat is a place among the connections of a gateway. Its zero value holds none. A seat
// is taken once at most, and it must not be copied after that.
type Seat struct {
	home *home // never changes once the seat was taken

	// Guarded by the home's lock.
	taken     bool
	tallies   []*tally  // that it counts in, by address and by user
	onRelease func()    // nil for nothing
	first     [2]*tally // what tallies lie in at first
}

// Settle notes that the functions that [Local.Track] calls know the seat from now on,
// so that the ledger need not remember it. It is called for a connection after it was
// added to those that an [Adopt] lists.
func (s *Seat) Settle() {
	if s == nil || s.home == nil {
		return
	}
	s.home.mu.Lock()
	defer s.home.mu.Unlock()
	s.home.settleLocked(s)
}

// OnRelease has f called, once and without locks, after the seat was released. The
// function takes the place of one that was set before. It is false, and nothing is
// called, where the seat is not taken any more.
func (s *Seat) OnRelease(f func()) bool {
	if s == nil || s.home == nil {
		return false
	}
	s.home.mu.Lock()
	defer s.home.mu.Unlock()
	if s.taken {
		s.onRelease = f
	}
	return s.taken
}

// Release gives the seat back, if it holds one.
func (s *Seat) Release() {
	if s == nil || s.home == nil {
		return
	}
	if f := s.release(); f != nil {
		f()
	}
}

// release returns what is to be called.
func (s *Seat) release() (onRelease func()) {
	s.home.mu.Lock()
	defer s.home.mu.Unlock()
	if !s.taken {
		return nil // it was released before
	}
	s.taken = false
	onRelease, s.onRelease = s.onRelease, nil
	s.home.settleLocked(s)
	for _, t := range s.tallies {
		t.release()
	}
	s.tallies = nil
	s.home.gateway.connections.Add(-1)
	return onRelease
}

// countLocked makes the seat count wherever its home's clients are counted and it does
// not count yet. Tallies of tables that are out of use are let go.
func (s *Seat) countLocked(c client) {
	tallies := make([]*tally, 0, len(s.home.tables))
	for _, table := range s.home.tables {
		already := slices.IndexFunc(s.tallies, func(t *tally) bool { return t.shard.table == table })
		if already >= 0 {
			tallies = append(tallies, s.tallies[already])
		} else if k, ok := table.keyOf(c); ok {
			tallies = append(tallies, table.shardOf(k).take(k))
		}
	}
	s.tallies = tallies
}
