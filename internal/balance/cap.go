package balance

import (
	"slices"
)

// capLocked returns how many WebSockets the address may hold, or 0 for any number. A
// closed balancer goes by the balancers of its name that have succeeded it.
func (b *Balancer) capLocked(address string) int {
	limit := b.settings.MaxConns
	if !b.closed {
		return limit
	}
	succeeded := false
	for _, other := range b.ledger.open {
		if other.settings.Name != b.settings.Name || !other.hasLocked(address) {
			continue
		}
		if its := other.settings.MaxConns; !succeeded || its > 0 && (limit == 0 || its < limit) {
			limit, succeeded = its, true
		}
	}
	return limit
}

// hasLocked reports whether the address is among the balancer's members.
func (b *Balancer) hasLocked(address string) bool {
	return b.dynamic[address] != nil ||
		slices.ContainsFunc(b.members, func(m Member) bool { return m.Address == address })
}

// fullLocked reports whether the address is at its cap.
func (b *Balancer) fullLocked(address string, be *backend) bool {
	limit := b.capLocked(address)
	switch {
	case limit <= 0 || be == nil:
		return false
	case be.live >= limit:
		return true
	}
	return b.ledger.bound && (be.live >= be.allowance || b.ledger.fullTogetherLocked(limit, be))
}

// fullTogetherLocked reports whether the nodes hold as much as the limit at the address,
// where the limit is not the largest, which allowances are for.
func (l *Ledger) fullTogetherLocked(limit int, be *backend) bool {
	if be.live+be.elsewhere < limit {
		return false
	}
	for _, b := range l.open {
		if b.settings.MaxConns > limit && b.hasLocked(be.address) {
			return true
		}
	}
	return false
}

// lacksLocked reports whether nothing but the allowance keeps a WebSocket from the
// address.
func (b *Balancer) lacksLocked(be *backend) bool {
	limit := b.capLocked(be.address)
	return limit > 0 && be.live < limit && be.live >= be.allowance && !b.ledger.fullTogetherLocked(limit, be)
}
