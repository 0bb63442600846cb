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

// statusClientLeft is the status of a request whose client has left: nginx made it
// up, and Caddy uses it.
const statusClientLeft = 499

// retryAfter is what a client is told to wait when no upstream is left, in seconds.
const retryAfter = "5"

func badHandshake(status int, reason string) *refusal {
	return &refusal{status, resultBadRequest, reason}
}

// faulty is the refusal of a request that has a fault; nil without a fault.
func faulty(fault handshake.Fault) *refusal {
	if fault.Status == 0 {
		return nil
	}
	return badHandshake(fault.Status, fault.Reason)
}

func unauthorized(reason string) *refusal {
	return &refusal{http.StatusUnauthorized, resultUnauthorized, reason}
}

// loginElsewhere passes on the status with which an authentication provider sends
// the client to another place to log in.
func loginElsewhere(status int) *refusal {
	return &refusal{status, resultUnauthorized, "an authentication provider sends the client elsewhere"}
}

func forbidden(reason string) *refusal {
	return &refusal{http.StatusForbidden, resultForbidden, reason}
}

// hidden is a refusal with 404, where a stranger must not learn that the connection
// exists.
func hidden(reason string) *refusal {
	return &refusal{http.StatusNotFound, resultForbidden, reason}
}

// refusedUpstream passes on the status of an upstream.
func refusedUpstream(status int, reason string) *refusal {
	return &refusal{status, resultRefused, reason}
}

func badGateway(reason string) *refusal {
	return &refusal{http.StatusBadGateway, resultUpstreamError, reason}
}

func gatewayTimeout(reason string) *refusal {
	return &refusal{http.StatusGatewayTimeout, resultUpstreamError, reason}
}

// unavailable also tells the client when to come again.
func unavailable(w http.ResponseWriter, reason string) *refusal {
	w.Header().Set("Retry-After", retryAfter)
	return &refusal{http.StatusServiceUnavailable, resultUnavailable, reason}
}

func clientLeft() *refusal {
	return &refusal{statusClientLeft, resultCanceled, "the client left"}
}

// notUpgraded is a refusal for the log alone: the answer has gone out by then.
func notUpgraded(err error) *refusal {
	return &refusal{0, resultCanceled, "upgrading the client: " + err.Error()}
}

// closeAfter makes the server close an HTTP/1.1 connection after a handshake
// that failed: what the client sent behind it are frames, not a request.
func closeAfter(w http.ResponseWriter, r *http.Request) {
	if r.ProtoMajor == 1 {
		w.Header().Set("Connection", "close")
	}
}
