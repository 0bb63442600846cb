package balance

// Use is what a slot at an upstream is taken for.
type Use uint8

// The uses of a slot.
const (
	WebSocket Use = iota
	Request
)

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
	l.backend = nil
	switch l.use {
	case WebSocket:
		be.live--
	case Request:
		be.requests--
	}
	l.ledger.changedLocked(be)
	l.ledger.wakeLocked(be.address)
	l.ledger.forgetLocked(be, l.ledger.now())
}

// countLocked makes the lease hold a slot at the address.
func (l *Ledger) countLocked(into *Lease, u Use, be *backend) {
	switch u {
	case WebSocket:
		be.live++
		be.opened++
	case Request:
		be.requests++
	}
	into.ledger, into.backend, into.use = l, be, u
	l.changedLocked(be)
}
