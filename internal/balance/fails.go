package balance

import (
	"slices"
	"time"
)

// Fail remembers a failed handshake with the address.
func (b *Balancer) Fail(address string) {
	now := b.ledger.now()
	b.ledger.mu.Lock()
	defer b.ledger.mu.Unlock()
	be := b.ledger.backendLocked(address, now)
	if b.settings.FailDuration > 0 {
		be.fails = remember(be.fails, now, b.settings.FailDuration)
	}
	judgeAgain(be, now)
}

// EarlyClose remembers, for the time given, a connection that the address ended
// soon after it had accepted it. It is for those who no longer know the balancer
// that chose.
func (l *Ledger) EarlyClose(address string, failDuration time.Duration) {
	if failDuration <= 0 {
		return
	}
	now := l.now()
	l.mu.Lock()
	defer l.mu.Unlock()
	be := l.backendLocked(address, now)
	be.early = remember(be.early, now, failDuration)
	judgeAgain(be, now)
}

// mostFailures is how many failures of an address are remembered: it may be tried
// while it is down, where too few others are up.
const mostFailures = 4096

// remember adds a failure and forgets those that are over.
func remember(failures []time.Time, now time.Time, d time.Duration) []time.Time {
	recent(&failures, now)
	if len(failures) >= mostFailures {
		failures = slices.Delete(failures, 0, 1)
	}
	return append(failures, now.Add(d))
}

// judgeAgain brings the trees up to date with a failure.
func judgeAgain(be *backend, now time.Time) {
	for _, s := range be.slots {
		other := s.balancer
		other.note(be, &other.states[s.index], other.healthy(other.members[s.index], be, now), now)
		other.rekeyLocked(s.index)
	}
}

// Admissible returns the positions of the members that can be had, for a
// selector that is not one of ours; Take counts its choice.
func (b *Balancer) Admissible(ask Ask, members []Member) ([]int, Refusal) {
	b.ledger.mu.Lock()
	defer b.ledger.mu.Unlock()
	refusal := b.collect(ask, members, b.ledger.now())
	if len(b.scratch) == 0 {
		return nil, refusal
	}
	positions := make([]int, len(b.scratch))
	for i, c := range b.scratch {
		positions[i] = c.Index
	}
	return positions, None
}

// InMaintenance returns the positions of the members in maintenance that may be
// had by who is bound to them.
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
		if b.judge(ask, m, be, new(memberState), now) == None {
			positions = append(positions, i)
		}
	}
	return positions
}

// Take counts a place at the member if it still can be had.
func (b *Balancer) Take(into *Lease, ask Ask, m Member) bool {
	now := b.ledger.now()
	b.ledger.mu.Lock()
	defer b.ledger.mu.Unlock()
	be := b.ledger.backendLocked(m.Address, now)
	if b.judge(ask, m, be, new(memberState), now) != None {
		return false
	}
	b.ledger.countLocked(into, ask.Use, be)
	return true
}

// Arrived tells, once, whether an upstream has become available: new, recovered
// or set ready.
func (b *Balancer) Arrived() bool {
	b.ledger.mu.Lock()
	defer b.ledger.mu.Unlock()
	b.sweepLocked(b.ledger.now(), true)
	arrived := b.arrived
	b.arrived = false
	return arrived
}

// Panicked tells whether so few of the members are healthy that health is
// ignored.
func (b *Balancer) Panicked(members []Member) bool {
	b.ledger.mu.Lock()
	defer b.ledger.mu.Unlock()
	return b.tooFewHealthy(members, b.ledger.now())
}

// Down tells which members are taken out by their health, without an operator's
// word.
func (b *Balancer) Down(members []Member) []string {
	now := b.ledger.now()
	b.ledger.mu.Lock()
	defer b.ledger.mu.Unlock()
	var down []string
	for _, m := range members {
		if !b.healthy(m, b.ledger.backends[m.Address], now) {
			down = append(down, m.Address)
		}
	}
	return down
}
