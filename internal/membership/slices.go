package membership

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/wsgateway/caddy-ws-gateway/fleet"
)

// need is what handshakes want of a cap.
type need struct {
	limit   int // that they came under
	waiting int // how many they are
	spare   int // what would be of use besides

	// Set before done is closed.
	done   chan struct{}
	grants int  // how many of them may try again
	again  bool // the engine has said nothing
}

// MoreSeats asks for more of the cap on connections of the gateway. It reports whether
// it is worth trying again. After the timeout, or when the deadline of ctx has come before an
// answer, the node decides by itself. Nothing comes of it where ctx was canceled.
func (m *Member) MoreSeats(ctx context.Context, gateway string, limit int) bool {
	return m != nil && m.more(ctx, time.Now(), slot{false, gateway}, limit, nil)
}

// MoreConns asks for more of the cap max_conns on one of the addresses after the other,
// until one of them has room. It reports whether it is worth trying again.
func (m *Member) MoreConns(ctx context.Context, addresses []string, limit int) bool {
	if m == nil {
		return false
	}
	begun := time.Now()
	var others []slot
	for _, i := range rand.Perm(len(addresses)) { //nolint:gosec // nobody gains from guessing it
		others = append(others, slot{true, addresses[i]})
	}
	for len(others) > 0 {
		asked := others[0]
		others = others[1:]
		if m.more(ctx, begun, asked, limit, others) {
			return true
		}
		if ctx.Err() != nil || m.out.Load() {
			return false
		}
	}
	return false
}

// more asks for one more of the slot, and for a little of the others, so that a choice
// among them remains.
func (m *Member) more(ctx context.Context, begun time.Time, s slot, limit int, others []slot) bool {
	timer := time.NewTimer(m.config.Settings.Timeout - time.Since(begun))
	defer timer.Stop()
	for {
		n := m.need(s, limit, others)
		if n == nil {
			return m.raiseAlone(s, others)
		}
		select {
		case <-n.done:
			if !n.again {
				return m.grant(n)
			}
		case <-timer.C:
			return m.raiseAlone(s, others)
		case <-ctx.Done():
			return m.silent(ctx, begun) && m.raiseAlone(s, others)
		}
	}
}

// silent reports whether the engine has let a handshake wait in vain. One whose client has
// left says nothing of the engine, and neither does one that had waited before, for other
// answers, so that little time was left.
func (m *Member) silent(ctx context.Context, begun time.Time) bool {
	if errors.Is(ctx.Err(), context.Canceled) {
		return false
	}
	return m.doubts() || time.Since(begun) >= m.config.Settings.Timeout/2
}

// doubts reports whether the engine has failed since it last took the node's share.
func (m *Member) doubts() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.breaker.failures > 0
}

// raiseAlone is raise where the node may decide by itself.
func (m *Member) raiseAlone(s slot, others []slot) bool {
	return !m.config.Settings.Closed && m.raise(append(slices.Clip(others), s)...)
}

// need returns what the next batch asks for, nil where nobody is to be asked.
func (m *Member) need(s slot, limit int, others []slot) *need {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.ended || m.out.Load() {
		return nil
	}
	n := m.needLocked(s, limit)
	n.waiting++
	for _, other := range others {
		m.needLocked(other, limit).spare = 1
	}
	m.rouse()
	return n
}

func (m *Member) needLocked(s slot, limit int) *need {
	n := m.needs[s]
	if n == nil {
		n = &need{done: make(chan struct{})}
		m.needs[s] = n
	}
	n.limit = max(n.limit, limit)
	return n
}

func (m *Member) grant(n *need) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	n.grants--
	return n.grants >= 0
}

// occasion is why the parts are looked at.
type occasion int

const (
	asked     occasion = iota // somebody needs more
	poked                     // a beat between beats: other nodes may have joined, with what they have
	beaten                    // a beat: what is not needed goes back
	recovered                 // an outage is over: nothing is handed out before the engine has said how much
)

// refreshed is about how many parts that did not change are told at a beat, to hear of
// the others'.
const refreshed = 64

// portion returns what to ask of the engine.
func (m *Member) portion(why occasion, needs map[slot]*need) map[slot]fleet.Slice {
	m.parts.mu.Lock()
	defer m.parts.mu.Unlock()
	before := m.shared()
	grown := make(map[slot]int, len(before))
	urgent := make(map[slot]bool)
	for s, now := range before {
		p := m.parts.partLocked(s, now)
		grown[s] = max(0, int(now.opened-p.opened))
		switch {
		case why == recovered:
			m.allow(s, 0)
		case p.raised:
			m.trim(s, 0)
		case why == beaten:
			m.trim(s, grown[s])
		}
		urgent[s] = p.raised || why == recovered
		p.raised = false
		if why >= beaten {
			p.opened = now.opened
		}
	}
	all := make(map[slot]fleet.Slice)
	quiet := 0
	for s, now := range m.shared() { // anew: a connection may have come in before
		asks := slice(s, now, grown[s], needs[s])
		p := m.parts.partLocked(s, now)
		if m.parts.wary {
			restrain(&asks, p.least)
		}
		switch {
		case needs[s] != nil || urgent[s]:
		case why == asked:
			continue
		case asks.Need == 0 && asks.Spare == 0 && asks.Live == p.told:
			if quiet++; quiet > refreshed {
				continue
			}
		}
		all[s] = asks
	}
	if why >= beaten {
		m.returnLocked(all, before)
	}
	return all
}

// slice is what is asked for a slot in which so many connections were opened lately.
func slice(s slot, now shared, grown int, n *need) fleet.Slice {
	free := max(0, now.allowance-now.live)
	asked := fleet.Slice{
		Key: s.key(), Cap: now.limit, Live: now.live + free,
		Need: max(0, now.waiting-free), Spare: max(0, grown-free),
	}
	if n != nil {
		asked.Cap = min(asked.Cap, n.limit)
		asked.Need = max(0, max(n.waiting, now.waiting)-free)
		asked.Spare = max(asked.Spare, grown, n.spare)
	}
	return asked
}

// returnLocked gives back the parts of caps that no configuration has any more, but for the
// connections to upstreams: the cap of a dynamic one comes back as soon as a handshake names
// it again after a reload.
func (m *Member) returnLocked(all map[slot]fleet.Slice, there map[slot]shared) {
	for s, p := range m.parts.slots {
		if _, ok := there[s]; ok {
			continue
		}
		m.allow(s, 0)
		if live := m.strays(s); live != p.told || live == 0 {
			all[s] = fleet.Slice{Key: s.key(), Cap: p.limit, Live: live}
		}
	}
}

// portioned takes the engine's answers about parts of caps.
func (m *Member) portioned(b *batch, answers []fleet.SliceAnswer) {
	m.parts.mu.Lock()
	defer m.parts.mu.Unlock()
	for i, s := range b.slots {
		p := m.parts.slots[s]
		p.told, p.others = answers[i].Held, max(answers[i].Others, p.least)
		if !p.raised {
			// Where the parts exceed the cap, nobody is admitted until they do not.
			m.allow(s, max(0, min(p.told, p.limit-p.others)))
		}
	}
	if len(b.slots) == 0 {
		return
	}
	after := m.shared()
	for i, s := range b.slots {
		now, ok := after[s]
		restrained := m.parts.wary
		if !ok && b.Slices[i].Live == 0 {
			delete(m.parts.slots, s)
		}
		if n := b.needs[s]; n != nil {
			n.grants = n.waiting
			if answers[i].Held < b.Slices[i].Live+b.Slices[i].Need || restrained {
				n.grants = max(0, now.allowance-now.live)
			}
		}
	}
}
