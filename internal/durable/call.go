package durable

import (
	"context"
	"errors"
	"sync/atomic"

	"github.com/wsgateway/caddy-ws-gateway/internal/panics"
)

// maxCalls bounds the calls to storages that have not returned, of which a storage may
// leave any number hanging.
const maxCalls = 64

var (
	errSlow = errors.New("the storage did not answer in time")
	errBusy = errors.New("the storage leaves too many calls without an answer")
)

// call calls a storage. It returns by the timeout also where the storage does not; late,
// if any, is called once the storage has returned after all. call reports whether that
// is to come.
func call[T any](ctx context.Context, v *vault, late func(), f func(context.Context, Storage) (T, error)) (value T, left bool, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, errSlow)
	select {
	case v.book.calls <- struct{}{}:
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
	storage := v.storage()
	go func() {
		defer panics.Contain()
		defer func() { <-v.book.calls }()
		defer cancel()
		var o outcome
		o.value, o.err = contained(ctx, storage, f)
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

// load returns what is stored under a key.
func (v *vault) load(ctx context.Context, key string) ([]byte, error) {
	value, _, err := call(ctx, v, nil, func(ctx context.Context, s Storage) ([]byte, error) {
		return s.Load(ctx, key)
	})
	return value, err
}

// store writes a key, which is the turn's to write until the storage has returned.
func (v *vault) store(ctx context.Context, t *turn, key string, value []byte) error {
	_, left, err := call(ctx, v, t.done, func(ctx context.Context, s Storage) (struct{}, error) {
		return struct{}{}, s.Store(ctx, key, value)
	})
	t.left = t.left || left
	return err
}

// remove deletes a key, likewise. A key that is not there is deleted.
func (v *vault) remove(ctx context.Context, t *turn, key string) error {
	_, left, err := call(ctx, v, t.done, func(ctx context.Context, s Storage) (struct{}, error) {
		return struct{}{}, s.Delete(ctx, key)
	})
	t.left = t.left || left
	if isMissing(err) {
		return nil
	}
	return err
}
