package durable

import (
	"context"
	"errors"
	"io/fs"
	"path"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"github.com/wsgateway/caddy-ws-gateway/internal/panics"
)

// maxCalls bounds the calls to an instance that have not returned: it may leave any
// number hanging.
const maxCalls = 64

var (
	errSlow = errors.New("the storage did not answer in time")
	errBusy = errors.New("the storage leaves too many calls without an answer")
)

// call calls a storage. It returns by the timeout also where the storage does not; late,
// if any, is called once the storage has returned after all. left is whether that is to
// come.
func call[T any](ctx context.Context, m *mount, late func(), f func(context.Context, Storage) (T, error)) (value T, left bool, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, errSlow)
	select {
	case m.calls <- struct{}{}:
	case <-ctx.Done():
		defer cancel()
		if err = context.Cause(ctx); errors.Is(err, errSlow) {
			err = errBusy
		}
		return value, false, err
	}
	type outcome struct {
		value T
		err   error
	}
	done := make(chan outcome, 1)
	var over atomic.Bool // set by who comes first: the storage, or the end of the time
	go func() {
		defer panics.Contain()
		defer func() { <-m.calls }()
		defer cancel()
		var o outcome
		o.value, o.err = contained(ctx, m.storage, f)
		if over.CompareAndSwap(false, true) {
			done <- o
		} else if late != nil {
			late()
		}
	}()
	select {
	case o := <-done:
		return o.value, false, o.err
	case <-ctx.Done():
		if !over.CompareAndSwap(false, true) {
			o := <-done
			return o.value, false, o.err
		}
		return value, true, context.Cause(ctx)
	}
}

func contained[T any](ctx context.Context, storage Storage, f func(context.Context, Storage) (T, error)) (value T, err error) {
	defer panics.ContainInto(&err, nil)
	return f(ctx, storage)
}

// reach calls the storage of a vault, and once more where the instance was replaced in
// the meantime: the old one may be closed by then.
func reach[T any](ctx context.Context, v *vault, late func(), f func(context.Context, Storage) (T, error)) (value T, left bool, err error) {
	for {
		m := v.instance()
		value, left, err = call(ctx, m, late, f)
		if err == nil || left || isMissing(err) || ctx.Err() != nil || v.instance() == m {
			return value, left, err
		}
	}
}

// load returns what is stored under a key.
func (v *vault) load(ctx context.Context, key string) ([]byte, error) {
	value, _, err := reach(ctx, v, nil, func(ctx context.Context, s Storage) ([]byte, error) {
		return s.Load(ctx, key)
	})
	return value, err
}

// store writes a key. The turn is the storage's until it has returned.
func (v *vault) store(ctx context.Context, t *turn, key string, value []byte) error {
	_, left, err := reach(ctx, v, t.done, func(ctx context.Context, s Storage) (struct{}, error) {
		return struct{}{}, s.Store(ctx, key, value)
	})
	t.left = left
	return err
}

// remove deletes a key, likewise. A key that is not there is deleted.
func (v *vault) remove(ctx context.Context, t *turn, key string) error {
	_, left, err := reach(ctx, v, t.done, func(ctx context.Context, s Storage) (struct{}, error) {
		return struct{}{}, s.Delete(ctx, key)
	})
	t.left = left
	if isMissing(err) {
		return nil
	}
	return err
}

// list returns the names under a prefix, without their suffix. A storage of files fails
// when a file goes away while it lists: another process replaces one.
func (v *vault) list(ctx context.Context, prefix string) (names []string, err error) {
	var keys []string
	for try := range 5 {
		keys, _, err = reach(ctx, v, nil, func(ctx context.Context, s Storage) ([]string, error) {
			return s.List(ctx, prefix, true)
		})
		if !isMissing(err) || isNotThere(err, prefix) {
			break
		}
		pause(ctx, 10*time.Millisecond<<try)
	}
	if missing := new(fs.PathError); isMissing(err) && (!errors.As(err, &missing) || isNotThere(err, prefix)) {
		return nil, nil
	}
	for _, key := range keys {
		name, is := strings.CutPrefix(filepath.ToSlash(key), prefix+"/")
		if name, ends := strings.CutSuffix(name, suffix); is && ends {
			names = append(names, name)
		}
	}
	return names, err
}

// isNotThere reports whether err says that there is nothing under a prefix, and not that
// a file in there went away.
func isNotThere(err error, prefix string) bool {
	missing := new(fs.PathError)
	return errors.As(err, &missing) && isMissing(err) && filepath.Base(missing.Path) == path.Base(prefix)
}

func isMissing(err error) bool { return errors.Is(err, fs.ErrNotExist) }

// pause waits, but not longer than ctx.
func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
