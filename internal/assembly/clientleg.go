package assembly

import (
	"github.com/wsgateway/caddy-ws-gateway/internal/handshake"
	"github.com/wsgateway/caddy-ws-gateway/internal/relay"
	"github.com/wsgateway/caddy-ws-gateway/internal/wsframe"
	"github.com/wsgateway/caddy-ws-gateway/messages"
)

// mostOut is how many bytes of frames are collected before they are written.
const mostOut = 64 << 10

// clientLeg takes the messages of the client to the upstream.
type clientLeg struct {
	leg
	handling
	conn *Conn
	out  *room // frames for the upstream; nil for none
	err  error // of writing them
}

func (c *clientLeg) init(conn *Conn) {
	c.conn = conn
	c.leg = conn.newLeg(relay.Client)
	c.leg.to = c
	c.handling = conn.newHandling(relay.Client, c.end, conn.toClient.answer)
}

// end ends the connection, once what came before has gone to the upstream.
func (c *clientLeg) end(e ending) {
	c.flush(false)
	c.conn.reject(e)
}

// take takes some of the stream, and writes what has come of it.
func (c *clientLeg) take(p []byte) error {
	for {
		n := c.feed(p)
		p = p[n:]
		c.flush(false)
		if len(p) == 0 || c.err != nil || c.over || c.conn.rejected.Load() {
			return c.err
		}
	}
}

// flush writes the frames that were collected.
func (c *clientLeg) flush(closes bool) {
	if c.out == nil {
		return
	}
	out := c.out
	c.out = nil
	defer out.release()
	if c.err == nil {
		c.err = c.conn.upstream.write(out.p, closes)
	}
}

func (c *clientLeg) full() bool {
	return c.out != nil && len(c.out.p) >= mostOut || c.err != nil || c.conn.rejected.Load()
}

// collected returns what to append frames to, of which the next has n bytes of payload.
func (c *clientLeg) collected(n int) *room {
	if c.out == nil {
		c.out = scratch.get(max(n, c.chunk))
	}
	return c.out
}

func (c *clientLeg) begin(_ *leg, kind messages.Type) bool {
	defer c.message.Finish()
	return c.decide(kind, nil)
}

func (c *clientLeg) fragment(_ *leg, op wsframe.Opcode, final bool, payload []byte) {
	out := c.collected(sizeOf(payload))
	out.p = wsframe.AppendFrame(out.p, op, final, false, payload, true)
}

func (c *clientLeg) complete(_ *leg, kind messages.Type, payload []byte) {
	if c.decide(kind, payload) {
		out := c.collected(sizeOf(c.message.Payload))
		out.p = appendMessage(out.p, c.message.Type, c.message.Payload, c.conn.Server, true)
	}
	c.message.Finish()
}

func (c *clientLeg) control(_ *leg, op wsframe.Opcode, payload []byte) {
	switch op {
	case wsframe.Ping:
		c.conn.toClient.answerPing(payload)
	case wsframe.Close:
		out := c.collected(sizeOf(payload))
		out.p = wsframe.AppendFrame(out.p, wsframe.Close, true, false, payload, true)
		c.flush(true)
		c.over = true
	default: // a pong that nobody has asked for
	}
}

func (c *clientLeg) violated(_ *leg, v violation) {
	c.end(fault(relay.Client, v))
}

// sizeOf is how many bytes the frame has, at most.
func sizeOf(payload []byte) int { return len(payload) + 14 }

// appendMessage appends a message to dst, compressed if the receiver takes that and it
// is worth it.
func appendMessage(dst []byte, kind messages.Type, payload []byte, d handshake.Deflate, masked bool) []byte {
	if d.Agreed && len(payload) >= worthIt {
		b := scratch.get(len(payload))
		defer b.release()
		var smaller bool
		if b.p, smaller = deflate(b.p, payload, d.Bits); smaller {
			return wsframe.AppendFrame(dst, wsframe.Opcode(kind), true, true, b.p, masked)
		}
	}
	return wsframe.AppendFrame(dst, wsframe.Opcode(kind), true, false, payload, masked)
}

func (c *Conn) newLeg(party relay.Party) leg {
	l := leg{party: party, deflate: c.agreedWith(party), most: c.MessageSize, mostAll: uint64(c.MessageSize)}
	if l.most <= 0 {
		l.most = DefaultMessageSize
	}
	l.streams = !c.chains[directionOf(party)].NeedsPayload()
	return l
}
