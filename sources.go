package wsgateway

import (
	"maps"
	"slices"
)

// upstreamSource is a source of dynamic upstreams that loaded configurations have.
// The registry keeps it by what names it there, over reloads that leave it alone.
type upstreamSource struct {
	gateways   map[string]int // how many loaded handlers have it, by their names
	perRequest bool           // it depends on who asks, so that no answer speaks for all
	answered   bool
	addresses  []string // of the last answer
}

// wants reports whether the source may lead to the connection's upstream. One that
// has not answered yet may lead anywhere for the gateways that have it.
func (s *upstreamSource) wants(c *connection) bool {
	if s.answered {
		return slices.Contains(s.addresses, c.upstream)
	}
	return s.gateways[c.gateway] > 0
}

// joinSource tells that a gateway's configuration has a source of dynamic
// upstreams; leaveSource undoes it, before the members are left.
func (g *registry) joinSource(member, gateway string, perRequest bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	s := g.sources[member]
	if s == nil {
		s = &upstreamSource{gateways: make(map[string]int), perRequest: perRequest}
		g.sources[member] = s
	}
	s.gateways[gateway]++
}

func (g *registry) leaveSource(member, gateway string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	s := g.sources[member]
	if s == nil {
		return
	}
	if s.gateways[gateway]--; s.gateways[gateway] <= 0 {
		delete(s.gateways, gateway)
	}
	if len(s.gateways) == 0 {
		delete(g.sources, member)
	}
}

// answered takes a source's answer. The first one decides about the connections
// that were left to it; a later one that does without an upstream leaves alone who
// is there. No upstream at all is no answer: there is nowhere to go.
func (g *registry) answered(member string, addresses []string) {
	g.mu.Lock()
	s := g.sources[member]
	if s == nil || s.perRequest || len(addresses) == 0 {
		g.mu.Unlock()
		return
	}
	first := !s.answered
	s.answered, s.addresses = true, addresses
	g.mu.Unlock()
	if first {
		g.settle(func(c *connection) bool { return c.unsettled })
	}
}

// lastAnswer returns what the source has answered, in this configuration or in one
// before; nil where it has not.
func (g *registry) lastAnswer(member string) []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	if s := g.sources[member]; s != nil {
		return s.addresses
	}
	return nil
}

// awaits reports whether connections wait for the first answer of the source.
func (g *registry) awaits(member string) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	s := g.sources[member]
	if s == nil || s.answered || s.perRequest {
		return false
	}
	for _, c := range g.connections {
		if c.unsettled && s.wants(c) {
			return true
		}
	}
	return false
}

// settle looks at the connections that match and whose member no loaded
// configuration names any more: they pass to another member that names their
// upstream, or wait for a source to answer, or are drained.
func (g *registry) settle(match func(*connection) bool) {
	var revoked []*connection
	passed := g.list(func(c *connection) bool {
		if !match(c) || !g.rehomeLocked(c) {
			return false
		}
		if g.stillAccepted(c, c.authority.credential) {
			return true
		}
		if c.claimEnd() {
			revoked = append(revoked, c)
		}
		return false
	})
	for _, c := range revoked {
		c.tell(endRevoked)
	}
	homeless := make(map[*connection]bool)
	for _, c := range passed {
		if !g.wanted(c) {
			homeless[c] = true
		}
	}
	g.drain(func(c *connection) bool { return homeless[c] })
}

// rehomeLocked gives a connection whose member is not named any more another one
// that names its upstream, if there is one through which its credential is good.
// Where there is none, a source that has not answered yet may be one. It is false
// where there was nothing to do.
func (g *registry) rehomeLocked(c *connection) bool {
	c.unsettled = false
	if g.names(c.member) {
		return false
	}
	heirs := g.heirsLocked(c)
	good := slices.IndexFunc(heirs, func(m string) bool {
		return c.authority.credential == "" || g.accepts(m, c.authority.credential)
	})
	switch {
	case good >= 0:
		c.member = heirs[good]
	case g.undecidedLocked(c):
		c.unsettled = true
	case len(heirs) > 0:
		c.member = heirs[0] // whose configurations do not accept what let it in
	}
	return true
}

// heirsLocked lists the members that name the connection's upstream.
func (g *registry) heirsLocked(c *connection) []string {
	var heirs []string
	if g.names(c.upstream) {
		heirs = append(heirs, c.upstream)
	}
	for _, member := range slices.Sorted(maps.Keys(g.sources)) {
		if s := g.sources[member]; s.answered && s.wants(c) {
			heirs = append(heirs, member)
		}
	}
	return heirs
}

// undecidedLocked reports whether a source that has not answered yet may name the
// connection's upstream.
func (g *registry) undecidedLocked(c *connection) bool {
	for _, s := range g.sources {
		if !s.answered && s.wants(c) {
			return true
		}
	}
	return false
}
