package balance

import (
	"slices"
	"time"
)

// Place is a place in the line of those who wait for an upstream.
type Place struct {
	balancer *Balancer
	ticket   uint64   // who has the lower one came first, in whatever line
	wanted   []string // the addresses that would do
	turn     chan struct{}
}

// Line takes a place at the end of the line, for one of the addresses; it
// returns nil when that is full. Who comes later cannot have what is wanted by
// those who wait, but does not wait for what they have no use for. Those who wait
// in the lines of closed balancers of the same name go on waiting, and count.
func (b *Balancer) Line(wanted []string) *Place {
	l := b.ledger
	l.mu.Lock()
	defer l.mu.Unlock()
	waiting := len(b.line)
	for _, other := range l.waiting {
		if other != b && other.closed && other.settings.Name == b.settings.Name {
			waiting += len(other.line)
		}
	}
	if waiting >= b.settings.Queue {
		return nil
	}
	l.tickets++
	p := &Place{balancer: b, ticket: l.tickets, wanted: wanted, turn: make(chan struct{}, 1)}
	if len(b.line) == 0 {
		l.waiting = append(l.waiting, b)
	}
	b.line = append(b.line, p)
	p.signal() // there may have come room since it was asked for
	return p
}

// Turn receives when it is worth asking again.
func (p *Place) Turn() <-chan struct{} { return p.turn }

// Want changes the addresses that would do, for they may come and go while one
// waits.
func (p *Place) Want(addresses []string) {
	p.balancer.ledger.mu.Lock()
	defer p.balancer.ledger.mu.Unlock()
	if !slices.Equal(p.wanted, addresses) {
		p.wanted = addresses
		p.signal()
	}
}

// Leave gives the place up, with what was waited for or without.
func (p *Place) Leave() {
	b := p.balancer
	l := b.ledger
	l.mu.Lock()
	defer l.mu.Unlock()
	i := slices.Index(b.line, p)
	if i < 0 {
		return
	}
	b.line = slices.Delete(b.line, i, i+1)
	if len(b.line) == 0 {
		l.waiting = slices.DeleteFunc(l.waiting, func(other *Balancer) bool { return other == b })
	}
	for _, address := range p.wanted {
		l.wakeLocked(address) // there may be more where it came from
	}
}

// Queued returns how many are waiting.
func (b *Balancer) Queued() int {
	b.ledger.mu.Lock()
	defer b.ledger.mu.Unlock()
	return len(b.line)
}

// Queued returns how many are waiting at balancers of the name, closed ones too.
func (l *Ledger) Queued(name string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := 0
	for _, b := range l.waiting {
		if b.settings.Name == name {
			n += len(b.line)
		}
	}
	return n
}

// claimedLocked tells whether someone who waits is to have the next place at the
// address before this ask. Requests do not wait, and who has no cap need not.
func (b *Balancer) claimedLocked(ask Ask, address string, be *backend, now time.Time) bool {
	if ask.Use != WebSocket || b.settings.MaxConns == 0 {
		return false
	}
	for _, other := range b.ledger.waiting {
		if other.settings.Name == b.settings.Name && other.claims(ask, address) &&
			(other == b || other.couldTakeLocked(address, be, now)) {
			return true
		}
	}
	return false
}

// claims tells whether someone in the balancer's line came before the ask and
// wants the address.
func (b *Balancer) claims(ask Ask, address string) bool {
	for _, p := range b.line {
		if ask.Place != nil && p.ticket >= ask.Place.ticket {
			return false
		}
		if slices.Contains(p.wanted, address) {
			return true
		}
	}
	return false
}

// couldTakeLocked tells whether those who wait here would be given the address,
// as far as this balancer knows: a closed one may know no better than that it is
// down.
func (b *Balancer) couldTakeLocked(address string, be *backend, now time.Time) bool {
	if b.fullLocked(address, be) {
		return false
	}
	if i := slices.IndexFunc(b.members, func(m Member) bool { return m.Address == address }); i >= 0 {
		return b.panicked || b.healthy(b.members[i], be, now)
	}
	state := b.dynamic[address]
	return state == nil || b.panicked || !state.down
}

// capLocked is how many WebSockets the address may hold; 0 for any number. A
// balancer that is closed goes by those of its name that have taken its place.
func (b *Balancer) capLocked(address string) int {
	limit := b.settings.MaxConns
	if !b.closed {
		return limit
	}
	succeeded := false
	for _, other := range b.ledger.open {
		if other.settings.Name != b.settings.Name || !other.has(address) {
			continue
		}
		if its := other.settings.MaxConns; !succeeded || its > 0 && (limit == 0 || its < limit) {
			limit, succeeded = its, true
		}
	}
	return limit
}

func (b *Balancer) has(address string) bool {
	return b.dynamic[address] != nil ||
		slices.ContainsFunc(b.members, func(m Member) bool { return m.Address == address })
}

// wakeLocked lets the first who wants the address ask again, in every line.
func (l *Ledger) wakeLocked(address string) {
	for _, b := range l.waiting {
		b.signalFor(address)
	}
}

func (b *Balancer) signalFor(address string) {
	for _, p := range b.line {
		if slices.Contains(p.wanted, address) {
			p.signal()
			return
		}
	}
}

func (p *Place) signal() {
	select {
	case p.turn <- struct{}{}:
	default:
	}
}
