package wsgateway

import (
	"net/http"
	"time"

	"github.com/wsgateway/caddy-ws-gateway/internal/handshake"
	"github.com/wsgateway/caddy-ws-gateway/internal/live"
	"github.com/wsgateway/caddy-ws-gateway/internal/token"
)

// connectionHeader tells a client the ID of its connection.
const connectionHeader = "Ws-Gateway-Connection"

// serveRenewal moves the end of a connection to that of the token in r.
func (h *Handler) serveRenewal(w http.ResponseWriter, r *http.Request) error {
	if r.Method != http.MethodPost {
		h.decorate(r) // error routes may lead to an upstream
		w.Header().Set("Allow", http.MethodPost)
		return h.refuse(w, r, handshake.Plain, time.Time{}, badHandshake(http.StatusMethodNotAllowed, "a connection is renewed by POST"))
	}
	id := r.URL.Query().Get("connection")
	who, rf := h.admitUser(w, r, handshake.Plain)
	h.decorate(r)
	if rf == nil && who.anonymous {
		w.Header().Add("WWW-Authenticate", token.Challenge(h.name, errNoCredential))
		rf = unauthorized(errNoCredential.Error())
	}
	if rf == nil {
		rf = h.renew(w, id, who.grant)
	}
	if rf == nil {
		w.WriteHeader(http.StatusNoContent)
		return nil
	}
	return h.refuse(w, r, handshake.Plain, time.Time{}, rf)
}

func (h *Handler) renew(w http.ResponseWriter, id string, by *token.Grant) *refusal {
	outcome := h.live.Renew(h.name, id, by.UserID, authorityOf(by), h.credentials.Lead)
	if outcome == live.RenewalRevoked {
		return h.refuseRevoked(w, by.UserID)
	}
	return renewalRefusal(outcome)
}

// renewalRefusal is the answer where a connection was not renewed. A client learns
// nothing of connections whose upstream its credential does not lead to.
func renewalRefusal(outcome live.Renewal) *refusal {
	switch outcome {
	case live.Renewed:
		return nil
	case live.RenewalElsewhere:
		return hidden("the credential does not lead to the upstream of the connection to renew")
	case live.RenewalOtherUser:
		return forbidden("the connection to renew is another user's, or its user was found in another way")
	case live.RenewalWithoutAnEnd:
		return forbidden("the connection to renew has an end, and the credential has none")
	default:
		return hidden("there is no such connection to renew")
	}
}
