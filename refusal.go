package wsgateway

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
