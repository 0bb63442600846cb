package live

import (
	"strings"
	"time"
)

// Count returns how many live connections the filter chooses.
func (s *Set) Count(f Filter) int {
	match, n := f.locked(time.Now()), 0
	for i := range s.connections.unhurried() {
		s.walkShard(i, func(c *Conn) {
			if match(c) {
				n++
			}
		})
	}
	return n
}

// DrainEnds returns when the last of the connections that a drain is going to end goes, by
// the addresses of upstreams. It takes one look at the connections, however many drain.
func (s *Set) DrainEnds() map[string]time.Time {
	ends := make(map[string]time.Time)
	var seen []sight
	for i := range s.connections.unhurried() {
		seen = s.see(i, seen[:0], func(c *Conn) bool { return c.departures != nil })
		for _, c := range seen {
			if at, because := c.end(); because == EndsByDrain && at.After(ends[c.Upstream]) {
				ends[c.Upstream] = at
			}
		}
	}
	return ends
}

// hasWords reports whether each of the words, in lower case, is in what tells connections
// apart.
func (c *Conn) hasWords(words []string) bool {
	for _, word := range words {
		found := false
		for _, text := range []string{c.UserID, c.RemoteIP, c.Upstream, c.Gateway, c.ID, c.Protocol, c.Subprotocol} {
			found = found || strings.Contains(strings.ToLower(text), word)
		}
		if !found {
			return false
		}
	}
	return true
}

// Handshakes counts the handshakes of each gateway, whatever came of them.
func (s *Set) Handshakes() map[string]uint64 {
	s.journal.mu.Lock()
	defer s.journal.mu.Unlock()
	all := make(map[string]uint64, len(s.journal.gateways))
	for gateway, p := range s.journal.gateways {
		for _, n := range p.handshakes {
			all[gateway] += n
		}
	}
	return all
}
