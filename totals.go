package wsgateway

import (
	"slices"
	"time"
)

// totals are what a gateway has had to do with an upstream so far.
type totals struct{ opened, failed uint64 }

// absent keeps the totals of upstreams that nobody names and nobody holds, such
// as dynamic ones without a connection, so that they go on when these are back.
type absent struct {
	kept   map[seriesKey]*keptTotals
	pruned time.Time
}

type keptTotals struct {
	totals
	seen time.Time // when it was last there
}

const (
	// totalsKept is how long totals are kept of an upstream that is gone.
	totalsKept = 24 * time.Hour

	// totalsMost is how many are kept; beyond, those that are gone for longest go.
	totalsMost = 4096

	totalsPruning = time.Minute
)

// take gives up what is kept.
func (a *absent) take(key seriesKey) totals {
	k := a.kept[key]
	if k == nil {
		return totals{}
	}
	delete(a.kept, key)
	return k.totals
}

// keep adds to what is kept. present tells which upstreams are there all the same;
// it is asked now and then.
func (a *absent) keep(key seriesKey, t totals, present func() []seriesKey) {
	if t == (totals{}) {
		return
	}
	now := time.Now()
	k := a.kept[key]
	if k == nil {
		k = new(keptTotals)
		a.kept[key] = k
	}
	k.opened += t.opened
	k.failed += t.failed
	k.seen = now
	if len(a.kept) > totalsMost || now.Sub(a.pruned) >= totalsPruning {
		a.prune(now, present())
	}
}

func (a *absent) prune(now time.Time, present []seriesKey) {
	a.pruned = now
	for _, key := range present {
		if k := a.kept[key]; k != nil {
			k.seen = now
		}
	}
	var keys []seriesKey
	for key, k := range a.kept {
		if now.Sub(k.seen) > totalsKept {
			delete(a.kept, key)
			continue
		}
		keys = append(keys, key)
	}
	if len(keys) <= totalsMost {
		return
	}
	slices.SortFunc(keys, func(x, y seriesKey) int { return a.kept[x].seen.Compare(a.kept[y].seen) })
	for _, key := range keys[:len(keys)-totalsMost*7/8] { // some more, so that it is not to be done each time
		delete(a.kept, key)
	}
}

// presentLocked lists the dynamic upstreams of all gateways.
func (g *registry) presentLocked() []seriesKey {
	var keys []seriesKey
	for name, handlers := range g.gateways {
		for _, h := range handlers {
			for _, address := range h.seenDynamic() {
				keys = append(keys, seriesKey{name, address})
			}
		}
	}
	return keys
}
