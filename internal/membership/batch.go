package membership

import (
	"errors"
	"time"

	"github.com/wsgateway/caddy-ws-gateway/fleet"
	"github.com/wsgateway/caddy-ws-gateway/internal/admission"
)

// mostClaims is how many claims, and how many knocks, a batch has at most; and mostSets
// is that of sets.
const (
	mostClaims = 500
	mostSets   = 2000
)

// batch is what is said to the engine in one step, and on whose behalf.
type batch struct {
	fleet.Batch
	operation string // for whom measures it
	settling  bool   // the engine may not know of all that the others have

	sets   []*count
	claims []asking
	knocks []*Pending
	needs  map[slot]*need
	slots  []slot
}

// asking is a claim with the keys that the engine is asked for.
type asking struct {
	*Pending
	keys []capped
}

// gather takes what there is to say, or returns nil.
func (c *courier) gather(why occasion) *batch {
	m := c.Member
	b := &batch{needs: c.takeNeeds(why)}
	if b.needs != nil {
		for s, slice := range m.portion(why, b.needs) {
			b.slots, b.Slices = append(b.slots, s), append(b.Slices, slice)
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	b.setLocked(&m.books)
	b.claimLocked(m)
	b.operation = b.describe(why)
	if b.operation == "" {
		b.closeNeedsLocked() // of what no configuration has a cap on any more
		return nil
	}
	return b
}

// takeNeeds returns nil where the parts of caps need not be looked at.
func (c *courier) takeNeeds(why occasion) map[slot]*need {
	m := c.Member
	m.mu.Lock()
	defer m.mu.Unlock()
	if urgent := m.parts.urgent.Swap(false); why == asked && len(m.needs) == 0 && !urgent {
		return nil
	}
	needs := m.needs
	m.needs = make(map[slot]*need)
	return needs
}

func (b *batch) describe(why occasion) string {
	switch {
	case why != asked:
		return "beat"
	case len(b.claims)+len(b.knocks) > 0:
		return "admit"
	case len(b.slots) > 0:
		return "slice"
	case len(b.sets) > 0:
		return "release"
	}
	return ""
}

func (b *batch) setLocked(books *books) {
	n := min(len(books.dirty), mostSets)
	for _, c := range books.dirty[:n] {
		c.dirty = false
		if c.mine != c.told {
			c.said = c.mine
			b.sets = append(b.sets, c)
			b.Sets = append(b.Sets, fleet.Set{Key: c.name, Count: c.mine})
		}
	}
	rest := copy(books.dirty, books.dirty[n:])
	clear(books.dirty[rest:])
	books.dirty = books.dirty[:rest]
}

func (b *batch) claimLocked(m *Member) {
	n := min(len(m.claims), mostClaims)
	for _, p := range m.claims[:n] {
		if p.decided {
			continue
		}
		b.claims = append(b.claims, asking{p, p.keys})
		keys := make([]fleet.Capped, len(p.keys))
		for i, k := range p.keys {
			keys[i] = fleet.Capped{Key: k.count.name, Cap: int(k.most)}
		}
		b.Claims = append(b.Claims, fleet.Claim{Keys: keys})
	}
	m.claims = append([]*Pending(nil), m.claims[n:]...)
	n = min(len(m.knocks), mostClaims)
	for _, p := range m.knocks[:n] {
		if !p.decided {
			b.knocks = append(b.knocks, p)
			b.Knocks = append(b.Knocks, *p.knock)
		}
	}
	m.knocks = append([]*Pending(nil), m.knocks[n:]...)
}

var errMisfit = errors.New("the engine's answer does not fit what it was asked")

func (b *batch) fits(a *fleet.Answer) bool {
	if a == nil || len(a.Slices) != len(b.Slices) || len(a.Claims) != len(b.Claims) || len(a.Knocks) != len(b.Knocks) {
		return false
	}
	for i, claim := range a.Claims {
		keys := len(b.claims[i].keys)
		if claim.Refused < 0 || claim.Refused > keys || len(claim.Others) > keys {
			return false
		}
	}
	return true
}

// settle takes the engine's answer to the batch.
func (m *Member) settle(b *batch, a *fleet.Answer, now time.Time) {
	m.portioned(b, a.Slices)
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, c := range b.sets {
		c.told = c.said
		m.books.touchLocked(c)
	}
	for i, p := range b.claims {
		refused := a.Claims[i].Refused
		m.books.heardLocked(p.keys, a.Claims[i], now, b.settling)
		if b.settling && refused == 0 {
			refused = m.books.exceededLocked(p.keys) + 1
		}
		m.settleClaimLocked(p, refused)
	}
	for i, p := range b.knocks {
		v := Verdict{}
		if wait := a.Knocks[i]; wait > 0 {
			v = Verdict{Limit: admission.HandshakesPerIP, Wait: wait}
		}
		p.giveLocked(v)
	}
	b.closeNeedsLocked()
}

// closeNeedsLocked has who needs more know that there is an answer.
func (b *batch) closeNeedsLocked() {
	for _, n := range b.needs {
		close(n.done)
	}
}

// heardLocked notes what the engine has now of the keys of a claim.
func (b *books) heardLocked(keys []capped, a fleet.ClaimAnswer, now time.Time, settling bool) {
	for i, others := range a.Others {
		if settling {
			others = max(others, keys[i].count.others)
		}
		keys[i].count.others, keys[i].count.heard = others, now
	}
	if a.Refused > 0 {
		return
	}
	for _, k := range keys {
		k.count.told++
	}
}

// settleClaimLocked gives the verdict, unless the node has decided by itself, or the
// client has left. What the engine counts too much then, or where the node refuses what
// the engine grants, is corrected by the next batch.
func (m *Member) settleClaimLocked(p asking, refused int) {
	switch {
	case p.decided:
	case refused > 0:
		p.giveLocked(Verdict{Limit: p.keys[refused-1].limit()})
	default:
		m.books.admitLocked(p.Pending)
		p.giveLocked(Verdict{})
	}
	for _, k := range p.keys {
		m.books.touchLocked(k.count)
	}
}

// putBack has the batch said again, of which nothing was applied for certain. Knocks are
// not: one that may have been counted would be counted twice.
func (m *Member) putBack(b *batch, lost bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	claims := make([]*Pending, 0, len(b.claims)+len(m.claims))
	for _, p := range b.claims {
		if !p.decided {
			claims = append(claims, p.Pending)
		}
	}
	m.claims = append(claims, m.claims...)
	if lost {
		m.knocks = append(b.knocks, m.knocks...)
	} else {
		for _, p := range b.knocks {
			m.decideLocked(p)
		}
	}
	for _, n := range b.needs {
		n.again = true
		close(n.done)
	}
}
