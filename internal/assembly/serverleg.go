package assembly

import (
	"io"
	"os"

	"github.com/wsgateway/caddy-ws-gateway/internal/relay"
	"github.com/wsgateway/caddy-ws-gateway/internal/wsframe"
	"github.com/wsgateway/caddy-ws-gateway/messages"
)

// serverLeg takes the messages of the upstream to the client.
type serverLeg struct {
	leg
	handling
	conn *Conn
	rest []byte  // what was read and is not followed yet
	out  *room   // frames for the client; nil for none
	at   int     // of them are taken
	last *ending // to come when the client has taken what came before
	err  error   // of reading, or of answering

	charged int // to what may be held in the process, while the client is slow
}

func (s *serverLeg) init(conn *Conn) {
	s.conn = conn
	s.leg = conn.newLeg(relay.Upstream)
	s.leg.to = s
	s.handling = conn.newHandling(relay.Upstream, s.end, s.answer)
	s.rest = conn.Early
}

// read fills p with frames for the client.
func (s *serverLeg) read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if err := s.wait(); err != nil {
		return 0, err
	}
	return s.drain(p), nil
}

// next is read without a copy. Who asks for it charges it.
func (s *serverLeg) next() ([]byte, error) {
	if err := s.wait(); err != nil {
		return nil, err
	}
	if s.charged == 0 && cap(s.rest) > 0 {
		s.charged = cap(s.rest)
		relay.Charge(s.charged)
	}
	return s.out.p[s.at:], nil
}

// letGo gives back what next has returned.
func (s *serverLeg) letGo() {
	if s.out == nil {
		return
	}
	s.uncharge()
	s.out.release()
	s.out, s.at = nil, 0
}

// wait follows the stream of the upstream until there is something for the client.
func (s *serverLeg) wait() error {
	for s.out == nil {
		switch {
		case s.last != nil:
			e := *s.last
			s.last = nil
			s.conn.reject(e)
		case len(s.rest) > 0:
			rest := s.rest
			s.rest = nil
			s.follow(rest)
		case s.over && s.err == nil:
			s.err = io.EOF // for nothing can be told from what may come
		case s.err != nil:
			s.conn.toClient.close() // nobody takes answers any more
			return s.err
		default:
			s.receive()
		}
	}
	return nil
}

// receive reads from the upstream, and follows what came.
func (s *serverLeg) receive() {
	if s.emitAnswers() {
		return
	}
	p, err := s.conn.toClient.read()
	if len(p) > 0 {
		s.emitAnswers() // before a close frame that may come
		s.follow(p)
	}
	s.conn.toClient.release()
	switch {
	case s.err != nil:
	case s.conn.upstream.stuck.Load():
		s.err = os.ErrDeadlineExceeded
	default:
		s.err = err
	}
}

// emitAnswers has the answers that there are go to the client.
func (s *serverLeg) emitAnswers() (any bool) {
	answers, pongs := s.conn.toClient.take()
	for _, frames := range [][]byte{answers, pongs} {
		if frames != nil {
			s.emit(frames)
			any = true
		}
	}
	return any
}

// follow takes some of the stream. What has to wait until the client has taken what has
// come of it so far is kept.
func (s *serverLeg) follow(p []byte) {
	if n := s.feed(p); n < len(p) {
		s.rest = append([]byte(nil), p[n:]...)
	}
}

// drain returns frames that wait for the client. What a client does not take at once is
// charged.
func (s *serverLeg) drain(p []byte) (n int) {
	n = copy(p, s.out.p[s.at:])
	s.at += n
	if s.at == len(s.out.p) {
		s.letGo()
	} else if s.charged == 0 {
		s.charged = cap(s.out.p) + cap(s.rest)
		relay.Charge(s.charged)
	}
	return n
}

func (s *serverLeg) uncharge() {
	relay.Uncharge(s.charged)
	s.charged = 0
}

func (s *serverLeg) full() bool { return s.out != nil && len(s.out.p) >= mostOut || s.last != nil }

func (s *serverLeg) collected(n int) *room {
	if s.out == nil {
		s.out = scratch.get(max(n, s.chunk))
	}
	return s.out
}

func (s *serverLeg) emit(frames []byte) {
	out := s.collected(len(frames))
	out.p = append(out.p, frames...)
}

func (s *serverLeg) begin(_ *leg, kind messages.Type) bool {
	defer s.message.Finish()
	return !s.conn.rejected.Load() && s.decide(kind, nil)
}

func (s *serverLeg) fragment(_ *leg, op wsframe.Opcode, final bool, payload []byte) {
	if s.conn.rejected.Load() {
		return
	}
	out := s.collected(sizeOf(payload))
	out.p = wsframe.AppendFrame(out.p, op, final, false, payload, false)
}

func (s *serverLeg) complete(_ *leg, kind messages.Type, payload []byte) {
	if s.conn.rejected.Load() {
		return
	}
	if s.decide(kind, payload) {
		out := s.collected(sizeOf(s.message.Payload))
		out.p = appendMessage(out.p, s.message.Type, s.message.Payload, s.conn.Client, false)
	}
	s.message.Finish()
}

// answer writes a frame to the upstream. Where the upstream has gone, what it has said
// before still counts.
func (s *serverLeg) answer(frame []byte) {
	if err := s.conn.upstream.write(frame, false); isDeadline(err) && s.err == nil {
		s.err = err
	}
}

func (s *serverLeg) control(_ *leg, op wsframe.Opcode, payload []byte) {
	switch op {
	case wsframe.Ping:
		s.conn.upstream.answerPing(payload)
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
