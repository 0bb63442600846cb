package wsgateway

import (
	"net/http"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/wsgateway/caddy-ws-gateway/internal/carrier"
	"github.com/wsgateway/caddy-ws-gateway/internal/handshake"
	"github.com/wsgateway/caddy-ws-gateway/internal/live"
	"github.com/wsgateway/caddy-ws-gateway/internal/lull"
	"github.com/wsgateway/caddy-ws-gateway/internal/relay"
	"github.com/wsgateway/caddy-ws-gateway/internal/upgrade"
)

// ServeHTTP implements caddyhttp.MiddlewareHandler.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	since := time.Now()
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
	asked := h.newErrands()
	if what == handshake.Plain && h.authenticator != nil && h.Auth.Renew != "" && r.URL.Path == h.Auth.Renew {
		return h.serveRenewal(w, r)
	}
	asksForStream := what == handshake.Plain && h.streams.askedFor(r)
	if rf == nil && (what == handshake.Sound || asksForStream) {
		rf = h.letKnock(w, r, asked)
	}
	if rf == nil {
		who, rf = h.admitUser(w, r, what)
	}
	h.decorate(r) // also where it is refused: error routes may lead to an upstream
	if rf != nil {
		if over := h.overRate(w, r, asked); over != nil {
			rf = over
		}
		return h.refuse(w, r, what, since, rf)
	}
	if what == handshake.Plain {
		return h.servePlain(w, r, next, since, who, asked, asksForStream)
	}
	return h.serveWebSocket(w, r, next, since, who, asked)
}

// serveWebSocket brings a handshake, which came at since, to an upstream, and relays
// between the two sides.
func (h *Handler) serveWebSocket(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler, since time.Time, who identity, asked *errands) error {
	relay.GiveWay()
	id := live.NewID()
	replacerOf(r).Set(connectionPlaceholder, id)

	room := new(live.Room)
	if rf := h.takeSeatInto(&room.Seat, w, r, asked); rf != nil {
		return h.refuse(w, r, handshake.Sound, since, rf)
	}
	var got *connected
	handedOver := false
	defer func() { // also where something on the way panics
		if !handedOver {
			defer room.Seat.Release()
			got.letGo()
		}
	}()
	var rf *refusal
	if got, rf = h.connect(&room.Lease, w, r, who.forwarded, asked); rf != nil {
		return h.refuse(w, r, handshake.Sound, since, rf)
	}
	relay.GiveWay()
	got.since = since
	if got.answer.Conn == nil {
		return h.passRefusal(w, r, next, got)
	}
	if rf := h.tooLate(w, who); rf != nil {
		return h.refuse(w, r, handshake.Sound, since, rf)
	}
	dropRevealing(who, got)
	if rf := h.assemble(r, who, got, id); rf != nil {
		return h.refuse(w, r, handshake.Sound, since, rf)
	}
	handedOver = true
	got.seat = &room.Seat
	h.goLive(w, r, who, got, room, id)
	return nil
}

// dropRevealing removes the subprotocol that the upstream has chosen if that is the
// credential. The fallback stands for it.
func dropRevealing(who identity, got *connected) {
	if res := got.answer.Res; who.forwarded.Reveals(res.Header[carrier.ProtocolField]) {
		delete(res.Header, carrier.ProtocolField)
	}
}

// goLive upgrades the client and lets the relay take over.
func (h *Handler) goLive(w http.ResponseWriter, r *http.Request, who identity, got *connected, room *live.Room, id string) {
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
	reserved := handshake.ReservedBits(got.answer.Res.Header)
	subprotocol := answerHeader(w, r, got.answer.Res, who.fallbackProtocol, h.responseOps)
	if h.Auth != nil && h.Auth.Renew != "" {
		w.Header().Set(connectionHeader, id)
	}
	var err error
	if client, err = upgrade.Take(w, r, h.writeTimeout()); err != nil {
		h.note(r, got.since, resultCanceled, statusClientLeft)
		h.logRefused(r, notUpgraded(err))
		return // the 101 is written: there is no other answer any more
	}
	d := h.detail(r, id, place{lease: got.lease, seat: got.seat, address: got.address})
	made := room.NewConn(h.live, d, got.member, who.authority())
	between := h.newRelay(client, got, reserved)
	made.Protocol, made.Subprotocol, made.Link = live.ProtocolWebSocket, strings.Clone(subprotocol), between
	if got.assembled != nil {
		made.AtEnd = got.assembled.Finish
	}
	h.note(r, got.since, resultOK, http.StatusSwitchingProtocols)
	c = made // from here on its end counts
	h.live.Add(c)
	lull.Opened()
	reportOpened(h.live.Reporter(h.name), c) // after Add, so that the admin API finds the connection
	handedOver = true
	if client.Detached {
		between.Start(c.Finish)
		return
	}
	endTrace(r, http.StatusOK)
	c.Finish(between.Run())
}

// giveUp closes a connection that the relay has not taken over, as far as it came
// about: the client's side may be missing, and c is nil where the handshake was not
// counted as one that led to a connection.
func (h *Handler) giveUp(got *connected, client upgrade.Side, c *live.Conn) {
	defer got.seat.Release() // even if the rest panics, as in the next line
	defer got.lease.Release()
	if c != nil {
		defer c.Finish(relay.Outcome{By: relay.Gateway, Code: 1011, Reason: "internal error"})
	} else {
		defer got.finishAssembly()
	}
	if client.Conn != nil {
		defer func() { _ = client.Conn.Close() }()
	}
	_ = got.answer.Conn.Close()
}

// newRelay makes the relay between two sides that have agreed on extensions which use
// the reserved bits.
func (h *Handler) newRelay(client upgrade.Side, got *connected, reserved byte) *relay.Relay {
	made := relay.New(relay.Config{
		Client:            client.Conn,
		Upstream:          got.answer.Conn,
		EarlyFromClient:   client.Early,
		EarlyFromUpstream: got.answer.Early,
		WriteTimeout:      h.writeTimeout(),
		CloseTimeout:      closeTimeout,
		Policy:            h.relayPolicy,
		ReservedBits:      reserved,
		Assembled:         got.assembled != nil,
	})
	got.bind(made)
	return made
}
