package wsgateway

import (
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/wsgateway/caddy-ws-gateway/internal/handshake"
	"github.com/wsgateway/caddy-ws-gateway/internal/token"
)

// The results of a handshake, as in the metric and in logs.
const (
	resultOK            = "ok"
	resultUnauthorized  = "unauthorized"
	resultForbidden     = "forbidden"
	resultLimited       = "limited"
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
	limit  string // the configuration's word for what was met; "" for none
	userID string // whom the request would have let in; "" for the user of the request
}

// Error implements error.
func (rf *refusal) Error() string { return rf.reason }

// asRefusal is the refusal that an error is; nil for another.
func asRefusal(err error) *refusal {
	rf, _ := errors.AsType[*refusal](err)
	return rf
}

// statusClientLeft is the status of a request whose client has left: nginx made it
// up, and Caddy uses it.
const statusClientLeft = 499

// retryAfter is what a client is told to wait where nobody knows how long it takes until
// there is room, in seconds.
const retryAfter = "5"

func badHandshake(status int, reason string) *refusal {
	return &refusal{status: status, result: resultBadRequest, reason: reason}
}

// faulty is the refusal of a request that has a fault; nil without a fault.
func faulty(fault handshake.Fault) *refusal {
	if fault.Status == 0 {
		return nil
	}
	return badHandshake(fault.Status, fault.Reason)
}

func revoked(err *token.RevokedError) *refusal {
	rf := unauthorized(err.Error())
	rf.userID = err.UserID
	return rf
}

func unauthorized(reason string) *refusal {
	return &refusal{status: http.StatusUnauthorized, result: resultUnauthorized, reason: reason}
}

// loginElsewhere passes on the status with which an authentication provider sends
// the client to another place to log in.
func loginElsewhere(status int) *refusal {
	return &refusal{status: status, result: resultUnauthorized, reason: "an authentication provider sends the client elsewhere"}
}

func forbidden(reason string) *refusal {
	return &refusal{status: http.StatusForbidden, result: resultForbidden, reason: reason}
}

// hidden is a refusal with 404, where a stranger must not learn that the connection
// exists.
func hidden(reason string) *refusal {
	return &refusal{status: http.StatusNotFound, result: resultForbidden, reason: reason}
}

// refusedUpstream passes on the status of an upstream.
func refusedUpstream(status int, reason string) *refusal {
	return &refusal{status: status, result: resultRefused, reason: reason}
}

func badGateway(reason string) *refusal {
	return &refusal{status: http.StatusBadGateway, result: resultUpstreamError, reason: reason}
}

func gatewayTimeout(reason string) *refusal {
	return &refusal{status: http.StatusGatewayTimeout, result: resultUpstreamError, reason: reason}
}

// unavailable also tells the client when to come again.
func unavailable(w http.ResponseWriter, reason string) *refusal {
	w.Header().Set("Retry-After", retryAfter)
	return &refusal{status: http.StatusServiceUnavailable, result: resultUnavailable, reason: reason}
}

// draining also tells the client to come again once the node is replaced, which takes
// the period.
func draining(w http.ResponseWriter, period time.Duration) *refusal {
	w.Header().Set("Retry-After", wholeSeconds(max(period, time.Second)))
	return &refusal{status: http.StatusServiceUnavailable, result: resultUnavailable, reason: "the node is draining"}
}

// limited is for a handshake of a client that has all that the limit allows it. It also
// tells the client when to come again: in so long, or 0 where nobody knows.
func limited(w http.ResponseWriter, limit, reason string, wait time.Duration) *refusal {
	w.Header().Set("Retry-After", retryAfter)
	if wait > 0 {
		w.Header().Set("Retry-After", wholeSeconds(wait))
	}
	return &refusal{status: http.StatusTooManyRequests, result: resultLimited, reason: reason, limit: limit}
}

// wholeSeconds is a time as Retry-After has it, rounded up.
func wholeSeconds(d time.Duration) string {
	seconds := d / time.Second
	if d%time.Second > 0 {
		seconds++
	}
	return strconv.FormatInt(int64(seconds), 10)
}

// full is for a handshake that there is no room for, whoever made it.
func full(w http.ResponseWriter, limit, reason string) *refusal {
	w.Header().Set("Retry-After", retryAfter)
	return &refusal{status: http.StatusServiceUnavailable, result: resultLimited, reason: reason, limit: limit}
}

func clientLeft() *refusal {
	return &refusal{status: statusClientLeft, result: resultCanceled, reason: "the client left"}
}

// notUpgraded is a refusal for the log alone: the answer has gone out by then.
func notUpgraded(err error) *refusal {
	return &refusal{status: 0, result: resultCanceled, reason: "upgrading the client: " + err.Error()}
}

// closeAfter makes the server close an HTTP/1.1 connection after a handshake
// that failed: what the client sent behind it are frames, not a request.
func closeAfter(w http.ResponseWriter, r *http.Request) {
	if r.ProtoMajor == 1 {
		w.Header().Set("Connection", "close")
	}
}
