package durable

import (
	"context"
	"sync"
	"sync/atomic"

	"go.uber.org/zap"
)

// unwritten is a record that is to be written.
type unwritten struct {
	turn   uint64 // the later one is the one that counts
	record []byte
	sealed []byte
}

// health remembers what the log says, so that it says a change only.
type health struct {
	mu      sync.Mutex
	failing bool
}

// turns reports whether failing is news.
func (h *health) turns(failing bool) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	news := failing != h.failing
	h.failing = failing
	return news
}

// owe has the book write a record as soon as the storage takes it.
func (v *vault) owe(r ref, u unwritten, err error) {
	v.book.remember(r, u)
	if v.book.writes.turns(true) {
		v.logger().Error("a record is in force and could not be written to the storage; trying until it can",
			zap.String("key", r.key()), zap.Error(err))
	}
}

func (b *Book) remember(r ref, u unwritten) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if u.turn >= b.debts[r].turn {
		b.debts[r] = u
	}
}

// settled drops what was to be written of a record up to a turn.
func (v *vault) settled(r ref, turn uint64) {
	if v.book.drop(r, turn) == 0 && v.book.writes.turns(false) {
		v.logger().Info("everything that is in force is written to the storage again")
	}
}

func (b *Book) drop(r ref, turn uint64) (left int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.debts[r].turn <= turn {
		delete(b.debts, r)
	}
	return len(b.debts)
}

// owed returns the turn of what is to be written of a record, and 0 for nothing.
func (b *Book) owed(r ref) uint64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.debts[r].turn
}

// carried is the turn of what was in memory, and is more than what was stored: every Put and every Delete comes after it,
// also one that has not returned yet.
const carried = 1

type debt struct {
	ref
	unwritten
}

func (b *Book) allDebts() []debt {
	b.mu.Lock()
	defer b.mu.Unlock()
	debts := make([]debt, 0, len(b.debts))
	for r, u := range b.debts {
		debts = append(debts, debt{r, u})
	}
	return debts
}

// repay tries to write what is owed. It stops when the storage still fails.
func (v *vault) repay(ctx context.Context) {
	var failed atomic.Int32
	each(ctx, v.book.allDebts(), func(d debt) {
		if failed.Load() < workers && v.put(ctx, d.ref, d.unwritten, true) != nil {
			failed.Add(1)
		}
	})
}

// carry has the book owe what is in memory and meant, unless it is put or deleted
// meanwhile.
func (b *Book) carry(meant func(ref) bool) {
	b.watch(1)
	defer b.watch(-1)
	var debts []debt
	for name := range b.shelves {
		for id, data := range b.all(name) {
			r := ref{name, id}
			if !fits(id) || !meant(r) {
				continue
			}
			if sealed, record, err := seal(data); err == nil {
				debts = append(debts, debt{r, unwritten{carried, record, sealed}})
			}
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, d := range debts {
		_, touched := b.touched[d.ref]
		_, owed := b.debts[d.ref]
		if !touched && !owed {
			b.debts[d.ref] = d.unwritten
		}
	}
}

// watch counts who needs to know what is put and deleted.
func (b *Book) watch(more int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.carrying += more; b.carrying == 0 || b.touched == nil {
		b.touched = map[ref]struct{}{}
	}
}
