package durable

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"sync"
)

// vault is a storage, whatever the instances by which it is reached.
type vault struct {
	book  *Book
	turns turns

	mu    sync.Mutex
	mount *mount           // the newest instance
	known map[ref]struct{} // what is in the storage, as far as this process has seen
}

func newVault(b *Book, m *mount) *vault {
	return &vault{book: b, turns: turns{keys: map[string]*queue{}}, mount: m, known: map[ref]struct{}{}}
}

func (v *vault) storage() Storage {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.mount.storage
}

// unwritten is a record that is to be written.
type unwritten struct {
	turn   uint64 // the later one is the one that counts
	record []byte
	sealed []byte
}

func isMissing(err error) bool { return errors.Is(err, fs.ErrNotExist) }

// put writes a record, or remembers it as unwritten.
func (v *vault) put(ctx context.Context, r ref, u unwritten) error {
	t, err := v.turns.take(ctx, r.key())
	if err != nil {
		v.book.owe(r, u, err)
		return err
	}
	defer t.end()
	if err := v.book.learn(r, u.record); err != nil && !errors.Is(err, ErrLapsed) {
		return fmt.Errorf("the shelf does not take the record: %w", err)
	}
	if err := v.store(ctx, t, r.key(), u.sealed); err != nil {
		v.book.owe(r, u, err)
		return err
	}
	v.note(r, true)
	v.book.written(r, u.turn)
	return nil
}

// delete deletes a record.
func (v *vault) delete(ctx context.Context, r ref, turn uint64) error {
	t, err := v.turns.take(ctx, r.key())
	if err != nil {
		return err
	}
	defer t.end()
	if err := v.remove(ctx, t, r.key()); err != nil {
		return err
	}
	v.note(r, false)
	v.book.written(r, turn)
	v.book.forget(r)
	return nil
}

// note remembers whether a record is in the storage.
func (v *vault) note(r ref, is bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if is {
		v.known[r] = struct{}{}
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
