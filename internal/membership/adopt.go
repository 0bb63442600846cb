package membership

import (
	"net/netip"

	"github.com/wsgateway/caddy-ws-gateway/internal/admission"
)

// resident is a connection that is there before the member counts it.
type resident struct {
	seat *admission.Seat
	ip   netip.Addr
	user string
}

// track has the connections of a gateway that are there counted by what its
// configurations have caps on now. It is called by the ledger.
func (m *Member) track(gateway string, adopt admission.Adopt) {
	var there []resident
	add := func(seat *admission.Seat, ip netip.Addr, user string) {
		there = append(there, resident{seat, ip, user})
	}
	m.config.Seats.Unsettled(gateway, add) // first: they may be settled meanwhile
	if adopt != nil {
		adopt(add)
	}
	for _, r := range there {
		m.adopt(gateway, r)
	}
	m.Beat()
}

// adopt is called without the locks under which connections are listed.
func (m *Member) adopt(gateway string, r resident) {
	if r.seat == nil {
		return
	}
	var room [4]found
	keys := m.keysOf(room[:0], gateway, admission.Caps{}, r.ip, r.user)
	if len(keys) == 0 {
		return
	}
	m.take(r.seat, keys)
}

// take counts the connection of the seat in the keys that it does not count in yet.
func (m *Member) take(seat *admission.Seat, keys []found) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.ended {
		return
	}
	if p := m.books.seats[seat]; p != nil {
		m.widenLocked(p, keys)
		return
	}
	p := &Pending{member: m, seat: seat, decided: true}
	m.holdLocked(p, keys)
	m.books.addLocked(p, true)
	if !seat.OnRelease(p.released) {
		p.releaseLocked()
	}
}

// widenLocked has a connection count in more keys. One that is being claimed was asked
// for without them, and counts in them once it is admitted.
func (m *Member) widenLocked(p *Pending, keys []found) {
	for _, k := range keys {
		c := m.books.countLocked(k.key)
		if !p.has(c) {
			p.keys = append(p.keys, capped{count: c, byUser: k.byUser})
			m.books.joinLocked(c, p.counted)
		}
	}
}

func (p *Pending) has(c *count) bool {
	for _, k := range p.keys {
		if k.count == c {
			return true
		}
	}
	return false
}
