package durable

import (
	"context"
	"errors"
	"io/fs"
	"strconv"
	"sync"
	"syscall"
	"time"

	"go.uber.org/zap"
)

// named is how many keys a line of the log names.
const named = 5

// fetchSome fetches records, and returns those that are damaged.
func (v *vault) fetchSome(ctx context.Context, refs []ref, group *errs) []ref {
	var mu sync.Mutex
	var bad []ref
	each(ctx, refs, func(r ref) {
		err := v.fetch(ctx, r)
		if !errors.Is(err, errDamaged) {
			group.add(err)
			return
		}
		mu.Lock()
		defer mu.Unlock()
		bad = append(bad, r)
	})
	return bad
}

// setAsideAll sets records aside if they still are damaged. Those that are sound in
// memory are written again.
func (v *vault) setAsideAll(ctx context.Context, bad []ref) {
	var mu sync.Mutex
	var keys []string
	sound := map[ref]bool{}
	each(ctx, bad, func(r ref) {
		moved, news := v.setAside(ctx, r.key(), r.Shelf+"-"+r.ID, func(t *turn, value []byte) bool {
			return !errors.Is(v.take(ctx, t, r, value), errDamaged)
		})
		mu.Lock()
		defer mu.Unlock()
		if news {
			keys = append(keys, r.key())
		}
		if moved && v.knows(r) {
			sound[r] = true
		}
	})
	v.report(keys)
	if len(sound) > 0 {
		v.book.carry(func(r ref) bool { return sound[r] })
	}
}

// reportAll says what is damaged and will be set aside later, when the log will not say so
// again.
func (v *vault) reportAll(bad []ref) {
	var keys []string
	for _, r := range bad {
		if v.sticks(r.key(), true) {
			keys = append(keys, r.key())
		}
	}
	v.report(keys)
}

// clear sets aside what no record can be called.
func (v *vault) clear(ctx context.Context, found []strange) {
	if len(found) == 0 || !v.isCleaning() {
		return
	}
	var mu sync.Mutex
	var keys []string
	each(ctx, found, func(s strange) {
		if _, news := v.setAside(ctx, s.key, s.name, func(*turn, []byte) bool { return false }); news {
			mu.Lock()
			defer mu.Unlock()
			keys = append(keys, s.key)
		}
	})
	v.report(keys)
}

// isUnreadable reports whether err says that what is under a key can never be loaded, so
// that nothing is to wait for it.
func isUnreadable(err error) bool {
	return errors.Is(err, syscall.EISDIR) || errors.Is(err, fs.ErrPermission)
}

// setAside moves what is damaged to where nobody looks for records, unless it is sound by
// now. news is whether the log is to say so: what cannot be moved is there at the next
// pass as well.
func (v *vault) setAside(ctx context.Context, key, name string, isSound func(*turn, []byte) bool) (moved, news bool) {
	t, err := v.turns.take(ctx, key)
	if err != nil {
		return false, false
	}
	defer t.end()
	value, err := v.load(ctx, key)
	if isUnreadable(err) {
		return false, v.sticks(key, true)
	}
	if err != nil {
		return false, false
	}
	if _, err := open(value); errors.Is(err, errNewer) {
		v.sawNewer(key)
		return false, false
	}
	if isSound(t, value) {
		return false, false
	}
	aside := root + "/" + damaged + "/" + name[:min(len(name), maxID)] + "-" + strconv.FormatInt(time.Now().Unix(), 10)
	if err = v.store(ctx, t, aside, value); err == nil {
		err = v.remove(ctx, t, key)
	}
	return err == nil, v.sticks(key, err != nil)
}

// sticks notes whether something damaged is still at its place, and reports whether
// the log does not say so yet.
func (v *vault) sticks(key string, is bool) (news bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	news = !v.stuck[key]
	delete(v.stuck, key)
	if is {
		v.stuck[key] = true
	}
	return news
}

// report says what was damaged.
func (v *vault) report(keys []string) {
	if len(keys) > 0 {
		v.logger().Error("records in the storage are damaged and not in force, unless they were loaded before; they are moved to "+root+"/"+damaged+" where that can be written",
			zap.Int("count", len(keys)), zap.Strings("keys", keys[:min(len(keys), named)]))
	}
}
