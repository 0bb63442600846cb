package durable

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/wsgateway/caddy-ws-gateway/internal/panics"
)

// torn is how long the write of a storage that is not atomic may take.
const torn = 50 * time.Millisecond

// pass makes the shelves say what the storage says.
func (v *vault) pass(ctx context.Context) error {
	if v.lastHeard().IsZero() {
		if err := v.poll(ctx); err != nil && v.lastHeard().IsZero() {
			return err
		}
	}
	wanted, deep := v.wants()
	known := v.allKnown()
	found, err := v.survey(ctx)
	var todo []ref
	for r := range found.records {
		if _, is := known[r]; !is || deep {
			todo = append(todo, r)
		}
	}
	for r := range known {
		if _, is := found.records[r]; !is && !found.failed[shard(r.Shelf, r.ID[:1])] {
			todo = append(todo, r)
		}
	}
	if err := errors.Join(err, v.fetchAll(ctx, todo)); err != nil {
		return err
	}
	v.clear(ctx, found.strange)
	v.passed(wanted)
	return nil
}

// wants returns the number of the last occasion to load everything, and whether it is
// one that no pass has served.
func (v *vault) wants() (uint64, bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.wanted, v.wanted > v.deep
}

// passed notes a pass that has found everything.
func (v *vault) passed(wanted uint64) {
	if v.finishPass(wanted) {
		v.book.carry(func(r ref) bool { return !v.knows(r) })
	}
}

func (v *vault) finishPass(wanted uint64) (first bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.deep = max(v.deep, wanted)
	if !v.loaded {
		v.loaded = true
		close(v.ready)
	}
	first = !v.carried
	v.carried = true
	return first
}

// findings are the keys of a storage.
type findings struct {
	records map[ref]struct{}
	strange []strange       // what no record can be called
	failed  map[string]bool // the prefixes that could not be listed
}

type strange struct{ key, name string }

// survey lists everything.
func (v *vault) survey(ctx context.Context) (findings, error) {
	found := findings{map[ref]struct{}{}, nil, map[string]bool{}}
	shards := make([]ref, 0, len(v.book.shelves)*len(firsts))
	for name := range v.book.shelves {
		for i := range firsts {
			shards = append(shards, ref{name, firsts[i : i+1]})
		}
	}
	var mu sync.Mutex
	var group errs
	each(ctx, shards, func(s ref) {
		prefix := shard(s.Shelf, s.ID)
		names, err := v.list(ctx, prefix)
		group.add(err)
		mu.Lock()
		defer mu.Unlock()
		if err != nil {
			found.failed[prefix] = true
		}
		for _, name := range names {
			if fits(name) && name[:1] == s.ID {
				found.records[ref{s.Shelf, name}] = struct{}{}
			} else {
				found.strange = append(found.strange, strange{prefix + "/" + name + suffix, s.Shelf + "-" + name})
			}
		}
	})
	return found, group.join(ctx)
}

// fetchAll makes the shelves say of records what the storage says, and sets aside what
// is damaged.
func (v *vault) fetchAll(ctx context.Context, refs []ref) error {
	var group errs
	bad := v.fetchSome(ctx, refs, &group)
	if len(bad) == 0 {
		return group.join(ctx)
	}
	pause(ctx, torn)
	if v.isCleaning() {
		v.setAsideAll(ctx, bad)
	} else {
		v.reportAll(v.fetchSome(ctx, bad, &group))
	}
	return group.join(ctx)
}

// fetch makes the shelf say of a record what the storage says.
func (v *vault) fetch(ctx context.Context, r ref) error {
	t, err := v.turns.take(ctx, r.key())
	if err != nil {
		return err
	}
	defer t.end()
	if v.book.owed(r) != 0 {
		return nil // what is to be written is newer
	}
	sealed, err := v.load(ctx, r.key())
	if isMissing(err) {
		if v.knows(r) {
			v.note(r, false)
			v.book.forget(r)
		}
		return nil
	}
	if isUnreadable(err) {
		return fmt.Errorf("%w: %w", errDamaged, err)
	}
	if err != nil {
		return fmt.Errorf("loading %s: %w", r.key(), err)
	}
	return v.take(ctx, t, r, sealed)
}

// take has the shelf learn what was loaded.
func (v *vault) take(ctx context.Context, t *turn, r ref, sealed []byte) error {
	record, err := open(sealed)
	if errors.Is(err, errNewer) {
		v.sawNewer(r.key())
		return nil
	}
	if err != nil {
		return err
	}
	switch u, isMore, err := v.book.learn(r, unwritten{carried, record, sealed}); {
	case err == nil:
		v.note(r, true)
		if isMore {
			v.book.remember(r, u)
		}
		return nil
	case errors.Is(err, ErrLapsed):
		v.book.forget(r)
		v.note(r, false)
		if v.isCleaning() {
			_ = v.remove(ctx, t, r.key()) // the next pass tries again
		}
		return nil
	case errors.Is(err, panics.ErrPanicked):
		return nil // nothing is wrong with the record
	default:
		return fmt.Errorf("%w: %w", errDamaged, err)
	}
}

// lapse has what is over deleted, unless another process has prolonged it.
func (v *vault) lapse(ctx context.Context) {
	for name := range v.book.shelves {
		var refs []ref
		for _, id := range v.book.lapse(name, time.Now()) {
			if r := (ref{name, id}); v.knows(r) {
				refs = append(refs, r)
			}
		}
		if v.fetchAll(ctx, refs) != nil {
			for _, r := range refs {
				v.note(r, false) // for the next pass to load it
			}
		}
	}
}

// sawNewer says once that there is something of a later version.
func (v *vault) sawNewer(key string) {
	v.mu.Lock()
	said := v.newer
	v.newer = true
	v.mu.Unlock()
	if !said {
		v.logger().Warn("the storage has records of a later version of the gateway, which are not in force here", zap.String("key", key))
	}
}
