package wsgateway

import (
	"cmp"
	"net/http"
	"strconv"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/wsgateway/caddy-ws-gateway/internal/handshake"
	"github.com/wsgateway/caddy-ws-gateway/internal/live"
)

// refuse answers a request that is not served, and that came at since.
func (h *Handler) refuse(w http.ResponseWriter, r *http.Request, what handshake.Kind, since time.Time, rf *refusal) error {
	if what != handshake.Plain {
		closeAfter(w, r)
		handshake.Forget(r)
	}
	if what == handshake.Sound || what == handshake.Broken {
		h.note(r, since, rf.result, rf.status)
	}
	if rf.limit != "" {
		countLimited(h.name, rf.limit)
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
	case statusClientLeft:
		w.WriteHeader(statusClientLeft)
		return nil
	}
	if rf.status >= 300 && rf.status < 400 {
		w.WriteHeader(rf.status)
		return nil
	}
	return caddyhttp.Error(rf.status, rf)
}

// note counts a handshake that is over and came at since, and describes it in its span.
func (h *Handler) note(r *http.Request, since time.Time, result string, status int) {
	countHandshake(h.name, result, time.Since(since))
	h.live.CountHandshake(h.name, result)
	traceHandshake(r, h.name, result, status)
}

func (h *Handler) logRefused(r *http.Request, rf *refusal) {
	h.live.NoteRefused(h.name, live.Refused{
		Status: rf.status, Result: rf.result, Reason: rf.reason, RemoteIP: clientIP(r), User: cmp.Or(rf.userID, userOf(r)),
	})
	reportRefused(h.logger, h.name, r, rf)
}

// passRefusal gives the client the upstream's own answer, by the way that any
// answer takes through reverse_proxy.
func (h *Handler) passRefusal(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler, got *connected) error {
	status := got.answer.Res.StatusCode
	h.note(r, got.since, resultRefused, status)
	h.logRefused(r, refusedUpstream(status, "upstream "+got.address+" answered "+strconv.Itoa(status)))
	closeAfter(w, r)
	p := &proxied{refusedBy: got.upstream, refusal: got.answer.Res}
	defer got.answer.Res.Body.Close()
	plain := withProxied(r, p)
	plain.Body, plain.ContentLength = http.NoBody, 0 // a stream's body would be waited for
	defer func() { got.described.correct(replacerOf(r)) }()
	return h.Proxy.ServeHTTP(w, plain, next)
}
