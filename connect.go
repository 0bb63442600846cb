package wsgateway

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/headers"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/wsgateway/caddy-ws-gateway/internal/admission"
	"github.com/wsgateway/caddy-ws-gateway/internal/assembly"
	"github.com/wsgateway/caddy-ws-gateway/internal/balance"
	"github.com/wsgateway/caddy-ws-gateway/internal/carrier"
	"github.com/wsgateway/caddy-ws-gateway/internal/dial"
	"github.com/wsgateway/caddy-ws-gateway/internal/handshake"
)

// connected is an upstream that answered a handshake, with the lease on it.
type connected struct {
	answer    *handshake.Answer
	lease     *balance.Lease
	seat      *admission.Seat // once the connection is about to go live
	upstream  *reverseproxy.Upstream
	address   string
	assembled *assembly.Conn    // instead of the upstream's, where handlers look into messages
	deflate   handshake.Deflate // what the upstream has agreed on, where handlers look into messages
	member    string

	described *described
	since     time.Time // when the handshake came
}

// connect finds an upstream that answers the handshake, which is sent with the
// credential, once the fleet has said that the client may come in. Each upstream is tried
// at most once, and again only while lb_try_duration lasts. The lease is that of the first
// try, and what comes of it: a try that has failed may still have to do with its own.
func (h *Handler) connect(lease *balance.Lease, w http.ResponseWriter, r *http.Request, credential carrier.Placed, asked *errands) (*connected, *refusal) {
	if h.live.Exiting() {
		return nil, unavailable(w, "the server is shutting down")
	}
	out, err := h.outgoing(r)
	if err != nil {
		return nil, badHandshake(http.StatusBadRequest, err.Error())
	}
	credential.PutInto(out)
	t := newTries(h.Proxy.LoadBalancing)
	defer h.leaveLine(t)
	replacerOf(out).Map(t.described.placeholder)
	defer func() { t.described.finish(t.start, t.count) }()
	ready := h.gate(w, r, asked)
	for ; ; lease = new(balance.Lease) {
		up, rf := h.findUpstream(lease, w, r, out, t, asked)
		if rf != nil {
			return nil, rf
		}
		got, rf := h.try(out, up, lease, t, ready)
		if got != nil || rf != nil {
			return got, rf
		}
		if !t.more() {
			return nil, t.exhausted(w, r, balance.Dead)
		}
	}
}

// findUpstream takes a lease on an upstream that was not tried yet, for the client's request
// and for what is sent of it, and waits for one in line where the configuration says so.
func (h *Handler) findUpstream(into *balance.Lease, w http.ResponseWriter, r, out *http.Request, t *tries, asked *errands) (*reverseproxy.Upstream, *refusal) {
	for {
		if rf := h.turnAway(w); rf != nil { // it may have begun to drain while the request waited
			return nil, rf
		}
		up, refusal := h.acquire(into, w, out, t)
		if refusal == balance.Short {
			h.moreAt(dial.Address(up, out), out, t, asked)
			continue
		}
		if up == nil {
			if refusal == balance.Full && (h.moreRoom(out, t, asked) || h.waitInLine(r.Context(), t)) || h.anotherRound(r.Context(), t) {
				continue
			}
			return nil, t.exhausted(w, r, refusal)
		}
		t.leaveLine()
		return up, nil
	}
}

// gate returns what holds a handshake back, once its upstream is connected, until the fleet
// has said whether the client may come in; nil where it has nothing to say. The refusal is
// the error.
func (h *Handler) gate(w http.ResponseWriter, r *http.Request, asked *errands) func() error {
	if asked == nil || asked.knock == nil && asked.claim == nil {
		return nil
	}
	return func() error {
		if rf := h.hear(w, r, asked); rf != nil {
			return rf
		}
		return nil
	}
}

// moreRoom asks the fleet for more of max_conns, where that has room and only the part of
// it that this node has is used up. It reports whether it is worth trying again.
func (h *Handler) moreRoom(out *http.Request, t *tries, asked *errands) bool {
	member := h.fleet.member()
	if member == nil || t.asks >= mostAsks {
		return false
	}
	skip := func(address string) bool { return t.wasTried(address) || !t.mayGrow(address) }
	short := h.balancer.short(balance.Ask{Use: t.use, Skip: skip, Place: t.place}, t.among, out)
	if len(short) == 0 {
		return false
	}
	t.asks++
	ctx, done := h.patience(out, asked)
	defer done()
	return member.MoreConns(ctx, short, h.MaxConns)
}

// moreAt asks the fleet for more of max_conns at the upstream that the policy has chosen.
// Where there is none, the policy chooses among the others, as it does on one node.
func (h *Handler) moreAt(address string, out *http.Request, t *tries, asked *errands) {
	t.asks++
	ctx, done := h.patience(out, asked)
	defer done()
	if !h.fleet.member().MoreConns(ctx, []string{address}, h.MaxConns) {
		t.spent = append(t.spent, address)
	}
}

// acquire takes a lease on one of the upstreams that were not tried yet.
func (h *Handler) acquire(into *balance.Lease, w http.ResponseWriter, r *http.Request, t *tries) (*reverseproxy.Upstream, balance.Refusal) {
	pool := h.Proxy.Upstreams
	if source := h.Proxy.DynamicUpstreams; source != nil {
		if caching, ok := source.(reverseproxy.CachingUpstreamSource); ok && t.failed {
			_ = caching.ResetCache(r)
		}
		t.failed = false
		dynamic, err := source.GetUpstreams(r)
		if err != nil {
			t.last = fmt.Errorf("getting dynamic upstreams: %w", err)
		} else {
			pool = withHosts(dynamic)
			h.noteDynamic(pool)
		}
	}
	t.among = pool
	if h.Queue != nil {
		t.pool = t.pool[:0]
		for _, up := range pool {
			t.pool = append(t.pool, dial.Address(up, r))
		}
	}
	ask := balance.Ask{Use: t.use, Skip: t.skip(), Place: t.place}
	if h.balancer.keeps() && t.asks < mostAsks && h.fleet.member() != nil {
		ask.Grows = t.mayGrow
	}
	return h.balancer.choose(into, ask, pool, w, r)
}

// try makes one attempt at an upstream. It returns the connected upstream; or the
// answer for the client, where no other attempt may follow; or neither, where another
// may.
func (h *Handler) try(out *http.Request, up *reverseproxy.Upstream, lease *balance.Lease, t *tries, ready func() error) (*connected, *refusal) {
	address := lease.Address()
	var a *handshake.Answer
	kept := false
	defer func() { // also where something on the way panics
		if kept {
			return
		}
		if a != nil && a.Conn != nil {
			_ = a.Conn.Close()
		}
		lease.Release()
	}()
	info := h.dialInfos[address]
	if info == nil || info.Upstream != up {
		made, err := dial.Info(up, dial.Written(up, out))
		if err != nil {
			return nil, badGateway(err.Error())
		}
		info = &made
	}
	shake := h.forUpstream(out, info, address, t)
	start := time.Now()
	var err error
	a, err = h.dialer.Shake(shake, info, ready)
	t.count++
	t.failed = true
	t.tried = append(t.tried, address)
	if err != nil {
		return nil, h.failedTry(address, err, t)
	}
	deflate, err := h.agreedWith(a)
	if err != nil {
		return nil, h.failedTry(address, err, t)
	}
	took := time.Since(start)
	t.described.answered(a.Res, took)
	if dropper := t.dropper(address); dropper != "" {
		h.blame(dropper)
	}
	if h.triesAgain(shake, a, address, t) {
		return nil, nil
	}
	h.observe(address, a, took)
	kept = true
	return &connected{answer: a, lease: lease, upstream: up, address: address, deflate: deflate, member: h.memberOf(up), described: &t.described}, nil
}

// triesAgain reports whether the configuration has another upstream tried after
// this answer.
func (h *Handler) triesAgain(shake *http.Request, a *handshake.Answer, address string, t *tries) bool {
	if a.Conn != nil || !h.retriesAnswer(shake, a.Res) {
		return false
	}
	_ = a.Res.Body.Close()
	t.last, t.lastStatus = fmt.Errorf("upstream %s refused with status %d", address, a.Res.StatusCode), a.Res.StatusCode
	return true
}

// failedTry turns the error of an attempt into the answer for the client, or nil
// where the next upstream may be tried. An error counts against an upstream only
// where the handshake cannot have caused it: otherwise a client with a request that
// the application drops, answers wrongly or never answers could take every upstream
// down for all clients.
func (h *Handler) failedTry(address string, err error, t *tries) *refusal {
	if rf := asRefusal(err); rf != nil { // from the gate
		return rf
	}
	err = fmt.Errorf("upstream %s: %w", address, err)
	silent := gatewayTimeout(err.Error())
	switch {
	case errors.Is(err, context.Canceled):
		return clientLeft()
	case errors.Is(err, handshake.ErrUnsendable):
		return badHandshake(http.StatusBadRequest, err.Error())
	case errors.Is(err, handshake.ErrDropped):
		if again := t.drop(address); again {
			return badGateway("dropped a second time: " + err.Error())
		}
		t.last = err
		return nil
	case errors.Is(err, handshake.ErrDead):
		h.blame(address)
		if errors.Is(err, handshake.ErrSilent) {
			return silent
		}
		t.last = err
		return nil
	}
	h.live.Failed(h.name, address)
	if errors.Is(err, handshake.ErrSilent) {
		if h.slow(h.dialer.Timeout()) {
			h.balancer.Fail(address)
		}
		return silent
	}
	return badGateway(err.Error())
}

// blame counts a failed handshake against the upstream.
func (h *Handler) blame(address string) {
	h.balancer.Fail(address)
	h.live.Failed(h.name, address)
}

// slow reports whether an answer that took so long counts as a failure by
// unhealthy_latency.
func (h *Handler) slow(took time.Duration) bool {
	hc := h.Proxy.HealthChecks
	return hc != nil && hc.Passive != nil && hc.Passive.UnhealthyLatency > 0 && took >= time.Duration(hc.Passive.UnhealthyLatency)
}

// observe tells passive health checks and the circuit breaker of an upstream's
// answer. Of a refusal, reverse_proxy tells them when it passes the refusal on.
func (h *Handler) observe(address string, a *handshake.Answer, took time.Duration) {
	if h.slow(took) {
		h.balancer.Fail(address)
	}
	if h.dynamicMember != "" && a.Conn == nil && h.unhealthyStatus(a.Res.StatusCode) {
		h.balancer.Fail(address) // reverse_proxy counts it where the gateway cannot see it
	}
	if h.Proxy.CB != nil && a.Conn != nil {
		h.Proxy.CB.RecordMetric(a.Res.StatusCode, took)
	}
}

func (h *Handler) unhealthyStatus(status int) bool {
	hc := h.Proxy.HealthChecks
	return hc != nil && hc.Passive != nil && slices.ContainsFunc(hc.Passive.UnhealthyStatus, func(bad int) bool {
		return caddyhttp.StatusCodeMatches(status, bad)
	})
}

// outgoing makes the request for upstreams out of the client's: rewritten, without
// hop-by-hop fields, and with X-Forwarded-*. It has a URL and a header of its own, whose
// values it shares.
func (h *Handler) outgoing(r *http.Request) (*http.Request, error) {
	out := r.WithContext(r.Context())
	target := *r.URL
	target.Scheme, target.Host, target.User = "", "", nil
	out.URL, out.Header = &target, handshake.EndToEnd(r.Header)
	out.Body, out.ContentLength = http.NoBody, 0
	out.Method = http.MethodGet
	out.Proto, out.ProtoMajor, out.ProtoMinor = "HTTP/1.1", 1, 1
	handshake.DropEmptyOffer(out.Header)
	h.offersItself(out.Header)
	h.forwarder.forward(r, out.Header)
	if h.Proxy.Rewrite != nil {
		h.Proxy.Rewrite.Rewrite(out, replacerOf(r))
		out.Method = http.MethodGet
	}
	return out, nil
}

// forUpstream applies the header operations, whose placeholders may depend on
// the upstream.
func (h *Handler) forUpstream(out *http.Request, info *reverseproxy.DialInfo, address string, t *tries) *http.Request {
	t.described.turnTo(info, address)
	if h.transportOps == nil && h.requestOps == nil {
		return out
	}
	shake := out.WithContext(out.Context())
	shake.Header = out.Header.Clone()
	for _, ops := range []*headers.HeaderOps{h.transportOps, h.requestOps} {
		if ops != nil {
			ops.ApplyToRequest(shake)
		}
	}
	h.transport.asserted.dropEmpty(shake.Header)
	if shake.Host == info.Address && caddy.IsUnixNetwork(info.Network) {
		shake.Host = "" // a path is no host; net/http sends an empty Host with plain requests too
	}
	return shake
}

// offersItself replaces what the client offers the upstream by what the gateway does,
// where it looks into messages and so speaks with each side for itself.
func (h *Handler) offersItself(out http.Header) {
	if h.messages != nil {
		handshake.OfferDeflate(out)
	}
}

// agreedWith returns what the upstream has agreed on with the gateway. It fails where the
// upstream has accepted what the gateway cannot do.
func (h *Handler) agreedWith(a *handshake.Answer) (agreed handshake.Deflate, err error) {
	if h.messages == nil || a.Conn == nil {
		return agreed, nil
	}
	agreed, ok := handshake.AgreedDeflate(a.Res.Header)
	if !ok {
		return agreed, fmt.Errorf("%w: its Sec-WebSocket-Extensions were not offered like this", handshake.ErrInvalid)
	}
	return agreed, nil
}
