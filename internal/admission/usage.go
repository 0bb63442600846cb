package admission

import (
	"cmp"
	"net/netip"
	"slices"
)

// ranked is a key with its number of connections at some moment.
type ranked struct {
	key
	connections int
}

// Usage returns what the gateway's connections take up, with at most so many of the
// addresses and users that have the most of them.
func (l *Local) Usage(name string, top int) Usage {
	g := (*l.gateways.Load())[name]
	if g == nil {
		return Usage{}
	}
	u := Usage{Connections: int(g.connections.Load())}
	for _, t := range g.tables() {
		for _, r := range t.top(top) {
			c := Count{t.text(r.key), r.connections}
			if t.ByUser {
				u.Users = append(u.Users, c)
			} else if !slices.ContainsFunc(u.Addresses, func(a Count) bool { return a.Key == c.Key }) {
				u.Addresses = append(u.Addresses, c) // IPv4 addresses are the same in all tables
			}
		}
	}
	// Networks of several widths may be counted.
	slices.SortStableFunc(u.Addresses, func(a, b Count) int { return cmp.Compare(b.Connections, a.Connections) })
	u.Addresses = u.Addresses[:min(max(top, 0), len(u.Addresses))]
	return u
}

// text returns how a key is written in the configuration's language.
func (t *table) text(k key) string {
	if t.ByUser {
		return k.user
	}
	ip := netip.AddrFrom16(k.network).Unmap()
	if ip.Is4() || t.Bits == 128 {
		return ip.String()
	}
	return netip.PrefixFrom(ip, t.Bits).String()
}

// top returns the keys with the most connections.
func (t *table) top(n int) []ranked {
	var best []ranked
	if n <= 0 {
		return nil
	}
	for i := range t.shards {
		best = t.shards[i].topOf(best, n)
	}
	return best
}

// topOf returns the best n of those given, which are in order, and of the shard's.
func (s *shard) topOf(best []ranked, n int) []ranked {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, t := range s.networks {
		best = t.rank(best, n)
	}
	for _, t := range s.users {
		best = t.rank(best, n)
	}
	return best
}

// rank puts the tally among the best n, which are in order, if it is one of them.
func (t *tally) rank(best []ranked, n int) []ranked {
	r := ranked{t.key, t.connections}
	if len(best) == n && compareRanked(r, best[n-1]) > 0 {
		return best
	}
	at, _ := slices.BinarySearchFunc(best, r, compareRanked)
	return slices.Insert(best[:min(len(best), n-1)], at, r)
}

func compareRanked(a, b ranked) int {
	return cmp.Or(cmp.Compare(b.connections, a.connections), a.key.compare(b.key))
}
