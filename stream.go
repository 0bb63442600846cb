package wsgateway

import (
	"errors"
	"net/http"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/wsgateway/caddy-ws-gateway/internal/admission"
	"github.com/wsgateway/caddy-ws-gateway/internal/balance"
	"github.com/wsgateway/caddy-ws-gateway/internal/handshake"
	"github.com/wsgateway/caddy-ws-gateway/internal/live"
	"github.com/wsgateway/caddy-ws-gateway/internal/stream"
	"github.com/wsgateway/caddy-ws-gateway/internal/upgrade"
)

// servePlain has the embedded proxy serve a request that is no handshake, and that came at
// since. Its answer may be a stream; asksForStream is whether the request says so.
func (h *Handler) servePlain(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler, since time.Time, who identity, asked *errands, asksForStream bool) error {
	setUpstreamPlaceholder(r, "") // until it is chosen
	if h.streams == nil {
		p := new(proxied)
		p.begin(balance.Request, who.forwarded)
		defer func() { p.lease.Release() }()
		return h.Proxy.ServeHTTP(w, withProxied(r, p), next)
	}
	s := &streaming{Handler: h, w: w, r: r, who: new(who), asked: asked}
	s.begin(balance.Request, who.forwarded)
	s.watcher = s
	defer s.finish()
	var err error
	if asksForStream {
		err = s.serveAsked(next)
	} else {
		err = s.pass(next)
	}
	if s.refused != nil {
		return h.refuse(w, r, handshake.Plain, since, s.refused)
	}
	return err
}

// streaming is a request that is no handshake, and whose answer may be a stream. Then it
// goes on for as long as the stream lives, and holds nothing that only the beginning needs.
type streaming struct {
	*Handler
	proxied

	w       http.ResponseWriter
	r       *http.Request
	who     *identity // nil once the answer was a stream
	asked   *errands
	tries   *tries          // nil unless the request asks for a stream, and once the answer was one
	seat    *admission.Seat // nil until it is taken
	refused *refusal        // nil as long as it is served
	stream  *stream.Stream  // nil unless the answer is one
	conn    *live.Conn      // of the stream, or of the last one
}

// serveAsked serves a request that asks for a stream: it is admitted as a handshake is, and
// goes on to another upstream where one cannot be reached.
func (s *streaming) serveAsked(next caddyhttp.Handler) error {
	if s.live.Exiting() {
		s.refused = unavailable(s.w, "the server is shutting down")
		return nil
	}
	if s.seat, s.refused = s.takeSeat(s.w, s.r, s.asked); s.refused != nil {
		return nil
	}
	s.tries = newTries(s.Proxy.LoadBalancing)
	s.tries.use, s.use = balance.Stream, balance.Stream
	defer s.endTries()
	for {
		if s.refused = s.reserve(s.tries); s.refused != nil {
			return nil
		}
		s.tries.failed = false
		if err := s.pass(next); !s.triesAgain() {
			return err
		}
	}
}

// triesAgain reports whether the request goes to another upstream. lb_retries are those of
// the proxy, which has made them.
func (s *streaming) triesAgain() bool {
	t := s.tries
	if t == nil {
		return false
	}
	t.count++
	unread := s.r.ContentLength == 0 || s.Proxy.RequestBuffers == 0 // the body, of which over HTTP/3 nobody says whether there is one
	if !t.failed || !unread || t.settings.Retries > 0 || !t.more() {
		return false
	}
	t.tried = append(t.tried, s.tried...)
	s.lease.Release()
	return true
}

// endTries is for when there is no other one.
func (s *streaming) endTries() {
	if s.tries != nil {
		s.leaveLine(s.tries)
		s.tries = nil
	}
}

// reserve takes a place at an upstream for the request, once the fleet has said that the
// client may come in.
func (s *streaming) reserve(t *tries) (rf *refusal) {
	s.chosen, rf = s.findUpstream(s.lease, s.w, s.r, s.r, t, s.asked)
	if rf == nil {
		rf = s.heard()
	}
	if rf == nil {
		rf = s.tooLate(s.w, *s.who)
	}
	return rf
}

func (s *streaming) heard() *refusal {
	if ready := s.gate(s.w, s.r, s.asked); ready != nil {
		return asRefusal(ready())
	}
	return nil
}

// pass gives the request to the embedded proxy. It comes back where the answer is a stream
// that there is no room for.
func (s *streaming) pass(next caddyhttp.Handler) (err error) {
	defer func() {
		if s.refused != nil {
			_ = recover() // of answered
		}
	}()
	return s.Proxy.ServeHTTP(s.w, withProxied(s.r, &s.proxied), next)
}

// answered looks at what an upstream has answered.
func (s *streaming) answered(res *http.Response, err error) (*http.Response, error) {
	s.finishStream() // of an answer for which another upstream is tried
	if s.tries != nil {
		s.tries.failed = false
	}
	if err != nil {
		s.failed(err)
		return nil, err
	}
	contentType, protocol := s.streams.of(s.r.Method, res)
	if protocol == "" {
		s.isPlain()
		return res, nil
	}
	if s.refused = s.enter(); s.refused != nil {
		_ = res.Body.Close()
		// The proxy would count an error against the upstream, and try another one.
		panic(http.ErrAbortHandler)
	}
	s.goLive(res, contentType, protocol)
	return res, nil
}

// failed notes an error, if it says that a request for a stream has not come to the upstream.
func (s *streaming) failed(err error) {
	if _, dialing := errors.AsType[reverseproxy.DialError](err); !dialing || s.use != balance.Stream || s.Gone() {
		return
	}
	s.tried = append(s.tried, s.lease.Address())
	s.live.Failed(s.name, s.lease.Address())
	if s.tries != nil {
		s.tries.failed, s.tries.last = true, err
	}
}

// isPlain gives back what only a stream needs.
func (s *streaming) isPlain() {
	s.seat.Release()
	s.seat = nil
	s.balancer.Turn(s.lease, balance.Ask{Use: balance.Request})
}

// enter holds an answer that is a stream to the caps, unless its request was already.
func (s *streaming) enter() (rf *refusal) {
	if s.seat != nil {
		return nil
	}
	if s.seat, rf = s.takeSeat(s.w, s.r, s.asked); rf != nil {
		return rf
	}
	if rf := s.turnLease(); rf != nil {
		return rf
	}
	return s.heard()
}

// turnLease makes the place of the request one of a connection.
func (s *streaming) turnLease() *refusal {
	ask := balance.Ask{Use: balance.Stream}
	member, address := s.fleet.member(), s.lease.Address()
	if member != nil {
		ask.Grows = func(string) bool { return true }
	}
	for range mostAsks {
		refusal := s.balancer.Turn(s.lease, ask)
		if refusal == balance.None {
			return nil
		}
		if refusal != balance.Short || !s.moreConns(address) {
			break
		}
	}
	return unavailable(s.w, "the upstream is full, and has answered with a stream")
}

func (s *streaming) moreConns(address string) bool {
	ctx, done := s.patience(s.r, s.asked)
	defer done()
	return s.fleet.member().MoreConns(ctx, []string{address}, s.MaxConns)
}

// goLive makes the answer a live connection.
func (s *streaming) goLive(res *http.Response, contentType, protocol string) {
	id := live.NewID()
	replacerOf(s.r).Set(connectionPlaceholder, id)
	if s.Auth != nil && s.Auth.Renew != "" {
		res.Header.Set(connectionHeader, id)
	}
	upgrade.StopClocksOfAnswer(s.w, s.r)
	body := stream.New(stream.Config{
		Body:         res.Body,
		Ends:         endsOf(res, contentType),
		Client:       s,
		WriteTimeout: s.writeTimeout(),
		IdleTimeout:  time.Duration(s.IdleTimeout),
	})
	d := s.detail(s.r, id, place{lease: s.lease, seat: s.seat, address: s.lease.Address()})
	d.Protocol, d.Link = protocol, body
	c := s.live.NewConn(d, s.memberOf(s.upstream), s.authority())
	s.stream, s.conn, s.lent = body, c, true
	s.letGo()
	s.live.Add(c)
	reportOpened(s.live.Reporter(s.name), c) // after Add, so that the admin API finds the connection
	res.Body, res.ContentLength = body, -1   // so that the proxy flushes whatever comes
}

// letGo gives up what only the beginning of a stream needs.
func (s *streaming) letGo() {
	s.who = nil
	s.endTries()
}

// authority is that of the connection that the answer becomes.
func (s *streaming) authority() live.Authority {
	if s.who == nil {
		return s.conn.Authority()
	}
	return s.who.authority()
}

// SetWriteDeadline implements [stream.Client]. Caddy's writers remember deadlines, and may be
// writing at the same time.
func (s *streaming) SetWriteDeadline(deadline time.Time) error {
	return http.NewResponseController(upgrade.Innermost(s.w)).SetWriteDeadline(deadline)
}

// Gone implements [stream.Client].
func (s *streaming) Gone() bool { return s.r.Context().Err() != nil }

// endsOf says where the stream may end.
func endsOf(res *http.Response, contentType string) stream.Ends {
	switch {
	case isEncoded(res):
		return stream.Nowhere
	case contentType == typeEventStream:
		return stream.BetweenEvents
	}
	return stream.AfterFlush
}

// finishStream is for the end of the stream, if the answer was one.
func (s *streaming) finishStream() {
	if s.stream == nil {
		return
	}
	_ = s.stream.Close()
	s.conn.Finish(s.stream.Outcome())
	s.stream, s.seat = nil, nil
}

// finish is for the end of the request.
func (s *streaming) finish() {
	defer func() { s.lease.Release() }()
	defer s.seat.Release()
	s.finishStream()
}
