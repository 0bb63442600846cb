package memory

import (
	"bytes"
	"context"
)

// listener is a call to Listen.
type listener struct {
	node   string
	more   chan struct{} // has room for one
	ended  chan error    // has room for one
	queued [][]byte      // under the fleet's lock
}

// end lets the call return the error, unless it is about to return another.
func (l *listener) end(err error) {
	select {
	case l.ended <- err:
	default:
	}
}

// Tell implements [fleet.Engine].
func (e *engine) Tell(ctx context.Context, node string, message []byte) error {
	message = bytes.Clone(message)
	return e.do(ctx, func() {
		for l := range e.fleet.listeners {
			if node != "" && node != l.node {
				continue
			}
			l.queued = append(l.queued, bytes.Clone(message))
			select {
			case l.more <- struct{}{}:
			default:
			}
		}
	})
}

// Listen implements [fleet.Engine].
func (e *engine) Listen(ctx context.Context, node string, listening func(), hear func(message []byte)) error {
	f := e.fleet
	l := &listener{node: node, more: make(chan struct{}, 1), ended: make(chan error, 1)}
	err := e.do(ctx, func() {
		if ctx.Err() == nil { // else nobody is there any more
			f.listeners[l] = struct{}{}
		}
	})
	if err != nil {
		return err
	}
	defer func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		delete(f.listeners, l)
	}()
	listening()
	for {
		select {
		case <-l.more:
			for _, message := range f.take(l) {
				hear(message)
			}
		case err := <-l.ended:
			return err
		case <-e.closed:
			return errClosed
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// take returns what l has not heard.
func (f *Fleet) take(l *listener) [][]byte {
	f.mu.Lock()
	defer f.mu.Unlock()
	queued := l.queued
	l.queued = nil
	return queued
}
