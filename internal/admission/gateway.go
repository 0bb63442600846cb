package admission

import (
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
)

// homes is how many locks the seats of a gateway share.
const homes = 32

// gateway is what there is of a gateway.
type gateway struct {
	connections atomic.Int64                  // changed under the lock of some home
	allowance   int64                         // holds caps as well; changed under the locks of all homes
	paces       atomic.Pointer[[]trackedPace] // changed under the lock of tracking, and never in place
	dimensions  atomic.Pointer[[]Dimension]   // that are counted; likewise

	// Guarded by the lock of tracking.
	configurations int         // that track it
	caps           map[int]int // how many of them have which cap on connections
	adopt          Adopt       // of the last of them; nil where there is none

	homes [homes]home
}

// home guards some of the seats of a gateway. Its lock comes before those of shards.
type home struct {
	gateway *gateway

	mu     sync.Mutex
	gone   bool     // the gateway was forgotten
	opened uint64   // how many seats were taken so far
	tables []*table // that the seats count in, in the order of their dimensions; never changed in place

	// The seats that are not settled. Nobody else knows whose they are.
	unsettled map[*Seat]client
	peak      int // how many there were at most since there were none

	_ [64]byte // the next home is another processor's
}

func newGateway(allowance int64) *gateway {
	g := &gateway{allowance: allowance, caps: make(map[int]int)}
	g.paces.Store(new([]trackedPace))
	g.dimensions.Store(new([]Dimension))
	for i := range g.homes {
		g.homes[i].gateway = g
	}
	return g
}

// admit is false where the gateway was forgotten.
func (g *gateway) admit(into *Seat, caps Caps, c client) (Limit, bool) {
	h := &g.homes[rand.Uint32N(homes)] //nolint:gosec // any home will do
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.gone {
		return "", false
	}
	tallies, limit := h.takeLocked(into.first[:0], h.tables, caps, c, 0)
	if limit == "" {
		into.home, into.taken, into.tallies = h, true, tallies
		h.opened++
		h.rememberLocked(into, c)
	}
	return limit, true
}

// takeLocked counts a connection of the client in all of the tables and in the
// gateway, or nowhere. So many shards are locked by then. The locks of the client's
// shards are held until the last of the caps was found to have room, so that nobody
// sees a count that is taken back.
func (h *home) takeLocked(room []*tally, tables []*table, caps Caps, c client, locked int) ([]*tally, Limit) {
	if len(tables) == 0 {
		limit := h.gateway.take(caps.Connections)
		if limit != "" || locked == 0 {
			return nil, limit
		}
		return slices.Grow(room, locked), ""
	}
	t, rest := tables[0], tables[1:]
	k, ok := t.keyOf(c)
	if !ok {
		return h.takeLocked(room, rest, caps, c, locked)
	}
	s := t.shardOf(k)
	s.mu.Lock()
	defer s.mu.Unlock()
	most, limit := caps.In(t.Dimension)
	if tally := s.tallyLocked(k); most > 0 && tally != nil && tally.connections >= most {
		return nil, limit
	}
	tallies, limit := h.takeLocked(room, rest, caps, c, locked+1)
	if limit != "" {
		return nil, limit
	}
	return append(tallies, s.takeLocked(k)), ""
}

// take counts a connection of the gateway. It is called under the lock of some home.
func (g *gateway) take(most int) Limit {
	for {
		n := g.connections.Load()
		if most > 0 && n >= min(int64(most), g.allowance) {
			return Connections
		}
		if g.connections.CompareAndSwap(n, n+1) {
			return ""
		}
	}
}

func (h *home) rememberLocked(s *Seat, c client) {
	if h.unsettled == nil {
		h.unsettled = make(map[*Seat]client)
	}
	h.unsettled[s] = c
	h.peak = max(h.peak, len(h.unsettled))
}

func (h *home) settleLocked(s *Seat) {
	delete(h.unsettled, s)
	if len(h.unsettled) == 0 && h.peak > 1<<6 {
		h.unsettled, h.peak = nil, 0 // a map keeps the room that it once needed
	}
}

// setTables says what the seats count in from now on. Those that are not settled are
// counted here.
func (g *gateway) setTables(tables []*table) {
	dimensions := make([]Dimension, len(tables))
	for i, t := range tables {
		dimensions[i] = t.Dimension
	}
	g.dimensions.Store(&dimensions)
	for i := range g.homes {
		g.homes[i].setTables(tables)
	}
}

func (h *home) setTables(tables []*table) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.tables = tables
	for s, c := range h.unsettled {
		s.countLocked(c)
	}
}

// count counts a seat that was taken before the present tables were set.
func (g *gateway) count(s *Seat, c client) {
	if s == nil || s.home == nil || s.home.gateway != g {
		return
	}
	s.home.mu.Lock()
	defer s.home.mu.Unlock()
	if s.taken {
		s.countLocked(c)
	}
}

// tables returns what the seats count in.
func (g *gateway) tables() []*table {
	h := &g.homes[0]
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.tables
}

// table returns the table of a dimension, nil if there is none.
func (g *gateway) table(d Dimension) *table {
	tables := g.tables()
	if i := slices.IndexFunc(tables, func(t *table) bool { return t.Dimension == d }); i >= 0 {
		return tables[i]
	}
	return nil
}

// forget is false where the gateway has connections.
func (g *gateway) forget() (forgotten bool) {
	g.alone(func() {
		if g.connections.Load() > 0 {
			return
		}
		for i := range g.homes {
			g.homes[i].gone = true
		}
		forgotten = true
	})
	return forgotten
}

// alone calls f while no seat of the gateway is taken or released.
func (g *gateway) alone(f func()) {
	for i := range g.homes {
		g.homes[i].mu.Lock()
		defer g.homes[i].mu.Unlock() // all are held at once
	}
	f()
}
