package balance

import "slices"

// Place is a place in the line of those who wait for an upstream.
type Place struct {
	balancer *Balancer
	wanted   []string // the addresses that would do
	turn     chan struct{}
}

// Line takes a place at the end of the line, for one of the addresses; it
// returns nil when that is full. Who comes later cannot have what is wanted by
// those who wait, but does not wait for what they have no use for.
func (b *Balancer) Line(wanted []string) *Place {
	b.ledger.mu.Lock()
	defer b.ledger.mu.Unlock()
	if len(b.line) >= b.settings.Queue {
		return nil
	}
	p := &Place{balancer: b, wanted: wanted, turn: make(chan struct{}, 1)}
	if len(b.line) == 0 {
		b.ledger.waiting = append(b.ledger.waiting, b)
	}
	b.line = append(b.line, p)
	p.signal() // there may have come room since it was asked for
	return p
}

// Turn receives when it is worth asking again.
func (p *Place) Turn() <-chan struct{} { return p.turn }

// Leave gives the place up, with what was waited for or without.
func (p *Place) Leave() {
	b := p.balancer
	b.ledger.mu.Lock()
	defer b.ledger.mu.Unlock()
	i := slices.Index(b.line, p)
	if i < 0 {
		return
	}
	b.line = slices.Delete(b.line, i, i+1)
	if len(b.line) == 0 {
		b.ledger.waiting = slices.DeleteFunc(b.ledger.waiting, func(other *Balancer) bool { return other == b })
		return
	}
	for _, address := range p.wanted {
		b.signalFor(address) // there may be more where it came from
	}
}

// Queued returns how many are waiting.
func (b *Balancer) Queued() int {
	b.ledger.mu.Lock()
	defer b.ledger.mu.Unlock()
	return len(b.line)
}

// claimedLocked tells whether someone who waits is to have the next place at the
// address before this ask. Requests do not wait.
func (b *Balancer) claimedLocked(ask Ask, address string) bool {
	if ask.Use != WebSocket {
		return false
	}
	for _, p := range b.line {
		if p == ask.Place {
			return false
		}
		if slices.Contains(p.wanted, address) {
			return true
		}
	}
	return false
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
