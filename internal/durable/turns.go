package durable

import (
	"context"
	"sync"
)

// turns has those who read or write the same key do it one after the other. A write
// that the storage has not answered keeps its turn after it was given up, so that it
// cannot overwrite what is written later.
type turns struct {
	mu   sync.Mutex
	keys map[string]*queue
}

type queue struct {
	free    chan struct{} // has one while nobody has the turn
	waiting int           // and the one who has it
}

// turn is the right to read and write a key.
type turn struct {
	turns *turns
	key   string
	left  bool // to a call that has not returned, which is to end the turn
}

// take waits for the turn at a key, but not longer than for a call: the one who has it may
// hang.
func (t *turns) take(ctx context.Context, key string) (*turn, error) {
	q := t.queue(key)
	select {
	case <-q.free:
		return &turn{turns: t, key: key}, nil
	default:
	}
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, errSlow)
	defer cancel()
	select {
	case <-q.free:
		return &turn{turns: t, key: key}, nil
	case <-ctx.Done():
		t.leave(key)
		return nil, context.Cause(ctx)
	}
}

func (t *turns) queue(key string) *queue {
	t.mu.Lock()
	defer t.mu.Unlock()
	q := t.keys[key]
	if q == nil {
		q = &queue{free: make(chan struct{}, 1)}
		q.free <- struct{}{}
		t.keys[key] = q
	}
	q.waiting++
	return q
}

func (t *turns) leave(key string) *queue {
	t.mu.Lock()
	defer t.mu.Unlock()
	q := t.keys[key]
	q.waiting--
	if q.waiting == 0 {
		delete(t.keys, key)
	}
	return q
}

// end ends the turn, unless that was left to a call.
func (t *turn) end() {
	if !t.left {
		t.done()
	}
}

func (t *turn) done() { t.turns.leave(t.key).free <- struct{}{} }
