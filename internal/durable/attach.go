package durable

import (
	"context"
	"slices"
	"strings"
	"sync"

	"go.uber.org/zap"
)

// mount is an instance of a storage.
type mount struct {
	storage Storage
	logger  *zap.Logger
	vault   *vault
	held    int
}

// Attach has the Book use a storage until release is called, and says so to logger when
// the storage fails. It returns once the shelves have learned what the storage has, or
// after five seconds. The newest storage that is attached is used for everything.
func (b *Book) Attach(ctx context.Context, s Storage, logger *zap.Logger) (release func()) {
	m := &mount{storage: s, logger: logger, held: 1}
	m.vault = newVault(b, m)
	b.mu.Lock()
	b.mounts = append(b.mounts, m)
	b.current = m.vault
	b.mu.Unlock()
	for name := range b.shelves {
		keys, _ := s.List(ctx, root+"/"+name, true)
		for _, key := range keys {
			id, is := strings.CutSuffix(key[strings.LastIndexByte(key, '/')+1:], suffix)
			if !is {
				continue
			}
			sealed, err := s.Load(ctx, key)
			if err != nil {
				continue
			}
			if record, err := open(sealed); err == nil && b.learn(ref{name, id}, record) == nil {
				m.vault.note(ref{name, id}, true)
			}
		}
	}
	return sync.OnceFunc(func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.mounts = slices.DeleteFunc(b.mounts, func(other *mount) bool { return other == m })
		b.current = nil
		if n := len(b.mounts); n > 0 {
			b.current = b.mounts[n-1].vault
		}
	})
}
