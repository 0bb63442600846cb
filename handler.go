package wsgateway

import (
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/quic-go/quic-go/http3"

	"github.com/wsgateway/caddy-ws-gateway/internal/carrier"
	"github.com/wsgateway/caddy-ws-gateway/internal/handshake"
	"github.com/wsgateway/caddy-ws-gateway/internal/live"
	"github.com/wsgateway/caddy-ws-gateway/internal/relay"
	"github.com/wsgateway/caddy-ws-gateway/internal/token"
	"github.com/wsgateway/caddy-ws-gateway/internal/upgrade"
)

// ServeHTTP implements caddyhttp.MiddlewareHandler.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	repl := replacerOf(r)
	repl.Map(emptyUnlessSet)
	repl.Set("http.ws_gateway.name", h.name)

	what, fault := handshake.Classify(r)
	if what == handshake.Plain {
		handshake.ForgetOffer(r.Header)
	}
	if fault.Status == 0 {
		if what, fault = handshake.CheckTarget(r, sentURL(r), what); fault.Status != 0 {
			forgetTarget(r)
		}
	}
	rf := faulty(fault)
	if what == handshake.Sound {
		upgrade.StopClocks(w, r)
	}
	var who identity
	if what == handshake.Plain && h.authenticator != nil && h.Auth.Renew != "" && r.URL.Path == h.Auth.Renew {
		return h.serveRenewal(w, r)
	}
	if rf == nil {
		who, rf = h.admitUser(w, r, what)
	}
	h.decorate(r) // also where it is refused: error routes may lead to an upstream
	if rf != nil {
		return h.refuse(w, r, what, rf)
	}
	if what == handshake.Plain {
		setUpstreamPlaceholder(r, "") // until it is chosen
		p := &proxied{forwarded: who.forwarded}
		defer p.lease.Release()
		return h.Proxy.ServeHTTP(w, withProxied(r, p), next)
	}
	return h.serveWebSocket(w, r, next, who)
}

// admitUser finds out who is calling and whether their page may.
func (h *Handler) admitUser(w http.ResponseWriter, r *http.Request, what handshake.Kind) (identity, *refusal) {
	var who identity
	inFront := userOf(r) != "" || r.TLS != nil && len(r.TLS.PeerCertificates) > 0
	if h.authenticator != nil {
		var rf *refusal
		if who, rf = h.identify(w, r); rf != nil {
			return who, rf
		}
		setUser(r, who)
	}
	// What others verified may be a cookie. It need not be, so that a handshake
	// without an Origin, which no browser sends, may pass.
	ambient, strict := who.ambient, what == handshake.Sound && who.provided == nil
	if inFront && (h.authenticator == nil || who.anonymous) {
		ambient, strict = true, false
	}
	if self := h.forwarder.pageOrigin(r); !h.originPolicy.Allow(r, self, ambient, strict) {
		return who, &refusal{http.StatusForbidden, resultForbidden, h.originPolicy.Explain(r, self)}
	}
	if what == handshake.Sound && who.offersNothingElse {
		return who, badHandshake(http.StatusBadRequest, onlyTokenOffered)
	}
	return who, nil
}

const onlyTokenOffered = "no subprotocol but the token is offered, and a browser takes no answer that selects none: " +
	"offer the marker and the token as two, or another subprotocol beside them"

// identify finds out who is calling.
func (h *Handler) identify(w http.ResponseWriter, r *http.Request) (identity, *refusal) {
	a := h.authenticator
	who, err := a.authenticate(r)
	absent := who.anonymous || errors.Is(err, errNoCredential) // no carrier holds a token
	unknown := errors.Is(err, token.ErrBadCredential)          // it may be somebody else's
	decided := !absent && !unknown
	if a.preflight && absent && isPreflight(r) {
		dropMethodOverrides(r.Header)
		return identity{anonymous: true}, nil
	}
	if decided || !a.trustsOthers() {
		if err != nil {
			return who, h.refuseUser(w, r, err)
		}
		return who, nil
	}
	inherited := ""
	if a.inherit && !unknown {
		inherited = userOf(r)
	}
	found, redirect := a.askOthers(w, r, inherited)
	switch {
	case found != nil:
		who = identity{userID: found.UserID, grant: &found.Grant, provided: found, ambient: carrier.ForeignMayBeAmbient(r)}
		who.fallbackProtocol, who.offersNothingElse = a.carriers.FallbackProtocol(r)
		if a.forward {
			who.forwarded = a.carriers.Foreign(r)
		}
		return who, nil
	case err == nil:
		return who, nil
	case redirect != 0:
		return who, &refusal{redirect, resultUnauthorized, "an authentication provider sends the client elsewhere"}
	}
	return who, h.refuseUser(w, r, err)
}

// decorate takes from the request what must not go further. What is added for
// the upstream is added when that is known.
func (h *Handler) decorate(r *http.Request) {
	if h.authenticator != nil {
		stripEverywhere(h.authenticator, r)
	}
	handshake.GuardConnection(r.Header)
	h.aliases.strip(r.Header)
}

// stripEverywhere removes the credentials from the request, and from the
// original of its URI, which placeholders and error routes go back to.
func stripEverywhere(a *authenticator, r *http.Request) {
	stripInPlace(a, r)
	if or, ok := originalOf(r); ok {
		before := or.RequestURI
		stripInPlace(a, &or)
		if or.RequestURI != before {
			replacerOf(r).Set("http.request.orig_uri", or.RequestURI)
		}
	}
}

// stripInPlace strips the URL itself, because copies of a request share it.
func stripInPlace(a *authenticator, r *http.Request) {
	shared := r.URL
	a.strip(r)
	if r.URL != shared {
		*shared = *r.URL
		r.URL = shared
	}
}

// serveWebSocket brings a handshake to an upstream, and the two sides together.
func (h *Handler) serveWebSocket(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler, who identity) error {
	id := live.NewID()
	replacerOf(r).Set("http.ws_gateway.connection", id)

	got, rf := h.connect(w, r, who.forwarded)
	if rf != nil {
		return h.refuse(w, r, handshake.Sound, rf)
	}
	if got.answer.Conn == nil {
		defer got.lease.Release()
		return h.passRefusal(w, r, next, got)
	}
	h.goLive(w, r, who, got, id)
	return nil
}

// goLive upgrades the client and lets the relay take over.
func (h *Handler) goLive(w http.ResponseWriter, r *http.Request, who identity, got *connected, id string) {
	var client upgrade.Side
	var c *live.Conn
	handedOver := false
	defer func() { // also where something on the way panics
		if !handedOver {
			h.giveUp(got, client, c)
		}
		if client.End != nil {
			client.End()
		}
	}()
	if res := got.answer.Res; who.forwarded.Reveals(res.Header[carrier.ProtocolField]) {
		delete(res.Header, carrier.ProtocolField) // the fallback stands for it
	}
	subprotocol := answerHeader(w, r, got.answer.Res, who.fallbackProtocol, h.responseOps)
	if h.Auth != nil && h.Auth.Renew != "" {
		w.Header().Set(connectionHeader, id)
	}
	var err error
	if client, err = upgrade.Take(w, r, h.writeTimeout()); err != nil {
		h.count(resultCanceled)
		h.logRefused(r, &refusal{0, resultCanceled, "upgrading the client: " + err.Error()})
		return // the 101 is written: there is no other answer any more
	}
	c = h.newConnection(r, who, got)
	c.ID, c.Subprotocol = id, strings.Clone(subprotocol)
	c.Relay = h.newRelay(client, got.answer)
	h.handshakesOK().Inc()
	h.live.Add(c)
	reportOpened(h.live.Reporter(h.name), c) // now that it can be found
	handedOver = true
	if client.Detached {
		c.Start()
		return
	}
	c.Run()
}

// giveUp closes what there is of a connection that the relay has not got: the
// client's side may be missing, and so may the connection itself.
func (h *Handler) giveUp(got *connected, client upgrade.Side, c *live.Conn) {
	defer got.lease.Release() // whatever panics of the rest
	if c != nil {
		defer h.live.Remove(c)
	}
	if client.Conn != nil {
		defer func() { _ = client.Conn.Close() }()
	}
	_ = got.answer.Conn.Close()
}

func (h *Handler) newRelay(client upgrade.Side, upstream *handshake.Answer) *relay.Relay {
	return relay.New(relay.Config{
		Client:            client.Conn,
		Upstream:          upstream.Conn,
		EarlyFromClient:   client.Early,
		EarlyFromUpstream: upstream.Early,
		WriteTimeout:      h.writeTimeout(),
		CloseTimeout:      closeTimeout,
	})
}

// newConnection describes a connection without holding on to the request or the
// configuration.
func (h *Handler) newConnection(r *http.Request, who identity, got *connected) *live.Conn {
	details := live.Details{
		Gateway:     h.name,
		UserID:      strings.Clone(userOf(r)),
		RemoteIP:    strings.Clone(clientIP(r)),
		Proto:       protoOf(r),
		Upstream:    got.address,
		OpenedAt:    time.Now(),
		DrainPeriod: h.drainPeriod(),
		EarlyClose:  h.earlyClose(),
		Lease:       got.lease,
	}
	if h.MaxAge != nil {
		details.TooOld = details.OpenedAt.Add(h.MaxAge.draw())
	}
	if server, ok := r.Context().Value(http3.ServerContextKey).(*http3.Server); ok {
		details.Server = server
	}
	return h.live.NewConn(details, got.member, authorityOf(who.grant))
}

// authorityOf is what a connection lives by that the grant, if any, let in.
func authorityOf(g *token.Grant) live.Authority {
	if g == nil {
		return live.Authority{}
	}
	return live.NewAuthority(g.JTI, g.Credential, g.Issuer, g.Expires)
}

func (h *Handler) earlyClose() live.EarlyClose {
	if h.EarlyCloseCount == 0 {
		return live.EarlyClose{}
	}
	return live.EarlyClose{
		Window:       orDefault(h.EarlyCloseWindow, defaultEarlyCloseWindow),
		FailDuration: time.Duration(h.Proxy.HealthChecks.Passive.FailDuration),
	}
}

// refuseUser turns an error of authentication into the answer.
func (h *Handler) refuseUser(w http.ResponseWriter, r *http.Request, err error) *refusal {
	if errors.Is(err, token.ErrUnavailable) {
		return unavailable(w, err.Error())
	}
	if !h.authenticator.tokens.IsEmpty() || w.Header().Get("WWW-Authenticate") == "" {
		w.Header().Add("WWW-Authenticate", token.Challenge(h.name, err))
	}
	if errors.Is(err, token.ErrInsufficient) {
		return &refusal{http.StatusForbidden, resultForbidden, err.Error()}
	}
	reason := err.Error()
	if errors.Is(err, errNoCredential) && isPreflight(r) {
		reason += ", which is a CORS preflight and never has one: cors_preflight in auth lets these pass"
	}
	return &refusal{http.StatusUnauthorized, resultUnauthorized, reason}
}

// passRefusal gives the client the upstream's own answer, by the way that any
// answer takes through reverse_proxy.
func (h *Handler) passRefusal(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler, got *connected) error {
	status := got.answer.Res.StatusCode
	h.count(resultRefused)
	h.logRefused(r, &refusal{status, resultRefused, "upstream " + got.address + " answered " + strconv.Itoa(status)})
	closeAfter(w, r)
	p := &proxied{refusedBy: got.upstream, refusal: got.answer.Res}
	defer got.answer.Res.Body.Close()
	plain := withProxied(r, p)
	plain.Body, plain.ContentLength = http.NoBody, 0 // a stream's body would be waited for
	defer func() { got.described.correct(replacerOf(r)) }()
	return h.Proxy.ServeHTTP(w, plain, next)
}

// refuse answers a request that is not served.
func (h *Handler) refuse(w http.ResponseWriter, r *http.Request, what handshake.Kind, rf *refusal) error {
	if what != handshake.Plain {
		closeAfter(w, r)
		handshake.Forget(r)
	}
	if what == handshake.Sound || what == handshake.Broken {
		h.count(rf.result)
	}
	if _, chosen := replacerOf(r).Get(upstreamPlaceholder); !chosen {
		setUpstreamPlaceholder(r, "")
	}
	h.logRefused(r, rf)
	switch rf.status {
	case http.StatusUpgradeRequired:
		w.Header().Set("Sec-WebSocket-Version", "13")
		if r.ProtoMajor == 1 { // RFC 9110 section 15.5.22; HTTP/2 and HTTP/3 know no Upgrade
			w.Header().Set("Upgrade", "websocket")
			w.Header().Add("Connection", "Upgrade")
		}
	case http.StatusMethodNotAllowed:
		w.Header().Set("Allow", http.MethodGet)
	case 499:
		w.WriteHeader(499)
		return nil
	}
	if rf.status >= 300 && rf.status < 400 {
		w.WriteHeader(rf.status)
		return nil
	}
	return caddyhttp.Error(rf.status, rf)
}

func (h *Handler) count(result string) { handshakesTotal.WithLabelValues(h.name, result).Inc() }
