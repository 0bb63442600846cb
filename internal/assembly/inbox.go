package assembly

import (
	"io"
	"net"
	"sync"
	"time"

	"github.com/wsgateway/caddy-ws-gateway/internal/panics"
	"github.com/wsgateway/caddy-ws-gateway/internal/relay"
)

// mostAnswers is how many bytes of answers may wait for a client before the next waits.
const mostAnswers = 64 << 10

// inbox is what the upstream sends, and what answers the client in its place: the reader
// of the first is woken for the second.
type inbox struct {
	from io.Reader
	wake func(time.Time) error // by a deadline for reads
	stop func()

	mu      sync.Mutex // guards the rest
	room    *sync.Cond
	answers []byte // frames
	closed  bool
}

func newInbox(upstream relay.Conn) *inbox {
	i := new(inbox)
	i.from, i.wake, i.stop = interruptible(upstream)
	i.room = sync.NewCond(&i.mu)
	return i
}

// answer has frames go to the client. It waits while there are many that the client has
// not taken.
func (i *inbox) answer(frames []byte) {
	i.mu.Lock()
	defer i.mu.Unlock()
	for len(i.answers) > 0 && len(i.answers)+len(frames) > mostAnswers && !i.closed {
		i.room.Wait()
	}
	if i.closed {
		return
	}
	i.answers = append(i.answers, frames...)
	_ = i.wake(time.Unix(1, 0))
}

// take returns the answers that are there.
func (i *inbox) take() (frames []byte) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if len(i.answers) == 0 {
		return nil
	}
	frames, i.answers = i.answers, nil
	_ = i.wake(time.Time{})
	i.room.Broadcast()
	return frames
}

// read reads from the upstream. It returns nothing, and no error, where there are answers.
func (i *inbox) read(p []byte) (int, error) {
	n, err := i.from.Read(p)
	if n == 0 && err != nil && isDeadline(err) {
		return 0, nil
	}
	if isDeadline(err) {
		err = nil
	}
	return n, err
}

func (i *inbox) close() {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.closed = true
	i.room.Broadcast()
	i.stop()
}

// interruptible returns what to read the conn from, how to set deadlines for that, and
// how to end it. Conns of the transports of other modules may have no deadlines.
func interruptible(c relay.Conn) (from io.Reader, wake func(time.Time) error, stop func()) {
	if d, ok := c.(interface{ SetReadDeadline(t time.Time) error }); ok && d.SetReadDeadline(time.Time{}) == nil {
		return c, d.SetReadDeadline, func() {}
	}
	near, far := net.Pipe()
	go func() {
		defer panics.Contain()
		defer func() { _ = far.Close() }()
		_, _ = io.Copy(far, c)
	}()
	return near, near.SetReadDeadline, func() { _ = near.Close() }
}
