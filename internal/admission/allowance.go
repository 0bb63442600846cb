package admission

import (
	"maps"
	"math"
	"slices"
)

// unbound is an allowance that holds nobody.
const unbound = math.MaxInt64

// Shared is a cap on connections that the gateways of several nodes have together, and
// what this one has of it.
type Shared struct {
	Name      string // of the gateway
	Cap       int    // the largest that a loaded configuration has
	Live      int
	Allowance int    // how many connections there may be here
	Opened    uint64 // how many were admitted so far
}

// Bind has all caps on connections held by allowances as well, of which there are none
// until [Local.Allow] gives them. Connections that live already stay, and so do the
// allowances of a ledger that is bound already.
func (l *Local) Bind() { l.bind(true) }

// Unbind forgets all allowances, so that caps hold by themselves.
func (l *Local) Unbind() { l.bind(false) }

func (l *Local) bind(bound bool) {
	l.naming.Lock()
	defer l.naming.Unlock()
	if l.bound == bound {
		return
	}
	l.bound = bound
	for _, g := range *l.gateways.Load() {
		g.alone(func() { g.allowance = l.firstAllowance() })
	}
}

// firstAllowance is that of a gateway that was given none. The lock of naming is held.
func (l *Local) firstAllowance() int64 {
	if l.bound {
		return 0
	}
	return unbound
}

// Shared returns every gateway of which a loaded configuration has a cap on connections,
// in the order of their names. It is not called under a lock that an [Adopt] takes.
func (l *Local) Shared() []Shared {
	l.tracking.Lock()
	defer l.tracking.Unlock()
	var all []Shared
	gateways := *l.gateways.Load()
	for _, name := range slices.Sorted(maps.Keys(gateways)) {
		if g := gateways[name]; len(g.caps) > 0 {
			all = append(all, g.shared(name))
		}
	}
	return all
}

// shared is called under the lock of tracking.
func (g *gateway) shared(name string) Shared {
	s := Shared{Name: name, Cap: slices.Max(slices.Collect(maps.Keys(g.caps)))}
	g.alone(func() {
		s.Live, s.Allowance = int(g.connections.Load()), int(min(g.allowance, math.MaxInt))
		for i := range g.homes {
			s.Opened += g.homes[i].opened
		}
	})
	return s
}

// trackCap notes that so many more configurations have the cap on connections.
func (g *gateway) trackCap(most, more int) {
	if most <= 0 {
		return
	}
	g.caps[most] += more
	if g.caps[most] == 0 {
		delete(g.caps, most)
	}
}

// Allow sets how many connections of the gateway there may be here, as far as its caps
// allow them. Those that are above it stay.
func (l *Local) Allow(gateway string, n int) {
	l.change(gateway, func(_, _ int64) int64 { return int64(n) })
}

// Trim lowers the allowance of the gateway to so many more connections than there are,
// if it is above that, and returns what it is now. No connection is admitted above that
// from the moment on that Trim takes effect, before it returns.
func (l *Local) Trim(gateway string, spare int) int {
	return int(l.change(gateway, func(live, allowance int64) int64 { return min(allowance, live+int64(spare)) }))
}

// change changes the allowance of a gateway, and returns it. There are no allowances of
// gateways that are not known, nor where none hold.
func (l *Local) change(gateway string, f func(live, allowance int64) int64) (allowance int64) {
	l.naming.Lock()
	defer l.naming.Unlock()
	g := (*l.gateways.Load())[gateway]
	if g == nil || !l.bound {
		return 0
	}
	g.alone(func() {
		g.allowance = f(g.connections.Load(), g.allowance)
		allowance = g.allowance
	})
	return allowance
}

// Short reports whether the cap on the connections of the gateway has room, so that
// nothing but the allowance can be in the way.
func (l *Local) Short(gateway string, most int) bool {
	g := (*l.gateways.Load())[gateway]
	return g == nil || g.connections.Load() < int64(most)
}
