package live

import "time"

// HandOver leaves the rest of a gateway's rebalance to the next configuration.
func (s *Set) HandOver(gateway string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.unfinished[gateway] = true
}

// TakeOver reports, once, whether a configuration before left the rest of a
// gateway's rebalance.
func (s *Set) TakeOver(gateway string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	unfinished := s.unfinished[gateway]
	delete(s.unfinished, gateway)
	return unfinished
}

// Staying counts a gateway's connections at each upstream, without those that
// are leaving.
func (s *Set) Staying(gateway string) map[string]int {
	at := make(map[string]int)
	s.walk(func(c *Conn) {
		if c.Gateway == gateway && !c.leaving.Load() {
			at[c.Upstream]++
		}
	})
	return at
}

// MoveIdlest ends the connection of a gateway at an upstream that has been quiet for
// longest, so that its client reconnects to another upstream. It is false where there
// is no connection to end.
func (s *Set) MoveIdlest(gateway, upstream string) bool {
	var idlest *Conn
	var since time.Time
	for _, c := range s.list(func(c *Conn) bool { return c.Gateway == gateway && c.Upstream == upstream && !c.leaving.Load() }) {
		if active := c.Link.LastActive(); idlest == nil || active.Before(since) {
			idlest, since = c, active
		}
	}
	if idlest == nil {
		return false
	}
	idlest.end(endRebalance)
	return true
}
