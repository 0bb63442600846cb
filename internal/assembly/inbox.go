package assembly

import (
	"io"
	"net"
	"sync"
	"time"

	"github.com/wsgateway/caddy-ws-gateway/internal/panics"
	"github.com/wsgateway/caddy-ws-gateway/internal/relay"
	"github.com/wsgateway/caddy-ws-gateway/internal/wsframe"
)

// mostAnswers is how many bytes of answers may wait for a client before the next waits.
const mostAnswers = 64 << 10

// mostPongs is how many bytes of answers to pings may wait for a side. Where there are
// more, only the latest ping is answered (RFC 6455, section 5.5.3).
const mostPongs = 16 << 10

// appendPong appends the answer to a ping to those that wait.
func appendPong(pongs, payload []byte, masked bool) []byte {
	if len(pongs)+len(payload)+6 > mostPongs {
		pongs = pongs[:0]
	}
	return wsframe.AppendFrame(pongs, wsframe.Pong, true, false, payload, masked)
}

// inbox is what the upstream sends, and what answers the client in its place: the reader
// of the first is woken for the second.
type inbox struct {
	from relay.Reader
	wake func(time.Time) error // by a deadline for reads
	stop func()

	mu      sync.Mutex // guards the rest
	room    *sync.Cond
	answers []byte // frames
	pongs   []byte // nil for none
	closed  bool   // nobody takes answers any more
}

func newInbox(upstream relay.Conn) *inbox {
	i := new(inbox)
	var from relay.Conn
	from, i.wake, i.stop = interruptible(upstream)
	i.from = relay.NewReader(from)
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
	relay.Charge(len(frames))
	_ = i.wake(time.Unix(1, 0))
}

// answerPing answers a ping, without waiting for the client to take that.
func (i *inbox) answerPing(payload []byte) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.closed {
		return
	}
	i.pongs = appendPong(i.pongs, payload, false)
	_ = i.wake(time.Unix(1, 0))
}

// take returns the answers that are there.
func (i *inbox) take() (answers, pongs []byte) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if len(i.answers) == 0 && i.pongs == nil {
		return nil, nil
	}
	answers, pongs = i.answers, i.pongs
	i.forget()
	_ = i.wake(time.Time{})
	i.room.Broadcast()
	return answers, pongs
}

func (i *inbox) forget() {
	relay.Uncharge(len(i.answers))
	i.answers, i.pongs = nil, nil
}

// read reads from the upstream. It returns nothing, and no error, where there are answers.
func (i *inbox) read() ([]byte, error) {
	p, err := i.from.Read()
	if isDeadline(err) {
		err = nil
	}
	return p, err
}

// release gives back what read has returned.
func (i *inbox) release() { i.from.Release() }

// close has nobody wait for answers to be taken.
func (i *inbox) close() {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.closed = true
	i.forget()
	i.room.Broadcast()
}

// interruptible returns what to read the conn from, how to set deadlines for that, and
// how to end it. Conns of the transports of other modules may have no deadlines.
func interruptible(c relay.Conn) (from relay.Conn, wake func(time.Time) error, stop func()) {
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
