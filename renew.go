package wsgateway

import (
	"net/http"
)

// connectionHeader tells a client the ID of its connection.
const connectionHeader = "Ws-Gateway-Connection"

// serveRenewal moves the end of a connection to that of the token in r.
func (h *Handler) serveRenewal(w http.ResponseWriter, r *http.Request) error {
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		return h.refuse(w, r, plainRequest, badHandshake(http.StatusMethodNotAllowed, "a connection is renewed by POST"))
	}
	id := r.URL.Query().Get("connection")
	who, rf := h.admitUser(w, r, plainRequest)
	h.decorate(r)
	if rf == nil && who.anonymous {
		w.Header().Add("WWW-Authenticate", h.authenticator.challenge(h.name, errNoCredential))
		rf = &refusal{http.StatusUnauthorized, resultUnauthorized, errNoCredential.Error()}
	}
	if rf == nil {
		switch process.renew(h.name, id, who.grant) {
		case renewed:
			w.WriteHeader(http.StatusNoContent)
			return nil
		case renewalOtherUser:
			rf = &refusal{http.StatusForbidden, resultForbidden, "the connection to renew is another user's"}
		default:
			rf = &refusal{http.StatusNotFound, resultForbidden, "there is no such connection to renew"}
		}
	}
	return h.refuse(w, r, plainRequest, rf)
}
