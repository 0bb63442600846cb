package balance

import "maps"

// SetElsewhere says how many WebSockets other nodes hold at which addresses, so that
// policies that compare loads compare those of all nodes. An address that becomes known
// later has what was said of it last. Nil is for no other nodes.
func (l *Ledger) SetElsewhere(at map[string]int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.elsewhere = maps.Clone(at)
	l.heard++
	for address, be := range l.backends {
		before := be.elsewhere
		if be.elsewhere = at[address]; be.elsewhere != before {
			l.changedLocked(be)
		}
		if be.elsewhere < before {
			l.wakeLocked(address) // smaller caps than the largest may have room
		}
	}
}
