package durable

import (
	"maps"
	"time"

	"github.com/wsgateway/caddy-ws-gateway/internal/panics"
)

// learn has the shelf learn a record, and returns what is to be stored of it.
func (b *Book) learn(r ref, u unwritten) (_ unwritten, isMore bool, err error) {
	defer panics.ContainInto(&err, nil)
	kept, err := b.shelves[r.Shelf].Learn(r.ID, u.record)
	if kept == nil || err != nil {
		return u, false, err
	}
	sealed, record, err := seal(kept)
	return unwritten{u.turn, record, sealed}, true, err
}

// forget has the shelf forget a record.
func (b *Book) forget(r ref) {
	defer panics.Contain()
	b.shelves[r.Shelf].Forget(r.ID)
}

// lapse returns what is over by now, and was in memory.
func (b *Book) lapse(shelf string, now time.Time) []string {
	defer panics.Contain()
	return b.shelves[shelf].Lapse(now)
}

// all returns what is in memory.
func (b *Book) all(shelf string) (all map[string][]byte) {
	all = map[string][]byte{}
	defer panics.Contain()
	maps.Insert(all, b.shelves[shelf].All())
	return all
}
