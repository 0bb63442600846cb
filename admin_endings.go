package wsgateway

import (
	"encoding/json"
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
func endConnections(set *live.Set, node *fleetNode, id string, w http.ResponseWriter, r *http.Request) error {
	query, err := parametersOf(r.URL)
	if err != nil {
		return adminError(http.StatusBadRequest, "%w", err)
	}
	everywhere, err := takeFleet(query)
	if err != nil {
		return err
	}
	which, err := readEnds(id, query, set.Ledger.Addresses)
	if err != nil {
		return err
	}
	ended := which.end(set)
	if everywhere {
		ended += endElsewhere(node, w, r, id, query)
	}
	if ended == 0 && id != "" {
		return adminError(http.StatusNotFound, "there is no such connection")
	}
	return answerJSON(w, map[string]int{"ended": ended})
}

// ends is which connections are to be ended, and how.
type ends struct {
	how   live.Ending
	which live.Filter
}

// end ends them, and returns how many were not ending already.
func (e *ends) end(set *live.Set) int { return set.EndMatching(e.how, e.which) }

// readEnds reads what a request asks for. known lists the addresses of the upstreams.
func readEnds(id string, query url.Values, known func() []string) (*ends, error) {
	how, err := endingOf(query)
	if err != nil {
		return nil, err
	}
	which, err := chosenBy(id, query, known)
	if err != nil {
		return nil, err
	}
	return &ends{how, which}, nil
}

// chosenBy returns the choice of connections that the request asks for. known lists the
// addresses of the upstreams.
func chosenBy(id string, query url.Values, known func() []string) (live.Filter, error) {
	if id != "" {
		return live.Filter{ID: id}, allowNames(query, "code", "fleet", "reason")
	}
	filter, n, err := filterOf(query, known, "code", "fleet", "reason")
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

// endElsewhere ends connections of the other nodes, and returns how many those say there
// were.
func endElsewhere(node *fleetNode, w http.ResponseWriter, r *http.Request, id string, query url.Values) (ended int) {
	if id != "" {
		query.Set(endedID, id)
	}
	for _, answer := range askOthers(node, w, r, askEnd, query) {
		var n int
		if json.Unmarshal(answer.said, &n) == nil {
			ended += n
		}
	}
	return ended
}
