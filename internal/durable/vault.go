package durable

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"time"

	"go.uber.org/zap"
)

// vault is a storage, whatever the instances by which it is reached.
type vault struct {
	book                   *Book
	turns                  turns
	ready                  chan struct{} // closed once everything was loaded
	asked                  chan struct{} // has one when a pass is due at once
	reads, polls, journals health

	mu      sync.Mutex
	mount   *mount           // the newest instance
	known   map[ref]struct{} // what is in the storage, as far as this process has seen
	stuck   map[string]bool  // keys that are damaged and could not be set aside
	run     *run             // nil while another vault is current
	loaded  bool             // ready is closed
	carried bool             // memory was written to the storage where it had no such record
	again   bool             // something was left alone since it was too early to clean
	newer   bool             // the log says that there are records of a later version
	wanted  uint64           // counts the occasions to load everything again
	deep    uint64           // the last of these that a pass has done
	wrote   time.Time        // the journal, the last time; zero before the first
	told    time.Time        // when a change was last put into it before the answer
	spoken  uint64           // how many changes the journal knows

	cursors map[string]cursor // how far the journals of the others were read
	polled  time.Time         // when they were read; zero before the first time
}

func newVault(b *Book, m *mount) *vault {
	return &vault{
		book:    b,
		turns:   turns{keys: map[string]*queue{}},
		ready:   make(chan struct{}),
		asked:   make(chan struct{}, 1),
		mount:   m,
		known:   map[ref]struct{}{},
		stuck:   map[string]bool{},
		cursors: map[string]cursor{},
		spoken:  b.changes.Seq,
	}
}

func (v *vault) instance() *mount {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.mount
}

func (v *vault) logger() *zap.Logger { return v.instance().logger }

// put writes a record, or has the book owe it. Where it is a debt already, it is written
// unless it is none any more.
func (v *vault) put(ctx context.Context, r ref, u unwritten, debt bool) error {
	t, err := v.turns.take(ctx, r.key())
	if err != nil {
		v.owe(r, u, err)
		return err
	}
	defer t.end()
	if debt && v.book.owed(r) != u.turn {
		return nil
	}
	u, _, learned := v.book.learn(r, u)
	lapsed := errors.Is(learned, ErrLapsed)
	switch {
	case lapsed && debt:
		v.note(r, false) // for the next pass to find what the storage has
		v.settled(r, u.turn)
		return nil
	case learned != nil && !lapsed:
		v.settled(r, u.turn)
		return fmt.Errorf("the shelf does not take the record: %w", learned)
	}
	v.announce(ctx)
	if err := v.store(ctx, t, r.key(), u.sealed); err != nil {
		v.owe(r, u, err)
		return err
	}
	v.note(r, !lapsed)
	change := v.book.changed(r)
	v.settled(r, u.turn)
	if !debt {
		v.tell(ctx, change)
	}
	return nil
}

// delete deletes a record.
func (v *vault) delete(ctx context.Context, r ref, turn uint64) error {
	t, err := v.turns.take(ctx, r.key())
	if err != nil {
		return err
	}
	defer t.end()
	v.announce(ctx)
	if err := v.remove(ctx, t, r.key()); err != nil {
		return err
	}
	v.note(r, false)
	change := v.book.changed(r)
	v.settled(r, turn)
	v.book.forget(r)
	v.tell(ctx, change)
	return nil
}

// note remembers whether a record is in the storage.
func (v *vault) note(r ref, is bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if is {
		v.known[r] = struct{}{}
		if len(v.stuck) > 0 {
			delete(v.stuck, r.key())
		}
	} else {
		delete(v.known, r)
	}
}

// knows reports whether a record was in the storage when this process last saw it.
func (v *vault) knows(r ref) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	_, is := v.known[r]
	return is
}

func (v *vault) allKnown() map[ref]struct{} {
	v.mu.Lock()
	defer v.mu.Unlock()
	return maps.Clone(v.known)
}

// isCleaning reports whether what is lapsed, damaged or garbage may be deleted. That
// begins some time after the attachment, for a process that only looks at a
// configuration is to write nothing. What was left alone is for the next pass.
func (v *vault) isCleaning() bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.run != nil && time.Since(v.run.began) >= settling {
		return true
	}
	v.again = true
	return false
}

// want asks for a pass that loads everything again, also what is known.
func (v *vault) want() {
	v.mu.Lock()
	v.wanted++
	v.mu.Unlock()
	select {
	case v.asked <- struct{}{}:
	default:
	}
}
