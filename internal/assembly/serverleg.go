package assembly

import (
	"io"
	"slices"

	"github.com/wsgateway/caddy-ws-gateway/internal/relay"
	"github.com/wsgateway/caddy-ws-gateway/internal/wsframe"
	"github.com/wsgateway/caddy-ws-gateway/messages"
)

// readSize is how much is read at once where there is much.
const readSize = 32 << 10

// serverLeg takes the messages of the upstream to the client.
type serverLeg struct {
	leg
	handling
	conn *Conn
	rest []byte  // what was read and is not followed yet
	out  *room   // frames for the client; nil for none
	at   int     // of them are taken
	last *ending // to come when the client has taken what came before
	err  error   // of reading
}

func (s *serverLeg) init(conn *Conn) {
	s.conn = conn
	s.leg = conn.newLeg(relay.Upstream, messages.FromUpstream, conn.Server)
	s.leg.to = s
	s.handling = handling{conn: conn, sender: relay.Upstream, chain: conn.chains[messages.FromUpstream], end: s.end}
	s.rest = conn.Early
}

// read fills p with frames for the client. It uses p to read into, too.
func (s *serverLeg) read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for large := false; ; {
		if n := s.drain(p); n > 0 {
			return n, nil
		}
		switch {
		case s.last != nil:
			e := *s.last
			s.last = nil
			s.conn.reject(e)
		case len(s.rest) > 0:
			rest := s.rest
			s.rest = nil
			s.follow(rest)
			continue
		case s.err != nil:
			return 0, s.err
		case s.over:
			return 0, io.EOF // for nothing can be told from what may come
		}
		n := 0
		if large && len(p) < readSize {
			b := scratch.get()
			b.p = slices.Grow(b.p, readSize)
			n = s.receive(b.p[:readSize])
			b.release()
		} else {
			n = s.receive(p)
			large = n == len(p)
		}
	}
}

// receive reads from the upstream into p, and follows what came.
func (s *serverLeg) receive(p []byte) int {
	if answers := s.conn.toClient.take(); answers != nil {
		s.emit(answers)
		return 0
	}
	n, err := s.conn.toClient.read(p)
	if n > 0 {
		s.follow(p[:n])
	}
	s.err = err
	return n
}

// follow takes some of the stream. What has to wait until the client has taken what has
// come of it so far is kept.
func (s *serverLeg) follow(p []byte) {
	if n := s.feed(p); n < len(p) {
		s.rest = append([]byte(nil), p[n:]...)
	}
}

// drain returns frames that wait for the client.
func (s *serverLeg) drain(p []byte) (n int) {
	if s.out == nil {
		return 0
	}
	n = copy(p, s.out.p[s.at:])
	s.at += n
	if s.at == len(s.out.p) {
		s.out.release()
		s.out, s.at = nil, 0
	}
	return n
}

func (s *serverLeg) full() bool { return s.out != nil && len(s.out.p) >= mostOut || s.last != nil }

func (s *serverLeg) collected() *room {
	if s.out == nil {
		s.out = scratch.get()
	}
	return s.out
}

func (s *serverLeg) emit(frames []byte) {
	out := s.collected()
	out.p = append(out.p, frames...)
}

func (s *serverLeg) begin(_ *leg, kind messages.Type) bool {
	return !s.conn.rejected.Load() && s.decide(kind, nil)
}

func (s *serverLeg) fragment(_ *leg, op wsframe.Opcode, final bool, payload []byte) {
	if s.conn.rejected.Load() {
		return
	}
	out := s.collected()
	out.p = wsframe.AppendFrame(out.p, op, final, false, payload, false)
}

func (s *serverLeg) complete(_ *leg, kind messages.Type, payload []byte) {
	if s.conn.rejected.Load() {
		return
	}
	if s.decide(kind, payload) {
		out := s.collected()
		out.p = appendMessage(out.p, s.message.Type, s.message.Payload, s.conn.Client, false)
	}
	s.message.Finish()
}

// decide reports whether the message goes on, and does what is to be done otherwise.
func (s *serverLeg) decide(kind messages.Type, payload []byte) bool {
	v, ok := s.handle(messages.FromUpstream, kind, payload)
	switch {
	case !ok:
		return false
	case v.Kind == messages.KindReply:
		b := scratch.get()
		defer b.release()
		b.p = appendMessage(b.p, v.Type, v.Payload, s.conn.Server, true)
		s.answer(b.p)
	case v.Kind == messages.KindClose:
		s.end(refusal(relay.Upstream, v.Code, v.Reason))
	}
	return v.Kind == messages.KindPass
}

// answer writes a frame to the upstream.
func (s *serverLeg) answer(frame []byte) {
	if err := s.conn.upstream.write(frame, false); err != nil && s.err == nil {
		s.err = err
	}
}

func (s *serverLeg) control(_ *leg, op wsframe.Opcode, payload []byte) {
	switch op {
	case wsframe.Ping:
		s.answer(wsframe.AppendFrame(nil, wsframe.Pong, true, false, payload, true))
	case wsframe.Close:
		s.emit(wsframe.AppendFrame(nil, wsframe.Close, true, false, payload, false))
		s.over = true
	default: // a pong that nobody has asked for
	}
}

func (s *serverLeg) violated(_ *leg, v violation) { s.end(fault(relay.Upstream, v)) }

// end has the connection end when the client has got what came before: else the relay
// might stand within a frame.
func (s *serverLeg) end(e ending) {
	if s.last == nil {
		s.last = &e
	}
}
