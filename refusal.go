package wsgateway

import (
	"net/http"
)

// The results of a handshake, as in the metric and in logs.
const (
	resultOK            = "ok"
	resultUnauthorized  = "unauthorized"
	resultForbidden     = "forbidden"
	resultBadRequest    = "bad_request"
	resultRefused       = "refused"
	resultUnavailable   = "unavailable"
	resultUpstreamError = "upstream_error"
	resultCanceled      = "canceled"
)

// refusal is why a request is not served. Its reason goes to the log and must
// not hold a secret.
type refusal struct {
	status int
	result string
	reason string
}

// Error implements error.
func (rf *refusal) Error() string { return rf.reason }

func badHandshake(status int, reason string) *refusal {
	return &refusal{status: status, result: resultBadRequest, reason: reason}
}

// retryAfter is what a client is told to wait when no upstream is left.
const retryAfter = "5"

func unavailable(w http.ResponseWriter, reason string) *refusal {
	w.Header().Set("Retry-After", retryAfter)
	return &refusal{http.StatusServiceUnavailable, resultUnavailable, reason}
}

// forgetHandshake makes a plain request of a handshake that is refused, for error
// routes may lead to a proxy that would upgrade it.
func forgetHandshake(r *http.Request) {
	removeHopByHop(r.Header)
	for _, name := range []string{"Sec-Websocket-Protocol", "Sec-Websocket-Extensions"} {
		delete(r.Header, name)
	}
	if r.ProtoMajor == 3 {
		r.Proto = "HTTP/3.0"
	}
}

// closeAfter makes the server close an HTTP/1.1 connection after a handshake
// that failed: what the client sent behind it are frames, not a request.
func closeAfter(w http.ResponseWriter, r *http.Request) {
	if r.ProtoMajor == 1 {
		w.Header().Set("Connection", "close")
	}
}
