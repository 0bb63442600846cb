package balance

// Use is what a slot at an upstream is taken for.
type Use uint8

// The uses of a slot. Those that last are the live connections of an upstream: they are
// held to its cap, wait in line, and are moved. A stream is a request as well, to whoever
// counts these.
const (
	WebSocket Use = iota
	Stream
	Request
)

func (u Use) lasts() bool { return u != Request }

// Lease is a counted slot at an upstream. Its zero value holds none. It must not be
// copied while it holds one.
type Lease struct {
	ledger  *Ledger
	backend *backend
	use     Use
}

// Address returns the upstream's address, or "" if the lease holds no slot.
func (l *Lease) Address() string {
	if l.backend == nil {
		return ""
	}
	return l.backend.address
}

// Release gives the slot back, if the lease holds one.
func (l *Lease) Release() {
	if l == nil || l.ledger == nil {
		return
	}
	l.ledger.mu.Lock()
	defer l.ledger.mu.Unlock()
	be := l.backend
	if be == nil {
		return // it was released before
	}
	l.discountLocked()
	l.ledger.changedLocked(be)
	l.ledger.wakeLocked(be.address)
	l.ledger.forgetLocked(be, l.ledger.now())
}

// discountLocked takes the slot that the lease holds out of the count.
func (l *Lease) discountLocked() {
	be := l.backend
	l.backend = nil
	switch l.use {
	case Stream:
		be.streams--
		fallthrough
	case WebSocket:
		be.live--
	case Request:
		be.requests--
	}
}

// countLocked makes the lease hold a slot at the address.
func (l *Ledger) countLocked(into *Lease, u Use, be *backend) {
	switch u {
	case Stream:
		be.streams++
		fallthrough
	case WebSocket:
		be.live++
		be.opened++
	case Request:
		be.requests++
	}
	into.ledger, into.backend, into.use = l, be, u
	l.changedLocked(be)
}

// Turn makes a lease that holds a slot hold it for the use of the ask, in one step. What
// lasts needs room for it: without any the lease stays as it is, and the refusal is Short
// where only an allowance is missing, which may grow.
func (b *Balancer) Turn(lease *Lease, ask Ask) Refusal {
	l := b.ledger
	l.mu.Lock()
	defer l.mu.Unlock()
	be, now := lease.backend, l.now()
	switch {
	case be == nil:
		return Dead
	case lease.use == ask.Use:
		return None
	case lease.use.lasts() || !ask.Use.lasts():
	case b.growsLocked(ask, be, now):
		return Short
	case b.fullLocked(be.address, be) || b.claimedLocked(ask, be.address, be, now):
		return Full
	}
	lease.discountLocked()
	l.countLocked(lease, ask.Use, be)
	l.wakeLocked(be.address)
	return None
}
