package messages

import (
	"context"
	"time"
)

// Message is a message on its way. It belongs to the handler until HandleMessage
// returns: nothing of it may be kept.
type Message struct {
	// The type and the payload, decompressed, which handlers may change: the payload in
	// place as well, or by setting another. Texts must stay valid UTF-8.
	Type    Type
	Payload []byte

	Direction Direction
	Conn      *Connection

	// What a handler has found wrong with the message, for its own templates.
	Fault Fault

	deadline time.Time
	ctx      context.Context //nolint:containedctx // the message is what it belongs to
	cancel   context.CancelFunc
}

// Fault is what is wrong with a message, as the placeholders {msg.error} and
// {msg.error.path} have it. Neither may hold values of the message.
type Fault struct {
	Text string
	Path string // where, as a JSON pointer (RFC 6901); "" for the whole message
}

// Begin makes m a message that has to be handled by the deadline, zero for whenever.
// It is for those who call handlers.
func (m *Message) Begin(d Direction, t Type, payload []byte, deadline time.Time) {
	m.Finish()
	m.Direction, m.Type, m.Payload, m.deadline = d, t, payload, deadline
}

// Finish lets go of what Begin and Context made.
func (m *Message) Finish() {
	if m.cancel != nil {
		m.cancel()
	}
	m.Payload, m.ctx, m.cancel, m.Fault = nil, nil, nil, Fault{}
}

// Size is how many bytes of payload the message has.
func (m *Message) Size() int { return len(m.Payload) }

// Deadline is when the time for the handlers of this message is over, and the
// connection is ended (1011); zero for never.
func (m *Message) Deadline() time.Time { return m.deadline }

// Context returns a context that ends at the deadline, for what takes one. It ends as
// well when the message is handled.
func (m *Message) Context() context.Context {
	if m.ctx != nil {
		return m.ctx
	}
	if m.deadline.IsZero() {
		m.ctx, m.cancel = context.WithCancel(context.Background())
	} else {
		m.ctx, m.cancel = context.WithDeadline(context.Background(), m.deadline)
	}
	return m.ctx
}
