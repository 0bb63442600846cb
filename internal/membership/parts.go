package membership

import (
	"sync"
	"sync/atomic"
)

// slot names what is held to a cap as a whole: the connections of a gateway, or those of
// the upstream with an address.
type slot struct {
	upstream bool
	name     string
}

func (s slot) key() string {
	if s.upstream {
		return "m|" + s.name
	}
	return "c|" + s.name
}

// shared is what a ledger says of a slot.
type shared struct {
	limit, live, allowance int
	opened                 uint64
	waiting                int
}

// part is the part of a cap that the node has.
type part struct {
	told   int // that the engine knows of
	others int // that the other nodes have, as last heard
	least  int // that they have in any case while the node settles, or 0

	limit  int
	opened uint64 // connections so far, as of the last beat
	raised bool   // the allowance was raised without the engine
}

// parts are the parts of all caps. Their lock comes before those of the ledgers, and is
// never taken together with that of the member.
type parts struct {
	mu    sync.Mutex
	slots map[slot]*part
	nodes int  // that live, as last heard; at least 1
	wary  bool // the engine may not know yet what others have: the node settles
	ended bool // the allowances are those of another member, or none hold

	urgent atomic.Bool // one was raised
}

func (ps *parts) init() { ps.slots, ps.nodes = make(map[slot]*part), 1 }

func (ps *parts) partLocked(s slot, now shared) *part {
	p := ps.slots[s]
	if p == nil {
		p = &part{opened: now.opened}
		ps.slots[s] = p
	}
	p.limit = now.limit
	return p
}

func (ps *parts) setNodes(n int) {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	ps.nodes = max(n, 1)
}

// shared returns what the ledgers hold to caps as a whole.
func (m *Member) shared() map[slot]shared {
	all := make(map[slot]shared)
	for _, s := range m.config.Seats.Shared() {
		all[slot{false, s.Name}] = shared{s.Cap, s.Live, s.Allowance, s.Opened, 0}
	}
	for _, s := range m.config.Conns.Shared() {
		all[slot{true, s.Name}] = shared{s.Cap, s.Live, s.Allowance, s.Opened, s.Waiting}
	}
	return all
}

// strays is how many connections there are at an upstream, whether it has a cap or not.
func (m *Member) strays(s slot) int {
	if !s.upstream {
		return 0
	}
	return m.config.Conns.Look(s.name).Live
}

// allow is called under the lock of the parts, like trim.
func (m *Member) allow(s slot, n int) {
	switch {
	case m.parts.ended:
	case s.upstream:
		m.config.Conns.Allow(s.name, n)
	default:
		m.config.Seats.Allow(s.name, n)
	}
}

func (m *Member) trim(s slot, spare int) {
	switch {
	case m.parts.ended:
	case s.upstream:
		m.config.Conns.Trim(s.name, spare)
	default:
		m.config.Seats.Trim(s.name, spare)
	}
}

func (m *Member) endParts() {
	m.parts.mu.Lock()
	defer m.parts.mu.Unlock()
	m.parts.ended = true
}

// bind has the ledgers go by allowances, of which there are none to spare.
func (m *Member) bind() {
	m.config.Seats.Bind()
	m.config.Conns.Bind()
	m.parts.mu.Lock()
	defer m.parts.mu.Unlock()
	for s, now := range m.shared() {
		m.parts.partLocked(s, now)
		m.trim(s, 0)
	}
}

func (m *Member) unbind() {
	m.config.Seats.Unbind()
	m.config.Conns.Unbind()
	m.config.Conns.SetElsewhere(nil)
}

// raiseAll gives the node what it may take of each cap without the engine.
func (m *Member) raiseAll() {
	m.parts.mu.Lock()
	defer m.parts.mu.Unlock()
	for s, now := range m.shared() {
		m.raiseLocked(s, now)
	}
}

// lowerAll takes back what raiseAll gave, so that there is nothing of it once handshakes
// are the engine's to decide.
func (m *Member) lowerAll() {
	m.parts.mu.Lock()
	defer m.parts.mu.Unlock()
	for s := range m.shared() {
		m.allow(s, 0)
	}
}

// raise is raiseAll for some slots. It reports whether one of them has room then, or there
// may be somebody else to ask.
func (m *Member) raise(slots ...slot) (room bool) {
	m.parts.mu.Lock()
	defer m.parts.mu.Unlock()
	if m.parts.ended {
		return true
	}
	all := m.shared()
	for _, s := range slots {
		if now, ok := all[s]; ok && m.raiseLocked(s, now) > now.live {
			room = true
		}
	}
	return room
}

func (m *Member) raiseLocked(s slot, now shared) (allowance int) {
	p := m.parts.partLocked(s, now)
	own := alone(now.limit, p.others, m.parts.nodes)
	if own <= now.allowance {
		return now.allowance
	}
	p.raised = true
	m.allow(s, own)
	m.parts.urgent.Store(true)
	m.rouse()
	return own
}

// held returns what the node holds of the caps, and never less than it needs for its
// connections. It is asked for where what the engine knows is in doubt: what the node had
// to spare may be another one's by now, and is given up, unless there is an outage, which
// the node gets through with it.
func (m *Member) held() map[slot]int {
	m.parts.mu.Lock()
	defer m.parts.mu.Unlock()
	if !m.out.Load() {
		for s := range m.shared() {
			m.trim(s, 0)
		}
	}
	held := make(map[slot]int)
	for s, now := range m.shared() {
		if n := max(now.allowance, now.live); n > 0 {
			held[s] = n
		}
	}
	for s := range m.parts.slots {
		if n := m.strays(s); n > held[s] {
			held[s] = n // no configuration has a cap on them now
		}
	}
	return held
}

// asserted notes that the engine knows what was held.
func (m *Member) asserted(held map[slot]int) {
	m.parts.mu.Lock()
	defer m.parts.mu.Unlock()
	for s, p := range m.parts.slots {
		p.told = held[s]
	}
}
