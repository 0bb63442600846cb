package live

import (
	"maps"
	"slices"

	"github.com/wsgateway/caddy-ws-gateway/internal/panics"
)

// Name notes that a configuration names the members, until release. A connection
// whose member no configuration names any more passes to another member that names
// its upstream, or waits for a source to answer, or is drained.
func (s *Set) Name(members ...string) (release func()) {
	members = slices.Clone(members)
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, member := range members {
		s.members[member]++
	}
	return func() {
		for _, member := range members {
			s.unname(member)
		}
	}
}

func (s *Set) unname(member string) {
	defer panics.Contain() // a reload has other connections to end
	if s.dropName(member) {
		s.rehome(func(c *Conn) bool { return c.member == member || c.Upstream == member || c.waiting })
	}
}

// dropName reports whether connections may have lost their upstream: no configuration
// names the member any more. It is false where the process exits, which ends every
// connection with 1001.
func (s *Set) dropName(member string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return drop(s.members, member) && !s.exiting && !s.exits()
}

// drop counts one down, and reports whether it was the last.
func drop[K comparable](counts map[K]int, key K) (last bool) {
	switch n := counts[key]; n {
	case 0:
		return false
	case 1:
		delete(counts, key)
		return true
	default:
		counts[key] = n - 1
		return false
	}
}

// namedLocked reports whether a loaded configuration names the member.
func (s *Set) namedLocked(member string) bool { return s.members[member] > 0 }

// wanted reports whether a loaded configuration names the connection's upstream,
// or may name it.
func (s *Set) wanted(c *Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.namedLocked(c.member) || len(s.heirsLocked(c)) > 0 || s.undecidedLocked(c)
}

// rehome decides about the connections that match and whose member no loaded
// configuration names any more: they pass to another member that names their upstream,
// or wait for a source to answer, or are drained.
func (s *Set) rehome(match func(*Conn) bool) {
	var revoked []*Conn
	passed := s.list(func(c *Conn) bool {
		if !match(c) || !s.rehomeLocked(c) {
			return false
		}
		if s.stillAcceptedLocked(c) {
			return true
		}
		if c.claimEnd() {
			revoked = append(revoked, c)
		}
		return false
	})
	for _, c := range revoked {
		c.tell(EndRevoked)
	}
	homeless := make(map[*Conn]bool)
	for _, c := range passed {
		if !s.wanted(c) {
			homeless[c] = true
		}
	}
	s.drain(func(c *Conn) bool { return homeless[c] })
}

// rehomeLocked gives a connection whose member is not named any more to another member
// that names its upstream and that its credential leads to. Without such a member, the
// connection waits for a source that has not answered yet and may be one. It is false
// where the member is still named.
func (s *Set) rehomeLocked(c *Conn) bool {
	c.waiting = false
	if s.namedLocked(c.member) {
		return false
	}
	heirs := s.heirsLocked(c)
	good := slices.IndexFunc(heirs, func(member string) bool {
		return c.authority.credentialName() == "" || s.acceptsLocked(member, c.authority.credentialName())
	})
	switch {
	case good >= 0:
		c.member = heirs[good]
	case s.undecidedLocked(c):
		c.waiting = true
	case len(heirs) > 0:
		c.member = heirs[0] // its configurations do not accept the connection's credential
	}
	return true
}

// heirsLocked lists the members that name the connection's upstream.
func (s *Set) heirsLocked(c *Conn) []string {
	var heirs []string
	if s.namedLocked(c.Upstream) {
		heirs = append(heirs, c.Upstream)
	}
	for _, member := range slices.Sorted(maps.Keys(s.sources)) {
		if src := s.sources[member]; src.answered && src.wantsLocked(c) {
			heirs = append(heirs, member)
		}
	}
	return heirs
}

// undecidedLocked reports whether a source that has not answered yet may name the
// connection's upstream.
func (s *Set) undecidedLocked(c *Conn) bool {
	for _, src := range s.sources {
		if !src.answered && src.wantsLocked(c) {
			return true
		}
	}
	return false
}
