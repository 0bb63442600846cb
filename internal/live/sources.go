package live

import "slices"

// source is a source of dynamic upstreams that loaded configurations have. The set
// keeps a source by its member, over reloads that do not change it.
type source struct {
	gateways   map[string]int // how many loaded handlers have it, by their names
	perRequest bool           // it depends on the request, so that no answer speaks for all
	answered   bool
	addresses  []string // of the last answer
}

// wantsLocked reports whether the source may lead to the connection's upstream. A
// source that has not answered yet may lead anywhere, for the gateways that have it.
func (src *source) wantsLocked(c *Conn) bool {
	if src.answered {
		return slices.Contains(src.addresses, c.Upstream)
	}
	return src.gateways[c.Gateway] > 0
}

// Source notes that a gateway's configuration has a source of dynamic upstreams, until
// release. The source must be released before its member: the release of the member
// decides about the connections that wait for an answer.
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

// Answered takes a source's answer. The first answer decides about the connections
// that wait for it; a later answer without an upstream leaves the connections of the
// upstream alone. An answer without any upstream does not count: connections would have
// nowhere to go.
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

// LastAnswer returns the source's last answer, in this configuration or in one before;
// nil where there is none.
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
	for i := range s.connections.shards {
		awaited, undecided := s.awaitedIn(i, member)
		if awaited || !undecided {
			return awaited
		}
	}
	return false
}

// awaitedIn is Awaits for a shard. undecided is false where nothing waits for the source
// in any shard: it is gone, has answered, or no answer speaks for all.
func (s *Set) awaitedIn(i int, member string) (awaited, undecided bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	src := s.sources[member]
	if src == nil || src.answered || src.perRequest {
		return false, false
	}
	for _, c := range s.connections.shards[i].live {
		if c.waiting && src.wantsLocked(c) {
			return true, true
		}
	}
	return false, true
}
