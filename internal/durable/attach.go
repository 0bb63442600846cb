package durable

import (
	"context"
	"reflect"
	"slices"
	"sync"

	"go.uber.org/zap"
)

// mount is an instance of a storage.
type mount struct {
	storage Storage
	logger  *zap.Logger
	vault   *vault
	held    int           // by how many attachments
	calls   chan struct{} // one for each call that has not returned
}

func newMount(s Storage, logger *zap.Logger) *mount {
	return &mount{storage: s, logger: logger, held: 1, calls: make(chan struct{}, maxCalls)}
}

// Attach has the Book use a storage until release is called; logger is told when the
// storage fails. The newest storage that is attached is used for everything. One that
// has to be loaded is waited for, but not longer than eight seconds: the rest follows.
// What is in memory and not in the storage is written to it then, so that nothing is
// lost by changing to another one.
func (b *Book) Attach(ctx context.Context, s Storage, logger *zap.Logger) (release func()) {
	m := b.hold(s)
	if m == nil {
		m = b.mount(ctx, s, logger)
	}
	return sync.OnceFunc(func() { b.release(m) })
}

// hold returns the mount of an instance that is attached already, or nil.
func (b *Book) hold(s Storage) *mount {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.holdLocked(s)
}

func (b *Book) holdLocked(s Storage) *mount {
	for _, m := range b.mounts {
		if reflect.TypeOf(s) == reflect.TypeOf(m.storage) && reflect.ValueOf(s).Comparable() && s == m.storage {
			m.held++
			return m
		}
	}
	return nil
}

// mount attaches a new instance.
func (b *Book) mount(ctx context.Context, s Storage, logger *zap.Logger) *mount {
	ctx, cancel := context.WithTimeoutCause(ctx, patience, errSlow)
	defer cancel()
	last := b.lastVault()
	m := newMount(s, logger)
	same := last != nil && last.isBehind(ctx, m)
	m, previous, changed := b.add(m, last, same)
	if changed {
		previous.finish()
		m.vault.wait(ctx)
	}
	return m
}

func (b *Book) lastVault() *vault {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.last
}

// add makes m the newest mount, of the last vault if it is the same. It returns the
// mount, which is another one where somebody else has attached the instance meanwhile,
// and what turnTo returns.
func (b *Book) add(m *mount, last *vault, same bool) (added *mount, previous *run, changed bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if other := b.holdLocked(m.storage); other != nil {
		return other, nil, false
	}
	if same {
		m.vault = last
		last.reachBy(m)
	} else {
		m.vault = newVault(b, m)
	}
	b.mounts = append(b.mounts, m)
	previous, changed = b.turnTo(m.vault)
	return m, previous, changed
}

// release gives up one attachment.
func (b *Book) release(m *mount) {
	previous, isLast := b.remove(m)
	previous.finish()
	if isLast && m.vault.hasJournal() {
		ctx, cancel := context.WithTimeoutCause(context.Background(), parting, errSlow)
		defer cancel()
		_ = m.vault.writeJournal(ctx) // without it, the others load everything again
	}
}

// remove returns the run that is to be finished, if any, and whether the vault of m has
// no other mount.
func (b *Book) remove(m *mount) (previous *run, isLast bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if m.held--; m.held > 0 {
		return nil, false
	}
	b.mounts = slices.DeleteFunc(b.mounts, func(other *mount) bool { return other == m })
	var next *vault
	isLast = true
	for _, left := range b.mounts {
		next = left.vault
		next.reachBy(left) // the newest comes last
		isLast = isLast && next != m.vault
	}
	previous, _ = b.turnTo(next)
	return previous, isLast
}

// turnTo makes a vault the current one, or none. It returns the run of the one that was,
// if it was another, for the caller to finish.
func (b *Book) turnTo(next *vault) (previous *run, changed bool) {
	if b.current == next {
		return nil, false
	}
	if b.current != nil {
		previous = b.current.end()
	}
	b.current = next
	if next != nil {
		b.last = next
		next.start()
	}
	return previous, true
}

func (v *vault) reachBy(m *mount) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.mount = m
}

// isBehind reports whether m is an instance of the same storage: what this process wrote
// into its journal just now is there. A copy of the storage has an earlier journal, and
// so has a storage that was used before. If in doubt it is not the same: loading
// everything again does no harm.
func (v *vault) isBehind(ctx context.Context, m *mount) bool {
	if !v.isOver() && v.writeJournal(ctx) != nil {
		return false
	}
	wrote := v.lastWrote()
	if wrote.IsZero() {
		return false
	}
	key := journalKey(v.book.id)
	sealed, _, err := call(ctx, m, nil, func(ctx context.Context, s Storage) ([]byte, error) {
		return s.Load(ctx, key)
	})
	if err != nil {
		return false
	}
	j, err := openJournal(sealed)
	return err == nil && !j.At.Before(wrote)
}

// wait waits for what the storage has.
func (v *vault) wait(ctx context.Context) {
	select {
	case <-v.ready:
		return
	case <-ctx.Done():
	}
	v.logger().Error("the storage has not been loaded yet, so that revocations may not be in force; going on to load it")
}
