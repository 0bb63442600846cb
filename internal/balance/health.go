package balance

import "time"

// judge tells whether the member can be had: None if so. It notes whether the
// member is down, and when it comes up again.
func (b *Balancer) judge(ask Ask, m Member, be *backend, state *memberState, now time.Time) Refusal {
	healthy := b.healthy(m, be, now)
	b.note(be, state, healthy, now)
	ready := be == nil || be.state == Ready
	bound := !ready && be.state == Maintenance && ask.Bound && healthy
	switch {
	case !ready && !bound,
		!healthy && !b.panicked,
		ask.Use == Request && m.Source.Full(),
		ask.Skip != nil && ask.Skip(m.Address):
		return Dead
	case ask.Use == WebSocket && b.fullLocked(m.Address, be),
		ready && len(b.ledger.waiting) > 0 && b.claimedLocked(ask, m.Address, be, now):
		return Full
	}
	return None
}

// fullLocked tells whether the address is at its cap.
func (b *Balancer) fullLocked(address string, be *backend) bool {
	limit := b.capLocked(address)
	return limit > 0 && be != nil && be.live >= limit
}

// note records transitions between down and up.
func (b *Balancer) note(be *backend, state *memberState, healthy bool, now time.Time) {
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

// healthy adds what handshakes and connections met to what the source knows.
func (b *Balancer) healthy(m Member, be *backend, now time.Time) bool {
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

// tooFewHealthy tells whether health is to be ignored. Members that an operator
// has taken out do not count.
func (b *Balancer) tooFewHealthy(members []Member, now time.Time) bool {
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
		if b.healthy(m, be, now) {
			healthy++
		}
	}
	return float64(healthy) < b.settings.PanicThreshold*float64(ready)
}
