package relay

import "math/bits"

// The measures of a wheel. Its clock ticks every 8.4 ms. A slot of the first level is
// one tick, and a slot of any other level is eight of the level before, so that no slot
// has many of the entries. The levels span 0.5 s, 4.3 s, 34 s, and so on up to 39 hours.
const (
	tickBits    = 23
	levelBits   = 3
	wheelSlots  = 64 // a bit of filled for each
	wheelLevels = 7
)

// What the first nodes of a wheel are. Node 0 is none.
const (
	firstHead  = 1                                  // of the slots' lists
	dueHead    = firstHead + wheelLevels*wheelSlots // of what is due
	firstEntry = dueHead + 1                        // of entry 0
)

// wheel holds entries, each of which waits for a moment or for none. An entry is due
// when its moment has come, and up to a tick later. What an entry costs does not depend
// on how many others there are: setting and removing touch only the entry and its
// neighbors, and an entry that waits changes levels three times at most.
//
// Each level has a slot for each of the next 64 times of its length, and an entry is in
// the first level that reaches its moment. When the time of a slot comes, its entries
// go down by two levels or more; an entry beyond the last level is in that one's slot of
// some later round, and is looked at in each round.
type wheel struct {
	nodes  []wheelNode         // heads of lists, then entries
	filled [wheelLevels]uint64 // the slots that have entries, a bit for each
	looked int64               // when the wheel was last looked at
	tick   int64               // the last one that began until then
}

// wheelNode is in a circular list, or in none. An entry costs one.
type wheelNode struct {
	tick       uint32 // for which it waits; the lower half of its number
	next, prev int32
}

// maxAhead is for how many ticks an entry waits at most: some hundred days. One that has
// to wait longer is due then.
const maxAhead = 1 << 30

func newWheel(now int64) wheel {
	w := wheel{nodes: make([]wheelNode, firstEntry), looked: now, tick: now >> tickBits}
	for head := int32(firstHead); head < firstEntry; head++ {
		w.nodes[head].next, w.nodes[head].prev = head, head
	}
	return w
}

// set makes an entry wait for at, unless the entry waits for an earlier moment anyway:
// what it really waits for is seen when that moment has come.
func (w *wheel) set(i int32, at int64) {
	i += firstEntry
	if more := int(i) + 1 - len(w.nodes); more > 0 {
		w.nodes = append(w.nodes, make([]wheelNode, more)...)
	}
	tick := w.tickOf(at)
	if w.nodes[i].next != 0 {
		if w.waitsFor(i) <= tick {
			return
		}
		w.unlink(i)
	}
	w.nodes[i].tick = uint32(tick)
	w.place(i)
}

// tickOf returns the tick that a moment is rounded up to, so that nothing is due too
// early; the present one for a moment that has passed.
func (w *wheel) tickOf(at int64) int64 {
	if at <= w.looked {
		return w.tick
	}
	tick := at >> tickBits
	if tick<<tickBits != at {
		tick++
	}
	return min(tick, w.tick+maxAhead)
}

// waitsFor returns the tick for which a node waits.
func (w *wheel) waitsFor(i int32) int64 {
	return w.tick + int64(int32(w.nodes[i].tick-uint32(w.tick)))
}

// remove makes an entry wait for no moment.
func (w *wheel) remove(i int32) {
	i += firstEntry
	if int(i) < len(w.nodes) && w.nodes[i].next != 0 {
		w.unlink(i)
	}
}

// takeExpired takes out an entry that is due, if there is one.
func (w *wheel) takeExpired(now int64) (i int32, ok bool) {
	first := w.nodes[dueHead].next
	if first == dueHead {
		w.advance(now)
		first = w.nodes[dueHead].next
	}
	if first == dueHead {
		return 0, false
	}
	w.unlink(first)
	return first - firstEntry, true
}

// next returns when the wheel has to be looked at again, which is when an entry is due
// or has to change levels. It fails if no entry waits.
func (w *wheel) next() (at int64, ok bool) {
	if w.nodes[dueHead].next != dueHead {
		return w.looked, true
	}
	for level, filled := range w.filled {
		if filled == 0 {
			continue
		}
		shift := level * levelBits
		first := w.tick>>shift + 1
		first += int64(bits.TrailingZeros64(bits.RotateLeft64(filled, -int(first%wheelSlots))))
		if begins := first << (shift + tickBits); !ok || begins < at {
			at, ok = begins, true
		}
	}
	return at, ok
}

// advance makes everything due whose moment has come, and has the entries of the other
// slots whose time has come change levels. Slots without entries cost nothing,
// however many have passed.
func (w *wheel) advance(now int64) {
	w.looked = max(w.looked, now)
	before := w.tick
	w.tick = w.looked >> tickBits
	for level := range w.filled {
		shift := level * levelBits
		first := before>>shift + 1
		count := min(w.tick>>shift+1-first, wheelSlots)
		if count <= 0 {
			return // no slot of a higher level has passed either
		}
		passed := w.filled[level] & bits.RotateLeft64(1<<count-1, int(first%wheelSlots))
		// Whatever of this is not due goes to a lower level, where nothing is left that
		// has passed; or it was beyond the last level, and may go there again.
		w.filled[level] &^= passed
		for ; passed != 0; passed &= passed - 1 {
			w.replace(slotHead(level, int64(bits.TrailingZeros64(passed))))
		}
	}
}

// replace empties the list of a head and places the nodes again.
func (w *wheel) replace(head int32) {
	i := w.nodes[head].next
	w.nodes[head].next, w.nodes[head].prev = head, head
	for i != head {
		next := w.nodes[i].next
		w.place(i)
		i = next
	}
}

// place puts a node that is in no list where its tick belongs.
func (w *wheel) place(i int32) {
	tick := w.waitsFor(i)
	if tick <= w.tick {
		w.link(i, dueHead)
		return
	}
	level, shift := 0, 0
	for level < wheelLevels-1 && tick>>shift-w.tick>>shift > wheelSlots {
		level, shift = level+1, shift+levelBits
	}
	slot := tick >> shift & (wheelSlots - 1)
	w.filled[level] |= 1 << slot
	w.link(i, slotHead(level, slot))
}

func slotHead(level int, slot int64) int32 {
	return int32(firstHead + level*wheelSlots + int(slot))
}

// link puts a node that is in no list at the end of a list.
func (w *wheel) link(i, head int32) {
	last := w.nodes[head].prev
	w.nodes[i].next, w.nodes[i].prev = head, last
	w.nodes[last].next, w.nodes[head].prev = i, i
}

// unlink takes a node out of its list.
func (w *wheel) unlink(i int32) {
	next, prev := w.nodes[i].next, w.nodes[i].prev
	w.nodes[prev].next, w.nodes[next].prev = next, prev
	w.nodes[i].next, w.nodes[i].prev = 0, 0
	if next == prev && next < dueHead { // the head of a slot that is empty now
		slot := next - firstHead
		w.filled[slot/wheelSlots] &^= 1 << (slot % wheelSlots)
	}
}
