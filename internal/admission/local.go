package admission

import (
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
)

// Local is the ledger of a process: it counts the handshakes and the connections of
// gateways. It is safe for concurrent use.
//
// An address that is not valid is not known, and is held to no limit of addresses; an
// empty user is held to no limit of users. IPv4 addresses are the same when they are
// mapped into IPv6, and zones do not matter.
type Local struct {
	rates rates

	naming   sync.Mutex                          // for changes of gateways; it comes before the locks of homes
	gateways atomic.Pointer[map[string]*gateway] // by name; never changed in place
	bound    bool                                // allowances hold; guarded by naming

	// tracking is held over a change of what is counted. It comes before all other
	// locks of the ledger.
	tracking sync.Mutex
	limited  int                               // tracked configurations that limit handshakes
	told     func(gateway string, adopt Adopt) // of what is counted newly; nil for nobody
}

// New returns an empty ledger.
func New() *Local {
	l := &Local{rates: newRates()}
	l.gateways.Store(&map[string]*gateway{})
	return l
}

func (l *Local) gateway(name string) *gateway {
	if g := (*l.gateways.Load())[name]; g != nil {
		return g
	}
	return l.newGateway(name)
}

func (l *Local) newGateway(name string) *gateway {
	l.naming.Lock()
	defer l.naming.Unlock()
	all := maps.Clone(*l.gateways.Load())
	if g := all[name]; g != nil {
		return g
	}
	g := newGateway(l.firstAllowance())
	all[strings.Clone(name)] = g
	l.gateways.Store(&all)
	return g
}

// Admit takes a seat for a connection, from before its upstream is dialed to its end, or
// names the limit that leaves no room for it. The client's own limits are looked at first.
// Where there is no room, nothing is counted and the seat is as it was.
func (l *Local) Admit(into *Seat, gateway string, caps Caps, ip netip.Addr, user string) Limit {
	for {
		if limit, ok := l.gateway(gateway).admit(into, caps, client{ip, user}); ok {
			return limit
		}
	}
}

// Track notes that a configuration of the gateway has the caps, until release is called.
// While any configuration of a gateway has a cap for each address or each user, all
// connections of the gateway are counted by address or by user, those that are there
// already among them: Track calls adopt for these if they were not counted so far. A cap
// that was not tracked is not enforced.
func (l *Local) Track(gateway string, caps Caps, adopt Adopt) (release func()) {
	g, tell := l.track(gateway, caps, adopt)
	if tell != nil {
		tell(gateway, adopt)
	}
	return sync.OnceFunc(func() { l.untrack(g, caps) })
}

// track returns whom to tell that something is counted newly, nil for nobody.
func (l *Local) track(gateway string, caps Caps, adopt Adopt) (g *gateway, tell func(string, Adopt)) {
	l.tracking.Lock()
	defer l.tracking.Unlock()
	g = l.gateway(gateway)
	g.configurations++
	g.trackCap(caps.Connections, 1)
	if adopt != nil {
		g.adopt = adopt
	}
	if caps.Handshakes.limits() {
		l.limited++
		g.trackPace(caps.pace(), 1, l.rates.now())
	}
	tables := g.tables()
	fresh := false
	for _, d := range caps.dimensions() {
		t := g.table(d)
		if t == nil {
			t, fresh = newTable(d), true
			tables = append(slices.Clip(tables), t)
		}
		t.configurations++
	}
	if fresh {
		slices.SortFunc(tables, func(a, b *table) int { return a.compare(b.Dimension) })
		g.setTables(tables)
		if adopt != nil {
			adopt(func(s *Seat, ip netip.Addr, user string) { g.count(s, client{ip, user}) })
		}
		tell = l.told
	}
	return g, tell
}

func (l *Local) untrack(g *gateway, caps Caps) {
	l.tracking.Lock()
	defer l.tracking.Unlock()
	if caps.Handshakes.limits() {
		l.limited--
		g.trackPace(caps.pace(), -1, l.rates.now())
	}
	if l.limited == 0 {
		l.rates.forget()
	}
	for _, d := range caps.dimensions() {
		g.table(d).configurations--
	}
	if used := g.tables(); slices.ContainsFunc(used, unused) {
		g.setTables(slices.DeleteFunc(slices.Clone(used), unused))
		for _, t := range used {
			if unused(t) {
				t.close()
			}
		}
	}
	g.configurations--
	g.trackCap(caps.Connections, -1)
	if g.configurations == 0 {
		g.adopt = nil
	}
	l.forgetIdle()
}

func unused(t *table) bool { return t.configurations == 0 }

// forgetIdle forgets the gateways that no configuration has and no connection is of.
func (l *Local) forgetIdle() {
	l.naming.Lock()
	defer l.naming.Unlock()
	all := maps.Clone(*l.gateways.Load())
	maps.DeleteFunc(all, func(_ string, g *gateway) bool { return g.configurations == 0 && g.forget() })
	l.gateways.Store(&all)
}
