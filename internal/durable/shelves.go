package durable

import (
	"maps"
	"time"

	"github.com/wsgateway/caddy-ws-gateway/internal/panics"
)

// learn has the shelf learn a record.
func (b *Book) learn(r ref, record []byte) (err error) {
	defer panics.ContainInto(&err, nil)
	return b.shelves[r.Shelf].Learn(r.ID, record)
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
