package membership

import (
	"time"

	"github.com/wsgateway/caddy-ws-gateway/internal/admission"
)

// count is how many connections there are of a key. It is guarded by the lock of books.
type count struct {
	key  key
	name string // the key, for the engine

	mine   int       // connections of the node
	told   int       // of which the engine knows, going by its answers
	others int       // of the other nodes, as last heard
	heard  time.Time // when that was

	seats int  // that count in it, now or once they are admitted
	dirty bool // it is among those to be told
	idle  bool // it is among those that may be forgotten
	said  int  // in the share or batch that is under way
}

// books are what the node knows of counts. They are guarded by the lock of the member.
type books struct {
	seats  map[*admission.Seat]*Pending // of all connections that count
	counts map[key]*count
	dirty  []*count
	idle   []*count
	nodes  int // that live, as last heard; at least 1
}

func (b *books) init() {
	b.seats = make(map[*admission.Seat]*Pending)
	b.counts = make(map[key]*count)
	b.nodes = 1
}

func (b *books) countLocked(k key) *count {
	c := b.counts[k]
	if c == nil {
		c = &count{key: k, name: string(k[:])}
		b.counts[k] = c
	}
	return c
}

// touchLocked puts the count where it belongs after a change.
func (b *books) touchLocked(c *count) {
	if c.mine != c.told && !c.dirty {
		c.dirty = true
		b.dirty = append(b.dirty, c)
	}
	if c.seats == 0 && !c.idle {
		c.idle = true
		b.idle = append(b.idle, c)
	}
}

// addLocked has the seat count in the keys, at once or when it is admitted.
func (b *books) addLocked(p *Pending, counted bool) {
	p.counted = counted
	b.seats[p.seat] = p
	for _, k := range p.keys {
		b.joinLocked(k.count, counted)
	}
}

func (b *books) joinLocked(c *count, counted bool) {
	c.seats++
	if counted {
		c.mine++
	}
	b.touchLocked(c)
}

// admitLocked counts a seat that was added.
func (b *books) admitLocked(p *Pending) {
	p.counted = true
	for _, k := range p.keys {
		k.count.mine++
		b.touchLocked(k.count)
	}
}

// dropLocked has the seat count nowhere any more.
func (b *books) dropLocked(p *Pending) {
	if p.gone {
		return
	}
	p.gone = true
	if b.seats[p.seat] == p {
		delete(b.seats, p.seat)
	}
	for _, k := range p.keys {
		k.count.seats--
		if p.counted {
			k.count.mine--
		}
		b.touchLocked(k.count)
	}
	p.counted = false
}

// roomLocked returns the first of the keys that has no room for another connection, or
// -1, going by what was last heard. No node goes below its even part of a cap.
func (b *books) roomLocked(keys []capped) int {
	for i, k := range keys {
		if k.most > 0 && k.count.mine >= alone(int(k.most), k.count.others, b.nodes) {
			return i
		}
	}
	return -1
}

// exceededLocked returns the first of the keys whose cap another connection would exceed,
// or -1, going by what was last heard.
func (b *books) exceededLocked(keys []capped) int {
	for i, k := range keys {
		if k.most > 0 && k.count.mine+k.count.others >= int(k.most) {
			return i
		}
	}
	return -1
}

// alone returns how much of a cap a node takes that cannot ask.
func alone(most, others, nodes int) int {
	return max(most-others, (most+nodes-1)/nodes)
}

// sweepLocked forgets the counts that nobody needs. What the others have is remembered
// for a while, as an outage may begin.
func (b *books) sweepLocked(now time.Time, after time.Duration) {
	kept := b.idle[:0]
	for _, c := range b.idle {
		switch {
		case c.seats > 0:
			c.idle = false
		case c.told != 0 || c.dirty || c.others > 0 && now.Sub(c.heard) < after:
			kept = append(kept, c)
		default:
			delete(b.counts, c.key)
		}
	}
	clear(b.idle[len(kept):])
	b.idle = kept
}

// shareLocked returns all counts that are not zero, and notes that they are being said.
func (b *books) shareLocked() []*count {
	all := make([]*count, 0, len(b.counts))
	for _, c := range b.counts {
		c.said = c.mine
		if c.said > 0 {
			all = append(all, c)
		}
	}
	return all
}

// assertedLocked notes that the engine has the share that was said.
func (b *books) assertedLocked() {
	for _, c := range b.counts {
		c.told = c.said
		b.touchLocked(c)
	}
}
