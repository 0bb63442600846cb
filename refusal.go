package wsgateway

import (
	"net/http"

	"github.com/wsgateway/caddy-ws-gateway/internal/handshake"
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

// faulty is the refusal of a request that has a fault; nil for one that has none.
func faulty(fault handshake.Fault) *refusal {
	if fault.Status == 0 {
		return nil
	}
	return badHandshake(fault.Status, fault.Reason)
}

// retryAfter is what a client is told to wait when no upstream is left.
const retryAfter = "5"

func unavailable(w http.ResponseWriter, reason string) *refusal {
	w.Header().Set("Retry-After", retryAfter)
	return &refusal{http.StatusServiceUnavailable, resultUnavailable, reason}
}

// closeAfter makes the server close an HTTP/1.1 connection after a handshake
// that failed: what the client sent behind it are frames, not a request.
func closeAfter(w http.ResponseWriter, r *http.Request) {
	if r.ProtoMajor == 1 {
		w.Header().Set("Connection", "close")
	}
}
