package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// caller is a client's side of a connection under chaos. One goroutine speaks; another
// hears, and never waits for the first.
type caller struct {
	life
	line        line
	own, theirs voice
	began       time.Time

	// The speaker's.
	r        *rand.Rand
	scratch  []byte
	pinged   int
	cut      bool // the client has broken the connection
	stalled  bool // or may have been given up
	closing  bool // a close frame was sent
	closedAt time.Time

	sent    atomic.Int64 // messages
	pausing atomic.Int64 // for how long to hear nothing
	slow    atomic.Bool

	wake chan struct{} // holds something while there may be something new for the speaker
	over chan struct{} // closed when nothing more is heard

	mu    sync.Mutex // guards queue
	queue [][]byte   // control frames to be sent

	heard // the hearer's, until over is closed
}

// heard is what came.
type heard struct {
	h                    hearer
	instance, connection string // of the upstream; as the gateway calls it
	echoed               atomic.Int64
	pushed, ponged       int
	last                 bool // the upstream said that it would say nothing more
	closed               *frame
	err                  error
	ended                time.Time
}

// lead leads a life.
func (c *chaos) lead(ctx context.Context, l life) {
	began := time.Now()
	d, err := c.open(l.Carrier)
	if err != nil {
		c.noteRefused(&l, began, 0, err)
		return
	}
	defer d.close()
	conn, err := d.knock(l.target(), never, nil)
	if err != nil {
		c.noteRefused(&l, began, 0, err)
		return
	}
	defer conn.leave(byReset)
	tooLong := time.AfterFunc(handshakePatience, func() { conn.leave(byReset) })
	status, err := conn.answer(never)
	tooLong.Stop()
	if err != nil || status != http.StatusSwitchingProtocols && status != http.StatusOK {
		c.noteRefused(&l, began, status, err)
		return
	}
	a := &caller{
		life: l, line: conn, own: l.voice(false), theirs: l.voice(true), began: began, r: l.random(1),
		wake: make(chan struct{}, 1), over: make(chan struct{}),
	}
	a.h.br = bufio.NewReader(conn)
	a.converse(ctx)
	c.judge(a)
}

// converse speaks and hears until the connection is over.
func (a *caller) converse(ctx context.Context) {
	patience := 2*clientPatience + 4*time.Duration(a.Messages)*a.Think
	tooLong := time.AfterFunc(patience, func() {
		a.slow.Store(true)
		a.line.leave(byReset)
	})
	defer tooLong.Stop()
	go func() {
		defer close(a.over)
		a.err = a.hearAll()
		a.ended = time.Now()
	}()
	a.speakAll(ctx)
	for { // answers, until nothing more comes
		select {
		case <-a.over:
			return
		case <-a.wake:
			_ = a.flush()
		}
	}
}

// errOver is that of a speaker whose connection has come to its end.
var errOver = errors.New("over")

func (a *caller) speakAll(ctx context.Context) {
	for n := range a.Messages + 1 {
		if n == a.ClientAt && a.Client != none {
			if gone := a.act(); gone {
				return
			}
		}
		if n == a.Messages {
			break
		}
		if a.r.IntN(a.Burst+1) == 0 {
			if a.idle(ctx, time.Duration(a.r.Int64N(int64(2*a.Think)))) != nil {
				return
			}
		}
		if ctx.Err() != nil {
			break
		}
		if a.say(n) != nil {
			return // the hearer says why
		}
	}
	if a.Client != chases && a.awaitEchoes() != nil {
		return
	}
	a.close(1000, fmt.Sprintf("sent %d", a.sent.Load()))
}

// say sends a message. Now and then a ping comes before one of its frames.
func (a *caller) say(n int) error {
	op, payload := a.own.message(n, a.scratch[:0])
	a.scratch = payload
	a.sent.Add(1)
	for _, f := range split(a.r, op, payload, true) {
		if err := a.flush(); err != nil {
			return err
		}
		if a.r.IntN(100) < a.Pings {
			ping := frame{opPing, a.pingPayload(a.pinged)}
			a.pinged++
			if _, err := a.line.Write(ping.bytes(a.r.Uint32() | 1)); err != nil {
				return err
			}
		}
		if _, err := a.line.Write(f); err != nil {
			return err
		}
	}
	return nil
}

// flush sends what the hearer has to say.
func (a *caller) flush() error {
	a.mu.Lock()
	queue := a.queue
	a.queue = nil
	a.mu.Unlock()
	for _, f := range queue {
		if a.closing || a.cut {
			return errOver
		}
		if f[0]&0xf == opClose {
			a.closing = true
		}
		if _, err := a.line.Write(f); err != nil {
			return err
		}
	}
	if a.closing {
		return errOver
	}
	return nil
}

// answer has the speaker send a control frame.
func (a *caller) answer(f frame) {
	a.mu.Lock()
	a.queue = append(a.queue, f.bytes(1))
	a.mu.Unlock()
	a.stir()
}

func (a *caller) stir() {
	select {
	case a.wake <- struct{}{}:
	default:
	}
}

// idle waits, and answers meanwhile.
func (a *caller) idle(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
			return nil
		case <-ctx.Done():
			return nil
		case <-a.over:
			return errOver
		case <-a.wake:
			if err := a.flush(); err != nil {
				return err
			}
		}
	}
}

func (a *caller) awaitEchoes() error {
	for a.echoed.Load() < a.sent.Load() {
		select {
		case <-a.over:
			return errOver
		case <-a.wake:
			if err := a.flush(); err != nil {
				return err
			}
		}
	}
	return nil
}

func (a *caller) close(code uint16, reason string) {
	if a.flush() != nil {
		return
	}
	a.closedAt = time.Now()
	a.closing = true
	_, _ = a.line.Write(closing(code, reason).bytes(a.r.Uint32() | 1))
}

// act commits the client's fault, and reports whether that ends what it says.
func (a *caller) act() (gone bool) {
	if a.Client == pauses || a.Client == stalls {
		a.stalled = a.Client == stalls
		a.pausing.Store(int64(a.Client.pausing(a.r)))
	}
	if a.Client.harmless() || a.Client == stalls {
		return false
	}
	a.cut = true
	switch a.Client {
	default: // has no moment of its own
	case resets:
		a.line.leave(byReset)
	case hangsUp:
		a.line.leave(byEnd)
	case halves:
		a.line.leave(byHalf)
	case truncates:
		_, _ = a.line.Write(stump(a.r, a.r.Uint32()|1))
		a.line.leave(byHalf)
	case garbles:
		_, _ = a.line.Write(garbage(a.r))
		go func() { // some garbage looks like the beginning of something long
			select {
			case <-a.over:
			case <-time.After(time.Second):
				a.line.leave(byHalf)
			}
		}()
	}
	return true
}

// hearAll hears until the end of the stream.
func (a *caller) hearAll() error {
	for {
		if d := a.pausing.Swap(0); d > 0 {
			time.Sleep(time.Duration(d))
		}
		f, err := a.h.hear()
		if err != nil {
			return err
		}
		if a.closed != nil {
			return fmt.Errorf("%w: behind the close frame: opcode %d, %.60q", errForeign, f.op, f.payload)
		}
		if f.op == opClose {
			a.closed = &f
			a.answer(closing(f.code(), ""))
			continue
		}
		if err := a.take(f); err != nil {
			return err
		}
	}
}

// take compares what has come with what had to come.
func (a *caller) take(f frame) error {
	switch {
	case f.op == opPing:
		a.answer(frame{opPong, f.payload})
		return nil
	case f.op == opPong:
		if err := differs(f, opPong, a.pingPayload(a.ponged)); err != nil {
			return err
		}
		a.ponged++
		return nil
	case a.instance == "":
		var id string
		if _, err := fmt.Sscanf(string(f.payload), "hello %s %s %s", &id, &a.instance, &a.connection); err != nil || id != a.ID {
			return fmt.Errorf("%w: greeted with %.100q", errForeign, f.payload)
		}
		return nil
	case bytes.HasPrefix(f.payload, []byte("last ")):
		a.last = true
		return a.checkCounts("last %d %d", string(f.payload))
	case bytes.HasPrefix(f.payload, []byte("p ")):
		op, want := a.theirs.message(a.pushed, nil)
		a.pushed++
		return differs(f, op, want)
	}
	n := int(a.echoed.Load())
	if n >= int(a.sent.Load()) {
		return fmt.Errorf("%w: echo %d of a message that was not sent: opcode %d, %.60q", errForeign, n, f.op, f.payload)
	}
	op, want := a.own.message(n, nil)
	if err := differs(f, op, want); err != nil {
		return err
	}
	a.echoed.Add(1)
	a.stir()
	return nil
}

// checkCounts compares how much came with how much was sent, as the upstream says.
func (a *caller) checkCounts(format, said string) error {
	var echoed, pushed int
	if _, err := fmt.Sscanf(said, format, &echoed, &pushed); err != nil {
		return fmt.Errorf("%w: %.100q", errForeign, said)
	}
	if echoed != int(a.echoed.Load()) || pushed != a.pushed {
		return fmt.Errorf("%w: of %d echoes and %d pushes, %d and %d came", errForeign, echoed, pushed, a.echoed.Load(), a.pushed)
	}
	return nil
}

// how says how the connection has ended.
func (a *caller) how() string {
	f := a.closed
	switch {
	case f == nil && (a.cut || a.stalled):
		return "cut by the client"
	case f == nil && a.closing:
		return "by an unanswered close frame"
	case f == nil:
		return "in the middle of a frame"
	case strings.HasPrefix(f.reason(), "bye "):
		return "closed by the upstream"
	}
	return fmt.Sprintf("closed with %d", f.code())
}
