package live

import (
	"slices"
	"time"
)

// totals are what a gateway has had to do with an upstream so far.
type totals struct{ opened, failed uint64 }

// departed keeps the totals of upstreams that no configuration names and that hold
// nothing, such as dynamic ones without a connection, so that they go on when the
// upstreams are back. The lock of the set guards it.
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

	// totalsMost is how many are kept; beyond, the ones gone for longest go.
	totalsMost = 4096

	totalsPruning = time.Minute
)

// takeLocked gives up what is kept.
func (d *departed) takeLocked(key pair) totals {
	k := d.kept[key]
	if k == nil {
		return totals{}
	}
	delete(d.kept, key)
	return k.totals
}

// keepLocked adds to what is kept. present lists the upstreams that are
// there all the same; it is asked now and then.
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
	for _, key := range keys[:len(keys)-totalsMost*7/8] { // some more, so that it is not to be done each time
		delete(d.kept, key)
	}
}
