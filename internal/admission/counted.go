package admission

import (
	"maps"
	"net/netip"
	"slices"
)

// Dimensions returns the ways in which the connections of the gateway are counted, for
// all of its loaded configurations together. The slice is not to be changed.
func (l *Local) Dimensions(gateway string) []Dimension {
	g := (*l.gateways.Load())[gateway]
	if g == nil {
		return nil
	}
	return *g.dimensions.Load()
}

// Unsettled calls yield for each seat of the gateway that was taken and neither settled
// nor released since, with what it was admitted with. A seat may be settled or released
// meanwhile. No locks are held over the calls.
func (l *Local) Unsettled(gateway string, yield func(seat *Seat, ip netip.Addr, user string)) {
	g := (*l.gateways.Load())[gateway]
	if g == nil {
		return
	}
	for i := range g.homes {
		for s, c := range g.homes[i].strangers() {
			yield(s, c.ip, c.user)
		}
	}
}

// strangers returns the seats that are not settled.
func (h *home) strangers() map[*Seat]client {
	h.mu.Lock()
	defer h.mu.Unlock()
	return maps.Clone(h.unsettled)
}

// OnTrack has f called whenever the connections of a gateway are counted in a way that
// they were not counted in before, after the ledger has counted those that were there. It
// is called at once for gateways that are counted in some way already. No locks are held
// over the calls, of which several may be made at once; f takes the place of a function
// that was given before, and nil of any. Who is there is said by adopt, which may be nil,
// and by [Local.Unsettled].
func (l *Local) OnTrack(f func(gateway string, adopt Adopt)) {
	for name, adopt := range l.tell(f) {
		f(name, adopt)
	}
}

// tell returns the gateways that are counted already, where f is a function.
func (l *Local) tell(f func(gateway string, adopt Adopt)) map[string]Adopt {
	l.tracking.Lock()
	defer l.tracking.Unlock()
	l.told = f
	counted := make(map[string]Adopt)
	gateways := *l.gateways.Load()
	for _, name := range slices.Sorted(maps.Keys(gateways)) {
		if g := gateways[name]; f != nil && len(*g.dimensions.Load()) > 0 {
			counted[name] = g.adopt
		}
	}
	return counted
}
