package assembly

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/wsgateway/caddy-ws-gateway/internal/panics"
	"github.com/wsgateway/caddy-ws-gateway/internal/relay"
	"github.com/wsgateway/caddy-ws-gateway/internal/wsframe"
)

// mostRest is how much of a frame that was cut off is still written, so that a close
// frame can follow.
const mostRest = 4 << 10

// outlet is what leads to the upstream. Frames are written whole, by whoever has the
// baton: the goroutine of the client's messages, that of the upstream's for answers, or
// that of pongs.
type outlet struct {
	conn    relay.Conn
	timeout time.Duration
	baton   chan struct{}
	gone    chan struct{}
	isGone  atomic.Bool
	stuck   atomic.Bool // nothing can be written any more

	// Guarded by the baton.
	closed bool   // a close frame is written
	err    error  // why nothing can be written any more
	rest   []byte // of the frame in which a write was given up

	mu      sync.Mutex // guards the rest
	writing bool
	hurried bool   // the write under way is given up, and so is any other
	pongs   []byte // nil for none
	ponging bool   // a goroutine is there for that
}

func newOutlet(conn relay.Conn, timeout time.Duration) *outlet {
	return &outlet{conn: conn, timeout: timeout, baton: make(chan struct{}, 1), gone: make(chan struct{})}
}

// write writes frames, of which the last is a close frame where closes is true. What
// follows a close frame is left out.
func (o *outlet) write(frames []byte, closes bool) error {
	relay.Charge(cap(frames))
	defer relay.Uncharge(cap(frames))
	if err := o.take(); err != nil {
		return err
	}
	defer o.giveBack()
	if o.closed || o.err != nil {
		return o.err
	}
	o.closed = closes
	return o.writeAll(frames)
}

// sayGoodbye writes a close frame, if none was written.
func (o *outlet) sayGoodbye(c relay.Close) {
	_ = o.write(wsframe.AppendClose(nil, c.Code, c.Reason, true), true)
}

// tell writes a close frame, if none was written, even where a write was given up. That
// may take so long.
func (o *outlet) tell(c relay.Close, within time.Duration) error {
	if err := o.take(); err != nil {
		return err
	}
	defer o.giveBack()
	if o.closed || o.err != nil && o.rest == nil {
		return o.err
	}
	o.closed = true
	_ = o.conn.SetWriteDeadline(time.Now().Add(within)) // without, the conn is closed in the end
	_, err := o.conn.Write(wsframe.AppendClose(o.rest, c.Code, c.Reason, true))
	return err
}

func (o *outlet) take() error {
	select {
	case o.baton <- struct{}{}:
		return nil
	case <-o.gone:
		return errClosed
	}
}

func (o *outlet) giveBack() { <-o.baton }

// writeAll writes for as long as the upstream takes some. What has failed may have ended
// within a frame, and nothing is written after that.
func (o *outlet) writeAll(frames []byte) error {
	for written := 0; ; {
		o.begin()
		n, err := o.conn.Write(frames[written:])
		hurried := o.end()
		written += max(0, min(n, len(frames)-written))
		if err == nil {
			return nil
		}
		if n > 0 && written < len(frames) && !hurried && isDeadline(err) {
			continue
		}
		o.err = err
		o.stuck.Store(isDeadline(err))
		if hurried && isDeadline(err) && relay.GoesOnAfterDeadline(o.conn) {
			o.rest = restOf(frames, written)
		}
		return err
	}
}

// restOf returns what is left of the frame in progress after so much of some frames; nil
// if that is much.
func restOf(frames []byte, written int) []byte {
	rest := relay.RestOfFrame(frames, 0, written)
	if rest < 0 || rest > mostRest {
		return nil
	}
	return append(make([]byte, 0, rest+maxClose), frames[written:written+rest]...)
}

// maxClose is the size of the largest close frame.
const maxClose = 6 + 125

// begin is called before a write, and end after it.
func (o *outlet) begin() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.writing = true
	if o.timeout > 0 && !o.hurried {
		// A conn that cannot do this is closed in the end.
		_ = o.conn.SetWriteDeadline(time.Now().Add(o.timeout))
	}
}

func (o *outlet) end() (hurried bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.writing = false
	if o.timeout > 0 && !o.hurried {
		// What crypto/tls writes of its own accord must not meet this deadline.
		_ = o.conn.SetWriteDeadline(time.Time{})
	}
	return o.hurried
}

// setDeadline moves the deadline of a write that is under way, or ends the write if the
// deadline has passed.
func (o *outlet) setDeadline(t time.Time) (hurried bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.hurried = !t.IsZero() && !t.After(time.Now())
	if o.hurried || o.writing && !t.IsZero() {
		_ = o.conn.SetWriteDeadline(t)
	}
	return o.hurried
}

// answerPing answers a ping, without waiting for the upstream to take that: an upstream
// may take nothing for as long as it sends something.
func (o *outlet) answerPing(payload []byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.pongs = appendPong(o.pongs, payload, true)
	if !o.ponging {
		o.ponging = true
		go o.writePongs()
	}
}

func (o *outlet) writePongs() {
	defer panics.ContainTo(func(p *panics.Panic) {
		panics.Report(p)
		_ = o.conn.Close() // which ends the connection
	})
	for pongs := o.takePongs(); pongs != nil; pongs = o.takePongs() {
		_ = o.write(pongs, false) // the reader sees that it failed
	}
}

func (o *outlet) takePongs() (pongs []byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	pongs, o.pongs = o.pongs, nil
	o.ponging = pongs != nil
	return pongs
}

func (o *outlet) close() {
	if !o.isGone.Swap(true) {
		close(o.gone)
	}
}
