package wsgateway

import (
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/wsgateway/caddy-ws-gateway/internal/live"
)

// maxReason is what fits into a close frame (RFC 6455, section 5.5).
const maxReason = 123

// endConnections answers DELETE for one connection, or for those that a filter chooses
// where the ID is empty.
func endConnections(set *live.Set, id string, w http.ResponseWriter, r *http.Request) error {
	query, err := parametersOf(r.URL)
	if err != nil {
		return adminError(http.StatusBadRequest, "%w", err)
	}
	how, err := endingOf(query)
	if err != nil {
		return err
	}
	which, err := chosenBy(id, query, r.URL, set.Ledger.Addresses)
	if err != nil {
		return err
	}
	ended := set.EndMatching(how, which)
	if ended == 0 && id != "" {
		return adminError(http.StatusNotFound, "there is no such connection")
	}
	return answerJSON(w, map[string]int{"ended": ended})
}

// chosenBy returns the choice of connections that the request asks for. known lists the
// addresses of the upstreams.
func chosenBy(id string, query url.Values, u *url.URL, known func() []string) (live.Filter, error) {
	if id != "" {
		return live.Filter{ID: id}, allowParameters(u, "code", "reason")
	}
	filter, n, err := filterOf(query, known, "code", "reason")
	if err == nil && n == 0 {
		err = adminError(http.StatusBadRequest, "say which connections: %s", strings.Join(filterNames, ", "))
	}
	return filter, err
}

// endingOf is the end that the request asks for. Default: that of a revocation.
func endingOf(query url.Values) (live.Ending, error) {
	how := live.EndRevoked
	if text := query.Get("code"); query.Has("code") {
		code, err := strconv.Atoi(text)
		if err != nil || !mayClose(code) {
			return how, adminError(http.StatusBadRequest,
				"code %q cannot be sent: use 1000, 1001, 1008, 1011 to 1013, or 3000 to 4999", text)
		}
		how.Client.Code, how.Client.Reason = code, ""
	}
	if query.Has("reason") {
		how.Client.Reason = query.Get("reason")
		if len(how.Client.Reason) > maxReason || !utf8.ValidString(how.Client.Reason) {
			return how, adminError(http.StatusBadRequest, "reason must be UTF-8 and have at most %d bytes", maxReason)
		}
	}
	return how, nil
}

// mayClose reports whether a gateway has reason to send the code.
func mayClose(code int) bool {
	return code == 1000 || code == 1001 || code == 1008 || code >= 1011 && code <= 1013 || code >= 3000 && code <= 4999
}
