package balance

import "time"

// judgeLocked returns why the ask may not have the member, or None. It notes
// whether the member is down, and when the member comes up again.
func (b *Balancer) judgeLocked(ask Ask, m Member, be *backend, state *memberState, now time.Time) Refusal {
	healthy := b.healthyLocked(m, be, now)
	b.noteLocked(be, state, healthy, now)
	ready := be == nil || be.state == Ready
	bound := !ready && be.state == Maintenance && ask.Bound && healthy
	switch {
	case !ready && !bound,
		!healthy && !b.panicked,
		ask.Use == Request && m.Source.Full(streamsLocked(be)),
		ask.Skip != nil && ask.Skip(m.Address):
		return Dead
	case ask.Use.lasts() && b.fullLocked(m.Address, be),
		ready && len(b.ledger.waiting) > 0 && b.claimedLocked(ask, m.Address, be, now):
		return Full
	}
	return None
}

// noteLocked records a member's transitions between down and up.
func (b *Balancer) noteLocked(be *backend, state *memberState, healthy bool, now time.Time) {
	switch {
	case !healthy:
		state.down = true
	case state.down:
		state.down = false
		state.since = now
		b.arrived = true
		if be != nil {
			be.since = now
		}
	}
}

// healthyLocked reports whether a member is up, by what its source knows and by
// what handshakes and connections have met there.
func (b *Balancer) healthyLocked(m Member, be *backend, now time.Time) bool {
	if !m.Source.Healthy() {
		return false
	}
	if be == nil {
		return true
	}
	if max := b.settings.MaxFails; max > 0 && len(be.fails) > 0 {
		if n := recent(&be.fails, now); n > 0 && n+m.Source.Fails() >= max {
			return false
		}
	}
	if max := b.settings.EarlyCloses; max > 0 && recent(&be.early, now) >= max {
		return false
	}
	return true
}

// tooFewHealthyLocked reports whether so few members are healthy that health is to be
// ignored. Members that an operator has taken out do not count.
func (b *Balancer) tooFewHealthyLocked(members []Member, now time.Time) bool {
	if b.settings.PanicThreshold <= 0 {
		return false
	}
	ready, healthy := 0, 0
	for _, m := range members {
		be := b.ledger.backends[m.Address]
		if m.Weight <= 0 || be != nil && be.state != Ready {
			continue
		}
		ready++
		if b.healthyLocked(m, be, now) {
			healthy++
		}
	}
	return float64(healthy) < b.settings.PanicThreshold*float64(ready)
}

// Panicked reports whether so few of the members are healthy that health is
// ignored.
func (b *Balancer) Panicked(members []Member) bool {
	b.ledger.mu.Lock()
	defer b.ledger.mu.Unlock()
	return b.tooFewHealthyLocked(members, b.ledger.now())
}

// Down returns the addresses of the members that are taken out by their health, and
// not by an operator.
func (b *Balancer) Down(members []Member) []string {
	now := b.ledger.now()
	b.ledger.mu.Lock()
	defer b.ledger.mu.Unlock()
	var down []string
	for _, m := range members {
		if !b.healthyLocked(m, b.ledger.backends[m.Address], now) {
			down = append(down, m.Address)
		}
	}
	return down
}
