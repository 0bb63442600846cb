package balance

import (
	"maps"
	"math"
	"slices"
	"time"
)

// Shared is a cap on the WebSockets at an address that the balancers of several nodes
// have together, and what this node has of it.
type Shared struct {
	Name      string // the address
	Cap       int    // the largest of an open balancer
	Live      int
	Allowance int    // how many WebSockets there may be from here
	Opened    uint64 // how many were counted so far
	Waiting   int    // handshakes in lines that would take the address
}

// Bind has all caps held by allowances as well, of which there are none until
// [Ledger.Allow] gives them. Leases that are held already stay, and so do the allowances
// of a ledger that is bound already.
func (l *Ledger) Bind() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.bound {
		return
	}
	l.bound = true
	for _, be := range l.backends {
		be.allowance = 0
	}
}

// Unbind forgets all allowances, so that caps hold by themselves.
func (l *Ledger) Unbind() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.bound = false
	for address := range l.backends {
		l.wakeLocked(address)
	}
}

// Shared returns, in their order, the addresses for which an open balancer has a cap:
// its static members, and those that came with requests lately.
func (l *Ledger) Shared() []Shared {
	l.mu.Lock()
	defer l.mu.Unlock()
	caps := make(map[string]int)
	for _, b := range l.open {
		b.addCapsLocked(caps)
	}
	waiting := make(map[string]int)
	for _, b := range l.waiting {
		for _, p := range b.line {
			for _, address := range p.addresses {
				waiting[address]++
			}
		}
	}
	all := make([]Shared, 0, len(caps))
	for _, address := range slices.Sorted(maps.Keys(caps)) {
		s := Shared{Name: address, Cap: caps[address], Waiting: waiting[address]}
		if be := l.backends[address]; be != nil {
			s.Live, s.Opened, s.Allowance = be.live, be.opened, math.MaxInt
			if l.bound {
				s.Allowance = be.allowance
			}
		}
		all = append(all, s)
	}
	return all
}

// addCapsLocked raises the caps to those of the balancer.
func (b *Balancer) addCapsLocked(caps map[string]int) {
	if b.settings.MaxConns <= 0 {
		return
	}
	for _, m := range b.members {
		caps[m.Address] = max(caps[m.Address], b.settings.MaxConns)
	}
	for address := range b.dynamic {
		caps[address] = max(caps[address], b.settings.MaxConns)
	}
}

// Allow sets how many WebSockets there may be at the address from here, as far as its
// caps allow them, and lets a handshake that waits for the address know if they are more
// now. Leases that are above it stay. An address that is not known gets none.
func (l *Ledger) Allow(address string, n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	be := l.backends[address]
	if be == nil || !l.bound {
		return
	}
	grew := n > be.allowance
	be.allowance = n
	if grew {
		l.wakeLocked(address)
	}
}

// Trim lowers the allowance of the address to so many more WebSockets than there are, if
// it is above that, and returns what it is now.
func (l *Ledger) Trim(address string, spare int) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	be := l.backends[address]
	if be == nil || !l.bound {
		return 0
	}
	be.allowance = min(be.allowance, be.live+spare)
	return be.allowance
}

// Short returns the addresses of the members that the ask could have if there were a
// larger allowance. The members are the static ones where there are none given.
func (b *Balancer) Short(ask Ask, members []Member) []string {
	b.ledger.mu.Lock()
	defer b.ledger.mu.Unlock()
	if !b.ledger.bound || !ask.Use.lasts() {
		return nil
	}
	if len(members) == 0 {
		members = b.members
	}
	now := b.ledger.now()
	static := b.isStatic(members)
	var short []string
	for i := range members {
		m := &members[i]
		if m.Weight <= 0 {
			continue
		}
		be, state := b.lookLocked(static, i, m, now)
		if b.judgeLocked(ask, *m, be, state, now) == Full && b.lacksLocked(be) {
			short = append(short, m.Address)
		}
	}
	return short
}

// IsShort reports whether the member lacks nothing but an allowance, which grows.
func (b *Balancer) IsShort(ask Ask, m Member) bool {
	now := b.ledger.now()
	b.ledger.mu.Lock()
	defer b.ledger.mu.Unlock()
	be := b.ledger.backendLocked(m.Address, now)
	return b.judgeLocked(ask, m, be, new(memberState), now) == Full && b.growsLocked(ask, be, now)
}

// growsLocked reports whether the ask could have the address, which is full, if it had the
// larger allowance that it may get, as far as is known of the other nodes.
func (b *Balancer) growsLocked(ask Ask, be *backend, now time.Time) bool {
	return ask.Grows != nil && ask.Use.lasts() && b.ledger.bound && b.lacksLocked(be) &&
		be.live+be.elsewhere < b.capLocked(be.address) &&
		!b.claimedLocked(ask, be.address, be, now) && ask.Grows(be.address)
}
