package membership

import (
	"context"
	"net/netip"
	"slices"
	"time"

	"github.com/wsgateway/caddy-ws-gateway/fleet"
	"github.com/wsgateway/caddy-ws-gateway/internal/admission"
)

// Verdict is what becomes of a handshake. The zero value: it may come in.
type Verdict struct {
	Limit  admission.Limit // that leaves no room, "" for none
	Wait   time.Duration   // how long the client has to wait, under HandshakesPerIP
	Closed bool            // there is an outage, during which no handshake is let in
}

// Pending is a handshake that waits for the fleet's verdict. A nil Pending is one that
// the fleet has nothing to say of.
type Pending struct {
	member *Member
	seat   *admission.Seat // nil for a knock
	begun  time.Time
	done   chan struct{} // closed when it is decided; nil where nobody waits for that

	// Guarded by the lock of the member. The verdict does not change once it is given.
	keys    []capped
	room    [2]capped // for keys
	knock   *fleet.Knock
	verdict Verdict
	decided bool
	counted bool // the counts of the keys have it
	gone    bool // the seat was released
}

// capped is a key that a connection counts in, with the cap that it came under; 0 for
// none.
type capped struct {
	count  *count
	most   int32
	byUser bool
}

func (c capped) limit() admission.Limit {
	if c.byUser {
		return admission.ConnectionsPerUser
	}
	return admission.ConnectionsPerIP
}

// Claim asks for the connection of the seat, which was admitted by the process itself.
// The seat gives it back where it is released. It returns nil where nothing is counted.
func (m *Member) Claim(seat *admission.Seat, gateway string, caps admission.Caps, ip netip.Addr, user string) *Pending {
	if m == nil || seat == nil {
		return nil
	}
	var room [4]found
	keys := m.keysOf(room[:0], gateway, caps, ip, user)
	if len(keys) == 0 {
		return nil
	}
	p := &Pending{member: m, seat: seat, begun: time.Now()}
	asks := slices.ContainsFunc(keys, func(k found) bool { return k.most > 0 })
	if asks {
		p.done = make(chan struct{})
	}
	if !m.claim(p, keys) {
		return nil
	}
	m.rouse()
	if !asks {
		return nil // it counts for other handlers of the gateway
	}
	return p
}

// found is a key of a client, with the cap that holds.
type found struct {
	key    key
	most   int
	byUser bool
}

// keysOf appends what the gateway's clients are counted by, whichever of its handlers
// they come through.
func (m *Member) keysOf(keys []found, gateway string, caps admission.Caps, ip netip.Addr, user string) []found {
	for _, d := range m.config.Seats.Dimensions(gateway) {
		if k, ok := m.keys.of(d, gateway, ip, user); ok {
			most, _ := caps.In(d)
			keys = append(keys, found{k, most, d.ByUser})
		}
	}
	return keys
}

// claim is false where the member has ended. The seat is told under the lock of the
// member, so that whoever counts the seat last is the one that hears of its release: this
// member or the next one.
func (m *Member) claim(p *Pending, keys []found) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.ended {
		return false
	}
	if adopted := m.books.seats[p.seat]; adopted != nil {
		m.books.dropLocked(adopted) // it was among those that were there just now
	}
	m.holdLocked(p, keys)
	m.books.addLocked(p, p.done == nil)
	switch {
	case p.done == nil:
		p.giveLocked(Verdict{})
	case m.out.Load():
		m.decideLocked(p)
	default:
		m.claims = append(m.claims, p)
	}
	if !p.seat.OnRelease(p.released) {
		p.releaseLocked()
	}
	return true
}

func (m *Member) holdLocked(p *Pending, keys []found) {
	if p.keys == nil {
		p.keys = p.room[:0]
	}
	for _, k := range keys {
		p.keys = append(p.keys, capped{m.books.countLocked(k.key), int32(min(k.most, 1<<31-1)), k.byUser})
	}
}

// released is called by the seat.
func (p *Pending) released() {
	p.member.mu.Lock()
	defer p.member.mu.Unlock()
	p.releaseLocked()
}

func (p *Pending) releaseLocked() {
	m := p.member
	if m.ended {
		return
	}
	m.books.dropLocked(p)
	p.giveLocked(Verdict{}) // nobody is there to have it
	if len(m.books.dirty) > 0 {
		m.rouse()
	}
}

// Knock counts a handshake of the address. It returns nil where the caps have no rate.
func (m *Member) Knock(gateway string, caps admission.Caps, ip netip.Addr) *Pending {
	rate := caps.Handshakes
	if m == nil || rate.Count <= 0 || rate.Per <= 0 || !ip.IsValid() {
		return nil
	}
	k := m.keys.rate(gateway, caps, ip)
	every := rate.Per / time.Duration(rate.Count)
	if rate.Per%time.Duration(rate.Count) > 0 {
		every++
	}
	p := &Pending{member: m, begun: time.Now(), done: make(chan struct{})}
	p.knock = &fleet.Knock{Key: string(k[:]), Every: every, Burst: rate.Count}
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case m.ended:
		return nil
	case m.out.Load():
		m.decideLocked(p)
	default:
		m.knocks = append(m.knocks, p)
		m.rouse()
	}
	return p
}

// Wait returns the verdict, no later than the timeout after the handshake was claimed.
func (p *Pending) Wait(ctx context.Context) Verdict {
	if p == nil {
		return Verdict{}
	}
	select {
	case <-p.done:
		return p.verdict
	default:
	}
	timer := time.NewTimer(p.member.config.Settings.Timeout - time.Since(p.begun))
	defer timer.Stop()
	select {
	case <-p.done:
	case <-timer.C:
		p.decide()
	case <-ctx.Done():
		p.decide()
	}
	return p.verdict
}

// decide gives the verdict of the node by itself, unless there is one.
func (p *Pending) decide() {
	p.member.mu.Lock()
	defer p.member.mu.Unlock()
	p.member.decideLocked(p)
}

func (m *Member) decideLocked(p *Pending) {
	switch {
	case p.decided || p.gone:
	case m.ended:
		p.giveLocked(Verdict{})
	case m.config.Settings.Closed:
		p.giveLocked(Verdict{Closed: true})
	case p.knock != nil:
		p.giveLocked(Verdict{}) // the process itself has let it in
	default:
		if full := m.books.roomLocked(p.keys); full >= 0 {
			p.giveLocked(Verdict{Limit: p.keys[full].limit()})
			return
		}
		m.books.admitLocked(p)
		p.giveLocked(Verdict{})
	}
}

// giveLocked gives the verdict, once.
func (p *Pending) giveLocked(v Verdict) {
	if p.decided {
		return
	}
	p.decided, p.verdict = true, v
	if p.done != nil {
		close(p.done)
	}
}
