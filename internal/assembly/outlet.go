package assembly

import (
	"sync/atomic"
	"time"

	"github.com/wsgateway/caddy-ws-gateway/internal/relay"
)

// outlet is what leads to the upstream. Frames are written whole, by whoever has the
// baton: the goroutine of the client's messages, or that of the upstream's for answers.
type outlet struct {
	conn    relay.Conn
	timeout time.Duration
	baton   chan struct{}
	gone    chan struct{}
	isGone  atomic.Bool
	hurried atomic.Bool // the write under way is given up
	closed  bool        // a close frame is written; guarded by the baton
}

func newOutlet(conn relay.Conn, timeout time.Duration) *outlet {
	return &outlet{conn: conn, timeout: timeout, baton: make(chan struct{}, 1), gone: make(chan struct{})}
}

// write writes frames, of which the last is a close frame where closes is true. What
// follows a close frame is left out.
func (o *outlet) write(frames []byte, closes bool) error {
	if err := o.take(); err != nil {
		return err
	}
	defer o.giveBack()
	if o.closed {
		return nil
	}
	o.closed = closes
	return o.writeAll(frames)
}

// sayGoodbye writes a close frame, if none was written.
func (o *outlet) sayGoodbye(frame []byte) { _ = o.write(frame, true) }

func (o *outlet) take() error {
	select {
	case o.baton <- struct{}{}:
		return nil
	case <-o.gone:
		return errClosed
	}
}

func (o *outlet) giveBack() { <-o.baton }

// writeAll writes for as long as the upstream takes some.
func (o *outlet) writeAll(p []byte) error {
	for {
		if o.timeout > 0 && !o.hurried.Load() {
			// A conn that cannot do this is closed in the end.
			_ = o.conn.SetWriteDeadline(time.Now().Add(o.timeout))
		}
		n, err := o.conn.Write(p)
		p = p[max(0, min(n, len(p))):]
		switch {
		case err == nil:
			if o.timeout > 0 {
				_ = o.conn.SetWriteDeadline(time.Time{})
			}
			return nil
		case n <= 0 || len(p) == 0 || o.hurried.Load() || !isDeadline(err):
			return err
		}
	}
}

// setDeadline ends a write that is under way if the deadline has passed. Any other is for
// a peer that takes nothing, and that is looked after here.
func (o *outlet) setDeadline(t time.Time) error {
	over := !t.IsZero() && !t.After(time.Now())
	o.hurried.Store(over)
	if !over {
		return nil
	}
	return o.conn.SetWriteDeadline(t)
}

func (o *outlet) close() {
	if !o.isGone.Swap(true) {
		close(o.gone)
	}
}
