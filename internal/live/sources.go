package live

import "slices"

// source is a source of dynamic upstreams that loaded configurations have. The
// set keeps it by its member, over reloads that leave it alone.
type source struct {
	gateways   map[string]int // how many loaded handlers have it, by their names
	perRequest bool           // it depends on the request, so that no answer speaks for all
	answered   bool
	addresses  []string // of the last answer
}

// wantsLocked reports whether the source may lead to the connection's upstream. One that
// has not answered yet may lead anywhere for the gateways that have it.
func (src *source) wantsLocked(c *Conn) bool {
	if src.answered {
		return slices.Contains(src.addresses, c.Upstream)
	}
	return src.gateways[c.Gateway] > 0
}

// Source tells that a gateway's configuration has a source of dynamic upstreams,
// until release, which must come before that of the source's member: the end of
// the member decides about the connections that waited for an answer.
func (s *Set) Source(member, gateway string, perRequest bool) (release func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	src := s.sources[member]
	if src == nil {
		src = &source{gateways: make(map[string]int), perRequest: perRequest}
		s.sources[member] = src
	}
	src.gateways[gateway]++
	return func() { s.dropSource(member, gateway) }
}

func (s *Set) dropSource(member, gateway string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	src := s.sources[member]
	if src == nil {
		return
	}
	if src.gateways[gateway]--; src.gateways[gateway] <= 0 {
		delete(src.gateways, gateway)
	}
	if len(src.gateways) == 0 {
		delete(s.sources, member)
	}
}

// Answered takes a source's answer. The first one decides about the connections
// that were left to it; a later one that does without an upstream leaves its
// connections alone. No upstream at all is no answer: there is nowhere to go.
func (s *Set) Answered(member string, addresses []string) {
	if s.noteAnswer(member, addresses) {
		s.rehome(func(c *Conn) bool { return c.waiting })
	}
}

// noteAnswer reports whether the answer is the first that the source gives.
func (s *Set) noteAnswer(member string, addresses []string) (first bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	src := s.sources[member]
	if src == nil || src.perRequest || len(addresses) == 0 {
		return false
	}
	first = !src.answered
	src.answered, src.addresses = true, addresses
	return first
}

// LastAnswer returns what the source has answered, in this configuration or in one
// before; nil where it has not.
func (s *Set) LastAnswer(member string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if src := s.sources[member]; src != nil {
		return src.addresses
	}
	return nil
}

// Awaits reports whether connections wait for the first answer of the source.
func (s *Set) Awaits(member string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	src := s.sources[member]
	if src == nil || src.answered || src.perRequest {
		return false
	}
	for _, c := range s.connections {
		if c.waiting && src.wantsLocked(c) {
			return true
		}
	}
	return false
}
