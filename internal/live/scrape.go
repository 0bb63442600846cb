package live

// Pending returns how many bytes are held for sides that do not read, by gateway. It
// takes no lock of a connection.
func (s *Set) Pending() map[string]int {
	pending := make(map[string]int)
	var seen []sight
	for i := range s.connections.unhurried() {
		seen = s.see(i, seen[:0], func(c *Conn) bool { return c.Link != nil })
		for _, c := range seen {
			toClient, toUpstream := c.Link.Pending()
			if n := toClient + toUpstream; n > 0 {
				pending[c.Gateway] += n
			}
		}
	}
	return pending
}

// Forget forgets what has come over the ended connections of a gateway that is gone.
func (s *Set) Forget(gateway string) {
	for i := range s.connections.shards {
		s.forgetEnded(i, gateway)
	}
}

func (s *Set) forgetEnded(i int, gateway string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.connections.shards[i].ended, gateway)
}
