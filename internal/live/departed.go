package live

import (
	"slices"
	"time"
)

// totals are the counts of a gateway at an upstream so far.
type totals struct{ opened, failed uint64 }

// departed keeps the totals of upstreams that no configuration names and that hold no
// connection, such as dynamic ones, so that the counts go on when an upstream is back.
// The lock of the set guards it.
type departed struct {
	kept   map[pair]*keptTotals
	pruned time.Time
}

type keptTotals struct {
	totals
	seen time.Time // when the upstream was last there
}

const (
	// totalsKept is how long totals are kept of an upstream that is gone.
	totalsKept = 24 * time.Hour

	// totalsMost is how many totals are kept; beyond that, the totals of the
	// upstreams that are gone for longest are dropped.
	totalsMost = 4096

	totalsPruning = time.Minute
)

// takeLocked returns the kept totals, and does not keep them any more.
func (d *departed) takeLocked(key pair) totals {
	k := d.kept[key]
	if k == nil {
		return totals{}
	}
	delete(d.kept, key)
	return k.totals
}

// keepLocked adds to the kept totals. present, which is called now and then, lists the
// upstreams that are still there although no configuration names them.
func (d *departed) keepLocked(key pair, t totals, present func() []pair) {
	if t == (totals{}) {
		return
	}
	now := time.Now()
	k := d.kept[key]
	if k == nil {
		k = new(keptTotals)
		d.kept[key] = k
	}
	k.opened += t.opened
	k.failed += t.failed
	k.seen = now
	if len(d.kept) > totalsMost || now.Sub(d.pruned) >= totalsPruning {
		d.pruneLocked(now, present())
	}
}

func (d *departed) pruneLocked(now time.Time, present []pair) {
	d.pruned = now
	for _, key := range present {
		if k := d.kept[key]; k != nil {
			k.seen = now
		}
	}
	var keys []pair
	for key, k := range d.kept {
		if now.Sub(k.seen) > totalsKept {
			delete(d.kept, key)
			continue
		}
		keys = append(keys, key)
	}
	if len(keys) <= totalsMost {
		return
	}
	slices.SortFunc(keys, func(x, y pair) int { return d.kept[x].seen.Compare(d.kept[y].seen) })
	for _, key := range keys[:len(keys)-totalsMost*7/8] { // some more, so that this is not done each time
		delete(d.kept, key)
	}
}
