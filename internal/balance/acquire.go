package balance

import (
	"time"
)

// Acquire chooses a static member and counts a slot there, in one step. It
// returns the member's index.
func (b *Balancer) Acquire(into *Lease, ask Ask) (int, Refusal) {
	b.ledger.mu.Lock()
	defer b.ledger.mu.Unlock()
	now := b.ledger.now()
	b.ledger.forgetIdleLocked(now)
	switch {
	case b.closed: // the ledger may have forgotten its backends
	case b.useTree:
		return b.acquireFromTreeLocked(into, ask, now)
	case b.useTurns && (b.moved == 0 || !ask.Use.lasts()):
		return b.acquireInTurnLocked(into, ask, now)
	}
	return b.acquireFromLocked(into, ask, b.members, now)
}

// AcquireFrom is Acquire among members that come with the request. It returns the
// chosen member's index in members.
func (b *Balancer) AcquireFrom(into *Lease, ask Ask, members []Member) (int, Refusal) {
	b.ledger.mu.Lock()
	defer b.ledger.mu.Unlock()
	now := b.ledger.now()
	b.ledger.forgetIdleLocked(now)
	return b.acquireFromLocked(into, ask, members, now)
}

// acquireFromLocked looks at every member and lets the policy choose.
func (b *Balancer) acquireFromLocked(into *Lease, ask Ask, members []Member, now time.Time) (int, Refusal) {
	if b.moved > 0 {
		ask.Grows = nil // any will do
	}
	refusal := b.collectLocked(ask, members, now)
	if len(b.scratch) == 0 {
		return 0, refusal
	}
	chosen := b.scratch[b.takePolicyLocked(ask).choose(ask.Key, b.scratch)]
	if chosen.short {
		return chosen.Index, Short
	}
	b.ledger.countLocked(into, ask.Use, b.ledger.backendLocked(chosen.Address, now))
	return chosen.Index, None
}

// acquireInTurnLocked takes the next member that is available, as a round robin
// does where all members have the same weight.
func (b *Balancer) acquireInTurnLocked(into *Lease, ask Ask, now time.Time) (int, Refusal) {
	b.panicked = b.tooFewHealthyLocked(b.members, now)
	refusal := Dead
	i := b.last
	for range b.members {
		if i++; i == len(b.members) {
			i = 0
		}
		if b.members[i].Weight <= 0 {
			continue
		}
		switch b.judgeLocked(ask, b.members[i], b.backends[i], &b.states[i], now) {
		case None:
			b.last = i
			b.ledger.countLocked(into, ask.Use, b.backends[i])
			return i, None
		case Full:
			refusal = Full
		case Dead, Short:
		}
	}
	return 0, refusal
}

// equallyWeighted reports whether all members that may ever be chosen have the same
// weight.
func equallyWeighted(members []Member) bool {
	weight := 0.0
	for _, m := range members {
		if m.Weight > 0 && weight > 0 && m.Weight != weight {
			return false
		}
		weight = max(weight, m.Weight)
	}
	return true
}

// acquireFromTreeLocked takes the least loaded members until one is available.
func (b *Balancer) acquireFromTreeLocked(into *Lease, ask Ask, now time.Time) (int, Refusal) {
	// Whether the threshold is crossed shows only in a look at all members, which is
	// not taken where no threshold is set.
	b.sweepLocked(now, b.settings.PanicThreshold > 0 && b.tooFewHealthyLocked(b.members, now) != b.panicked)
	i, refusal := b.leastAvailableLocked(ask, now)
	if refusal == Dead && !b.swept.Equal(now) {
		b.sweepLocked(now, true) // a member may have recovered since
		i, refusal = b.leastAvailableLocked(ask, now)
	}
	if refusal != None {
		return 0, refusal
	}
	b.ledger.countLocked(into, ask.Use, b.backends[i])
	return i, None
}

// leastAvailableLocked returns the least loaded member that the ask may have. The
// members before it are put aside meanwhile, and put back.
func (b *Balancer) leastAvailableLocked(ask Ask, now time.Time) (int, Refusal) {
	aside := b.aside[:0]
	defer func() {
		for _, i := range aside {
			b.rekeyLocked(i)
		}
		b.aside = aside[:0]
	}()
	refusal := Dead
	for {
		i, ok := b.tree.least()
		if !ok {
			return 0, refusal
		}
		switch b.judgeLocked(ask, b.members[i], b.backends[i], &b.states[i], now) {
		case None:
			return i, None
		case Full:
			refusal = Full
		case Dead, Short:
		}
		aside = append(aside, i)
		b.tree.update(i, never)
	}
}

// collectLocked fills scratch with the members that the ask may have. Its refusal
// says why there is none.
func (b *Balancer) collectLocked(ask Ask, members []Member, now time.Time) Refusal {
	b.scratch = b.scratch[:0]
	refusal := Dead
	b.panicked = b.tooFewHealthyLocked(members, now)
	static := b.isStatic(members)
	for i := range members {
		m := &members[i]
		if m.Weight <= 0 {
			continue
		}
		be, state := b.lookLocked(static, i, m, now)
		judgment := b.judgeLocked(ask, *m, be, state, now)
		short := judgment == Full && b.growsLocked(ask, be, now)
		if judgment == None || short {
			b.scratch = append(b.scratch, Candidate{
				Index: i, Address: m.Address, Load: loadLocked(*m, be), Weight: m.Weight * b.rampLocked(be, state, now), hash: be.hash, short: short,
			})
		}
		if judgment == Full {
			refusal = Full
		}
	}
	return refusal
}

// isStatic reports whether these are the members that the balancer was made with.
func (b *Balancer) isStatic(members []Member) bool {
	return len(b.members) > 0 && len(members) > 0 && &members[0] == &b.members[0]
}

// lookLocked returns what the ledger knows of the i-th member, and what this balancer
// does.
func (b *Balancer) lookLocked(static bool, i int, m *Member, now time.Time) (*backend, *memberState) {
	switch {
	case static && !b.closed:
		return b.backends[i], &b.states[i]
	case static: // the ledger may have forgotten its backends
		return b.ledger.backendLocked(m.Address, now), &b.states[i]
	}
	state := b.dynamic[m.Address]
	if state == nil {
		state = new(memberState)
		b.dynamic[m.Address] = state
		b.arrived = true
	}
	state.seen = now
	if now.Sub(b.pruned) > time.Minute {
		b.pruned = now
		for address, other := range b.dynamic {
			if now.Sub(other.seen) > forgetAfter {
				delete(b.dynamic, address)
			}
		}
	}
	be := b.ledger.backendLocked(m.Address, now)
	be.lastUsed = now
	return be, state
}

// Admissible returns the positions of the members that the ask may have, those whose
// allowances grow among them, for a selector that is not a Policy. Take counts the
// selector's choice.
func (b *Balancer) Admissible(ask Ask, members []Member) ([]int, Refusal) {
	b.ledger.mu.Lock()
	defer b.ledger.mu.Unlock()
	refusal := b.collectLocked(ask, members, b.ledger.now())
	if len(b.scratch) == 0 {
		return nil, refusal
	}
	positions := make([]int, len(b.scratch))
	for i, c := range b.scratch {
		positions[i] = c.Index
	}
	return positions, None
}

// InMaintenance returns the positions of the members in maintenance that an ask may
// have that is bound to them.
func (b *Balancer) InMaintenance(ask Ask, members []Member) []int {
	ask.Bound = true
	now := b.ledger.now()
	b.ledger.mu.Lock()
	defer b.ledger.mu.Unlock()
	var positions []int
	for i, m := range members {
		be := b.ledger.backends[m.Address]
		if be == nil || be.state != Maintenance || m.Weight <= 0 {
			continue
		}
		if b.judgeLocked(ask, m, be, new(memberState), now) == None {
			positions = append(positions, i)
		}
	}
	return positions
}

// Take counts a slot at the member, and reports whether the ask still may have it.
func (b *Balancer) Take(into *Lease, ask Ask, m Member) bool {
	now := b.ledger.now()
	b.ledger.mu.Lock()
	defer b.ledger.mu.Unlock()
	be := b.ledger.backendLocked(m.Address, now)
	if b.judgeLocked(ask, m, be, new(memberState), now) != None {
		return false
	}
	b.ledger.countLocked(into, ask.Use, be)
	return true
}
