package assembly

import (
	"fmt"
	"time"
	"unicode/utf8"

	"github.com/wsgateway/caddy-ws-gateway/internal/handshake"
	"github.com/wsgateway/caddy-ws-gateway/internal/panics"
	"github.com/wsgateway/caddy-ws-gateway/internal/relay"
	"github.com/wsgateway/caddy-ws-gateway/messages"
)

// handling takes the messages of a direction through its chain.
type handling struct {
	conn    *Conn
	sender  relay.Party
	chain   Chain
	end     func(ending)
	answer  func(frame []byte) // to the sender
	message messages.Message
	current string // the handler that has the message
	watch   *watch // nil until the first message
}

func (c *Conn) newHandling(sender relay.Party, end func(ending), answer func(frame []byte)) handling {
	return handling{
		conn: c, sender: sender, chain: c.chains[directionOf(sender)],
		end: end, answer: answer, message: messages.Message{Conn: c.Connection},
	}
}

// decide reports whether a message goes on, and does what is to be done otherwise. Of one
// that passes as it comes only the header is there, and payload is nil.
func (h *handling) decide(kind messages.Type, payload []byte) bool {
	v, ok := h.handle(kind, payload)
	switch {
	case !ok:
		return false
	case v.Kind == messages.KindReply:
		b := scratch.get(sizeOf(v.Payload))
		defer b.release()
		b.p = appendMessage(b.p, v.Type, v.Payload, h.conn.agreedWith(h.sender), h.sender == relay.Upstream)
		h.answer(b.p)
	case v.Kind == messages.KindClose:
		h.end(refusal(h.sender, v.Code, v.Reason))
	}
	return v.Kind == messages.KindPass
}

// handle returns what is to become of a message. What it returns is valid until the
// message is finished.
func (h *handling) handle(kind messages.Type, payload []byte) (v messages.Verdict, ok bool) {
	m, d := &h.message, directionOf(h.sender)
	for i := range h.chain {
		step := &h.chain[i]
		deadline := time.Time{}
		if step.Budget > 0 {
			deadline = time.Now().Add(step.Budget)
		}
		m.Begin(d, kind, payload, deadline)
		if v, ok = h.step(step, deadline); !ok || v.Kind != messages.KindPass {
			if ok {
				h.conn.Reporter.Decided(h.conn.Connection, d, v.Kind)
			}
			return v, ok
		}
		kind, payload = m.Type, m.Payload
	}
	if len(h.chain) == 0 {
		m.Begin(d, kind, payload, time.Time{})
	}
	return v, !h.conn.rejected.Load()
}

// directionOf is the direction of what a side sends.
func directionOf(sender relay.Party) messages.Direction {
	if sender == relay.Upstream {
		return messages.FromUpstream
	}
	return messages.FromClient
}

// agreedWith is what a side has agreed on.
func (c *Conn) agreedWith(side relay.Party) handshake.Deflate {
	if side == relay.Upstream {
		return c.Server
	}
	return c.Client
}

// step has the handlers of a step look at the message.
func (h *handling) step(s *Step, deadline time.Time) (v messages.Verdict, ok bool) {
	defer h.contain()
	h.startWatch(deadline)
	defer h.stopWatch(deadline)
	for _, handler := range s.Handlers {
		h.current = handler.Name
		v, err := handler.HandleMessage(&h.message)
		if h.conn.rejected.Load() {
			return v, false
		}
		if err == nil {
			err = h.check(v)
		}
		if err != nil {
			h.fail(err)
			return v, false
		}
		if v.Kind != messages.KindPass {
			return v, true
		}
	}
	return messages.Pass, true
}

// check finds what a handler must not do.
func (h *handling) check(v messages.Verdict) error {
	m := &h.message
	switch {
	case v.Kind == messages.KindClose && !messages.ValidClose(v.Code, v.Reason):
		return fmt.Errorf("it closes with %d and a reason of %d bytes, which no close frame may say", v.Code, len(v.Reason))
	case v.Kind == messages.KindReply && !sound(v.Type, v.Payload):
		return fmt.Errorf("it answers with a %s that is none", v.Type)
	case v.Kind == messages.KindPass && !sound(m.Type, m.Payload):
		return fmt.Errorf("it makes a %s that is none", m.Type)
	}
	return nil
}

func sound(t messages.Type, payload []byte) bool {
	switch t {
	case messages.Text:
		return utf8.Valid(payload)
	case messages.Binary:
		return true
	}
	return false
}

func (h *handling) fail(err error) {
	if h.conn.rejected.Load() {
		return
	}
	h.conn.Reporter.Failed(h.conn.Connection, h.message.Direction, h.current, err)
	h.end(collapse(h.sender))
}

// contain ends the connection if a handler panics.
func (h *handling) contain() {
	value := recover()
	if value == nil {
		return
	}
	h.conn.Reporter.Panicked(h.conn.Connection, h.message.Direction, h.current, panics.Caught(value))
	h.end(collapse(h.sender))
}

// startWatch has somebody watch the time.
func (h *handling) startWatch(deadline time.Time) {
	if deadline.IsZero() {
		return
	}
	if h.watch == nil {
		h.watch = newWatch(h.conn, h.sender)
	}
	h.watch.start(deadline)
}

func (h *handling) stopWatch(deadline time.Time) {
	if !deadline.IsZero() {
		h.watch.stop()
	}
}
