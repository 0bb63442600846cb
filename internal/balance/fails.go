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
	judgeAgainLocked(be, now)
}

// EarlyClose remembers, for the time given, a connection that the upstream at the
// address ended soon after it had accepted it. The balancer that chose the upstream
// may be closed by then.
func (l *Ledger) EarlyClose(address string, failDuration time.Duration) {
	if failDuration <= 0 {
		return
	}
	now := l.now()
	l.mu.Lock()
	defer l.mu.Unlock()
	be := l.backendLocked(address, now)
	be.early = remember(be.early, now, failDuration)
	judgeAgainLocked(be, now)
}

// mostFailures bounds the failures that are remembered of an address, which may be
// tried while it is down, where too few other addresses are up.
const mostFailures = 4096

// remember adds a failure that counts for d, and forgets the failures that no longer
// count.
func remember(failures []time.Time, now time.Time, d time.Duration) []time.Time {
	recent(&failures, now)
	if len(failures) >= mostFailures {
		failures = slices.Delete(failures, 0, 1)
	}
	return append(failures, now.Add(d))
}

// judgeAgainLocked brings the trees of balancers up to date with a failure.
func judgeAgainLocked(be *backend, now time.Time) {
	for _, s := range be.leaves {
		other := s.balancer
		other.noteLocked(be, &other.states[s.index], other.healthyLocked(other.members[s.index], be, now), now)
		other.rekeyLocked(s.index)
	}
}

// recent drops the times that have come and counts the rest.
func recent(until *[]time.Time, now time.Time) int {
	if len(*until) == 0 {
		return 0
	}
	*until = slices.DeleteFunc(*until, func(t time.Time) bool { return !t.After(now) })
	return len(*until)
}
