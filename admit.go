package wsgateway

import (
	"cmp"
	"errors"
	"net/http"

	"github.com/wsgateway/caddy-ws-gateway/internal/carrier"
	"github.com/wsgateway/caddy-ws-gateway/internal/handshake"
	"github.com/wsgateway/caddy-ws-gateway/internal/token"
)

// admitUser finds the user of a request, and checks the origin of the page that the
// request comes from.
func (h *Handler) admitUser(w http.ResponseWriter, r *http.Request, what handshake.Kind) (identity, *refusal) {
	var who identity
	inFront := userOf(r) != "" || r.TLS != nil && len(r.TLS.PeerCertificates) > 0
	var rf *refusal
	if h.authenticator != nil {
		if who, rf = h.identify(w, r); rf != nil {
			return who, rf
		}
		setUser(r, who)
	} else if who, rf = h.identifyInFront(w, r); rf != nil {
		return who, rf
	}
	// A credential that another handler or module verified may be a cookie or not:
	// origins are compared, but a handshake without an Origin, which no browser
	// sends, may pass.
	ambient, strict := who.ambient, what == handshake.Sound && who.provided == nil
	if inFront && (h.authenticator == nil || who.anonymous) {
		ambient, strict = true, false
	}
	if self := h.forwarder.pageOrigin(r); !h.originPolicy.Allow(r, self, ambient, strict) {
		return who, forbidden(h.originPolicy.Explain(r, self))
	}
	if what == handshake.Sound && who.offersNothingElse {
		return who, badHandshake(http.StatusBadRequest, onlyTokenOffered)
	}
	return who, nil
}

// isRevoked reports whether an operator has revoked, for this gateway, what lets a user in.
func (h *Handler) isRevoked(g *token.Grant) bool {
	return h.live.Revocations.Find(credentialOf(h.name, g)) != nil
}

// identifyInFront finds the user of a request to a gateway without auth, where a handler in front has
// found one, or a good token that names nobody: who has been revoked is refused here as
// well.
func (h *Handler) identifyInFront(w http.ResponseWriter, r *http.Request) (identity, *refusal) {
	user := userOf(r)
	if user == "" && takeGrant(r) == nil {
		return identity{}, nil
	}
	grant := &newProvided(r, user, inheritCredential).Grant
	if h.isRevoked(grant) {
		return identity{}, h.refuseRevoked(w, user)
	}
	return identity{inFront: grant}, nil
}

func (h *Handler) refuseRevoked(w http.ResponseWriter, userID string) *refusal {
	err := &token.RevokedError{UserID: userID}
	w.Header().Set("WWW-Authenticate", token.Challenge(h.name, err))
	return revoked(err)
}

// tooLate refuses a handshake that an upstream has answered where it would not be let in
// any more: it may have waited for long.
func (h *Handler) tooLate(w http.ResponseWriter, who identity) *refusal {
	if rf := h.turnAway(w); rf != nil {
		return rf
	}
	if grant := cmp.Or(who.grant, who.inFront); grant != nil && h.isRevoked(grant) {
		return h.refuseRevoked(w, grant.UserID)
	}
	return nil
}

const onlyTokenOffered = "no subprotocol but the token is offered, and a browser takes no answer that selects none: " +
	"offer the marker and the token as two, or another subprotocol beside them"

// identify finds the user of a request, by its token, by a handler in front or by an
// authentication provider.
func (h *Handler) identify(w http.ResponseWriter, r *http.Request) (identity, *refusal) {
	a := h.authenticator
	who, err := a.authenticate(r)
	absent := who.anonymous || errors.Is(err, errNoCredential) // no carrier holds a token
	unknown := isOthers(err)
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
	if err := a.refusedAsRevoked(r, found); err != nil {
		return who, h.refuseUser(w, r, err)
	}
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
		return who, loginElsewhere(redirect)
	}
	return who, h.refuseUser(w, r, err)
}

// isOthers reports whether another handler or module may know a token that was refused.
// None is to take what an operator has revoked.
func isOthers(err error) bool {
	_, isRevoked := errors.AsType[*token.RevokedError](err)
	return errors.Is(err, token.ErrBadCredential) && !isRevoked
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
		return forbidden(err.Error())
	}
	if err, ok := errors.AsType[*token.RevokedError](err); ok {
		return revoked(err)
	}
	reason := err.Error()
	if errors.Is(err, errNoCredential) && isPreflight(r) {
		reason += ", which is a CORS preflight and never has one: cors_preflight in auth lets these pass"
	}
	return unauthorized(reason)
}

// setUser sets the placeholders of the user, in place of those that a handler in
// front may have set, unless the user is inherited.
func setUser(r *http.Request, who identity) {
	repl := replacerOf(r)
	if who.provided != nil && who.provided.inherited {
		return
	}
	repl.DeleteByPrefix("http.auth.user.")
	if who.grant == nil {
		return
	}
	set := func(name, value string) { repl.Set("http.auth.user."+name, value) }
	who.grant.EachClaim(set)
	if who.provided != nil {
		for name, value := range who.provided.metadata {
			if !token.HasControlChars(value) {
				set(name, value)
			}
		}
	}
	repl.Set("http.auth.user.id", who.userID) // whatever a claim of that name says
}

// decorate removes from the request what must not go further. What is added for an
// upstream is added once the upstream is chosen.
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
	if a.carriers.InURI() {
		stripOriginal(a, r)
	}
}

// stripOriginal strips the original of a request, which has no header.
func stripOriginal(a *authenticator, r *http.Request) {
	or, ok := originalOf(r)
	if !ok {
		return
	}
	before := or.RequestURI
	stripInPlace(a, &or)
	if or.RequestURI != before {
		replacerOf(r).Set("http.request.orig_uri", or.RequestURI)
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
