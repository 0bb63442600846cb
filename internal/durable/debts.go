package durable

import (
	"github.com/wsgateway/caddy-ws-gateway/internal/panics"
)

// owe remembers a record that could not be written.
func (b *Book) owe(r ref, u unwritten, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if u.turn >= b.dirty[r].turn {
		b.dirty[r] = u
	}
}

// written forgets what was to be written of a record before turn, and puts the change
// into the journal.
func (b *Book) written(r ref, turn uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.dirty[r].turn <= turn {
		delete(b.dirty, r)
	}
}

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
