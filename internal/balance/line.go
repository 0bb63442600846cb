package balance

import (
	"slices"
	"time"
)

// Place is the place in a balancer's line of a handshake that waits for an upstream.
type Place struct {
	balancer  *Balancer
	ticket    uint64   // the lower one came first, in whatever line
	addresses []string // any of which would do
	turn      chan struct{}
}

// Line takes a place at the end of the line, for any of the addresses, or returns
// nil if the line is full. A later handshake cannot have an address for which an
// earlier one waits, but does not wait for any other. The handshakes in the lines of
// closed balancers of the same name go on waiting, and count.
func (b *Balancer) Line(addresses []string) *Place {
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
	p := &Place{balancer: b, ticket: l.tickets, addresses: addresses, turn: make(chan struct{}, 1)}
	if len(b.line) == 0 {
		l.waiting = append(l.waiting, b)
	}
	b.line = append(b.line, p)
	p.signal() // there may be room since the handshake asked
	return p
}

// Turn returns a channel that receives when it is worth asking again.
func (p *Place) Turn() <-chan struct{} { return p.turn }

// SetAddresses changes the addresses that would do, since upstreams may come and go
// while a handshake waits.
func (p *Place) SetAddresses(addresses []string) {
	p.balancer.ledger.mu.Lock()
	defer p.balancer.ledger.mu.Unlock()
	if !slices.Equal(p.addresses, addresses) {
		p.addresses = addresses
		p.signal()
	}
}

// Leave gives the place up, whether its handshake was given an upstream or not.
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
	for _, address := range p.addresses {
		l.wakeLocked(address) // which may have room for more
	}
}

// Queued returns how many handshakes wait in the balancer's line.
func (b *Balancer) Queued() int {
	b.ledger.mu.Lock()
	defer b.ledger.mu.Unlock()
	return len(b.line)
}

// Queued returns how many handshakes wait at the balancers of a name, closed ones
// included.
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

// claimedLocked reports whether a handshake that waits is to have the next slot at
// the address before this ask. Requests do not wait, nor do handshakes where there is
// no cap.
func (b *Balancer) claimedLocked(ask Ask, address string, be *backend, now time.Time) bool {
	if !ask.Use.lasts() || b.settings.MaxConns == 0 {
		return false
	}
	for _, other := range b.ledger.waiting {
		if other.settings.Name == b.settings.Name && other.claimsLocked(ask, address) &&
			(other == b || other.couldTakeLocked(address, be, now)) {
			return true
		}
	}
	return false
}

// claimsLocked reports whether a handshake in the balancer's line came before the ask
// and waits for the address.
func (b *Balancer) claimsLocked(ask Ask, address string) bool {
	for _, p := range b.line {
		if ask.Place != nil && p.ticket >= ask.Place.ticket {
			return false
		}
		if slices.Contains(p.addresses, address) {
			return true
		}
	}
	return false
}

// couldTakeLocked reports whether the handshakes in the balancer's line would be
// given the address, as far as this balancer knows: a closed one may still take an
// address for down that has come up.
func (b *Balancer) couldTakeLocked(address string, be *backend, now time.Time) bool {
	if b.fullLocked(address, be) {
		return false
	}
	if i := slices.IndexFunc(b.members, func(m Member) bool { return m.Address == address }); i >= 0 {
		return b.panicked || b.healthyLocked(b.members[i], be, now)
	}
	state := b.dynamic[address]
	return state == nil || b.panicked || !state.down
}

// wakeLocked lets the first handshake that waits for the address ask again, in every
// line.
func (l *Ledger) wakeLocked(address string) {
	for _, b := range l.waiting {
		b.signalForLocked(address)
	}
}

func (b *Balancer) signalForLocked(address string) {
	for _, p := range b.line {
		if slices.Contains(p.addresses, address) {
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
