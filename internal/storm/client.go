package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// clientPatience bounds a handshake and all that follows.
const clientPatience = 40 * time.Second

// onOneConnection is how many handshakes share a connection of HTTP/2 or HTTP/3.
const onOneConnection = 8

// door is a connection to the gateway, or the promise of one, on which handshakes
// can be made.
type door interface {
	// knock sends the request, or only so many bytes of it; and something more
	// right behind it.
	knock(target string, cut int, more []byte) (line, error)
	close()
}

// line is a handshake, and the connection that it opens.
type line interface {
	// answer waits for the head of the answer; for so many bytes of it only,
	// where that is not never.
	answer(cut int) (status int, err error)
	io.Reader // what follows the head
	io.Writer
	leave(how string) // may be called at any time
}

// open opens a door of the kind.
func (s *storm) open(carrier string) (door, error) {
	switch carrier {
	case "h1":
		return &doorH1{address: s.gateway.httpAddr}, nil
	case "h1w":
		return &doorH1{address: s.gateway.wrappedAddr}, nil
	case "h1s":
		return &doorH1{address: s.gateway.httpsAddr, secure: true}, nil
	case "h2":
		return openH2(s.gateway.httpsAddr)
	}
	return openH3(s.gateway.httpsAddr)
}

// turns lists each carrier as often as it has its turn.
var turns = slices.Concat(
	slices.Repeat([]string{"h1"}, onOneConnection), slices.Repeat([]string{"h1s", "h1w"}, onOneConnection/2),
	[]string{"h2", "h3"},
)

// turn makes the next handshakes, and reports whether there were any left to make.
func (s *storm) turn(ctx context.Context) bool {
	first := s.next.Add(1)
	if first > int64(s.handshakes) {
		return false
	}
	r := s.random(first)
	carrier := pick(r, turns...)
	count := int64(1)
	if carrier[:2] != "h1" {
		count = onOneConnection
		s.next.Add(count - 1)
	}
	began := time.Now()
	d, err := s.open(carrier)
	if err != nil {
		if ctx.Err() == nil && s.gateway.isWell() == nil {
			s.outcomes.wrong(excuse(began, fmt.Errorf("connecting over %s: %w", carrier, err)))
		}
		return true
	}
	slammed := new(atomic.Bool)
	var all sync.WaitGroup
	for number := first; number < first+count; number++ {
		p := draw(s.random(number), number, carrier)
		all.Go(func() {
			err := meet(d, p, s.random(-number))
			if err != nil && (ctx.Err() != nil || s.gateway.isWell() != nil || slammed.Load() && !errors.Is(err, errForeign)) {
				return // the error has an excuse
			}
			s.outcomes.note(p, err)
		})
	}
	if count > 1 && r.IntN(4) == 0 {
		time.Sleep(time.Duration(r.IntN(250)) * time.Millisecond)
		slammed.Store(true)
		d.close()
	}
	all.Wait()
	d.close()
	return true
}

// once does what the plan says on a connection of its own.
func (s *storm) once(p plan) error {
	d, err := s.open(p.carrier)
	if err != nil {
		return err
	}
	defer d.close()
	if err := meet(d, p, s.random(0)); err != nil {
		return fmt.Errorf("%s: %w", &p, err)
	}
	return nil
}

// excuse tells an error for which there is a reason if it came after a long time.
func excuse(began time.Time, err error) error {
	if time.Since(began) < long || errors.Is(err, errForeign) {
		return err
	}
	return fmt.Errorf("%w: %w", errLate, err)
}

// errSlow is that of a client that has waited for too long.
var errSlow = errors.New("it hangs")

// meet does what the plan says. An error tells what the client did not expect.
func meet(d door, p plan, r *rand.Rand) (err error) {
	var left, slow atomic.Bool
	cut := never
	if p.leave.When == inRequest {
		cut = p.leave.At
		left.Store(true)
	}
	var more []byte
	if p.eager {
		more = message(&p, 0, r).bytes(r.Uint32() | 1)
	}
	began := time.Now()
	l, err := d.knock(p.target(), cut, more)
	if err != nil {
		if left.Load() {
			return nil
		}
		return excuse(began, fmt.Errorf("sending: %w", err))
	}
	defer l.leave(byReset)
	if cut != never {
		l.leave(p.leave.How)
		return nil
	}
	tooLong := time.AfterFunc(clientPatience, func() {
		slow.Store(true)
		l.leave(byReset)
	})
	defer tooLong.Stop()
	if p.leave.When == waiting {
		going := time.AfterFunc(p.leave.After, func() {
			left.Store(true)
			l.leave(p.leave.How)
		})
		defer going.Stop()
	}
	t := &talk{p: &p, line: l, r: r, left: &left, br: bufio.NewReader(l), since: began}
	err = t.all()
	switch {
	case err == nil:
		return nil
	case slow.Load():
		return errSlow
	case left.Load() && !errors.Is(err, errForeign):
		return nil
	}
	return excuse(t.since, err)
}

// talk is a client's side from the answer on.
type talk struct {
	p    *plan
	line line
	r    *rand.Rand
	left *atomic.Bool
	br   *bufio.Reader

	since time.Time // when it last did something
}

// all hears the answer, and then talks as the plan says.
func (t *talk) all() error {
	p := t.p
	cut := never
	if p.leave.When == inAnswer {
		cut = p.leave.At
		t.left.Store(true)
	}
	head, rest := p.script.answer(p.ID, "")
	whole := p.script.Cut == never || p.script.Cut >= len(head)
	wholeBody := p.script.Cut == never || p.script.Cut >= len(head)+len(rest)
	status, err := t.line.answer(cut)
	if err != nil {
		if p.script.Does == refuses && !wholeBody {
			return nil // over HTTP/3 the head goes down with what is missing of the body
		}
		return fmt.Errorf("waiting for the answer: %w", err)
	}
	if cut != never {
		t.line.leave(p.leave.How)
		return nil
	}
	success := status == http.StatusSwitchingProtocols || status == http.StatusOK
	switch {
	case p.script.Does == accepts && whole:
		if !success {
			return fmt.Errorf("it was refused with %d: %s", status, t.someBody())
		}
		return t.converse()
	case p.script.Does == refuses && whole:
		if status != p.script.Refusal {
			return fmt.Errorf("it was refused with %d: %s", status, t.someBody())
		}
		return t.checkBody(wholeBody)
	case status != http.StatusBadGateway && status != http.StatusServiceUnavailable && status != http.StatusGatewayTimeout:
		return fmt.Errorf("it was answered with %d", status)
	}
	return nil
}

func (t *talk) someBody() []byte {
	body, _ := io.ReadAll(io.LimitReader(t.br, 500))
	return body
}

// checkBody compares the body of a refusal.
func (t *talk) checkBody(whole bool) error {
	got, err := io.ReadAll(t.br)
	want := t.p.script.body(t.p.ID)
	if !bytes.HasPrefix(want, got) {
		return fmt.Errorf("%w: the body begins with %.100q", errForeign, got)
	}
	if whole && len(got) < len(want) {
		return fmt.Errorf("of the body of %d bytes, %d came: %w", len(want), len(got), err)
	}
	return nil
}

// message is the client's message with the number.
func message(p *plan, n int, r *rand.Rand) frame {
	return text(fmt.Sprintf("%d of %s %s", n, p.ID, strings.Repeat("x", r.IntN(3000))))
}

// converse is greeted, has messages sent back, and takes leave.
func (t *talk) converse() error {
	p := t.p
	broken := p.script.Cut != never // the upstream goes at any moment
	if err := t.hear(greeting(p.ID), broken); err != nil || broken {
		return err
	}
	for n := range p.echoes {
		m := message(p, n, t.r)
		if n == 0 && p.eager {
			m = frame{} // it is on its way
		}
		wire := m.bytes(t.r.Uint32() | 1)
		if p.leave.When == inFrame {
			t.left.Store(true)
			_, err := t.line.Write(wire[:min(len(wire), p.leave.At)])
			t.line.leave(p.leave.How)
			return err
		}
		t.since = time.Now()
		if m.op != 0 {
			if _, err := t.line.Write(wire); err != nil {
				return fmt.Errorf("sending message %d: %w", n, err)
			}
		}
		if err := t.hear(m, false); err != nil {
			return err
		}
		if n+1 == p.script.Quits {
			return t.hearQuit(n + 1)
		}
	}
	t.since = time.Now()
	if _, err := t.line.Write(closing(1000, "").bytes(t.r.Uint32() | 1)); err != nil {
		return fmt.Errorf("sending a close frame: %w", err)
	}
	return t.hearClose(1000, "")
}

// hear reads a message, which must be the wanted one; it may be missing only where the
// upstream goes. Of a message that was sent eagerly, only the beginning is compared.
func (t *talk) hear(want frame, broken bool) error {
	got, err := readFrame(t.br)
	switch {
	case broken && (err != nil && !errors.Is(err, errForeign) || err == nil && got.op == opClose):
		return nil
	case err != nil:
		return fmt.Errorf("waiting for a message: %w", err)
	case got.op == opClose:
		return fmt.Errorf("closed with %d %q", got.code(), got.reason())
	case want.op == 0 && got.op == opText && bytes.HasPrefix(got.payload, []byte("0 of "+t.p.ID+" ")):
		return nil
	case got.op != want.op || !bytes.Equal(got.payload, want.payload):
		return fmt.Errorf("%w: got %.100q, want %.100q", errForeign, got.payload, want.payload)
	}
	return nil
}

// hearQuit waits for the end that the upstream makes.
func (t *talk) hearQuit(n int) error {
	if t.p.script.Quit == byFrame {
		return t.hearClose(4000+uint16(n), "bye "+t.p.ID)
	}
	got, err := readFrame(t.br)
	switch {
	case err != nil:
		return fmt.Errorf("waiting to hear that the upstream is gone: %w", err)
	case got.op != opClose || got.code() != 1011 && got.code() != 1012:
		return fmt.Errorf("%w: got %d %.100q", errForeign, got.op, got.payload)
	}
	return nil
}

// hearClose waits for the close frame, and the end of the stream.
func (t *talk) hearClose(code uint16, reason string) error {
	got, err := readFrame(t.br)
	switch {
	case err != nil:
		return fmt.Errorf("waiting for the close frame: %w", err)
	case got.op != opClose:
		return fmt.Errorf("%w: got %.100q instead of a close frame", errForeign, got.payload)
	case got.code() != code || got.reason() != reason:
		return fmt.Errorf("closed with %d %q, want %d %q", got.code(), got.reason(), code, reason)
	}
	if t.p.script.Quits > 0 {
		_, _ = t.line.Write(closing(code, "").bytes(t.r.Uint32() | 1))
	}
	if rest, _ := io.ReadAll(io.LimitReader(t.br, 100)); len(rest) > 0 {
		return fmt.Errorf("%w: behind the close frame: %.100q", errForeign, rest)
	}
	return nil
}
