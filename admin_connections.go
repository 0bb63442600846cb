package wsgateway

import (
	"encoding/json"
	"maps"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/caddyserver/caddy/v2"

	"github.com/wsgateway/caddy-ws-gateway/internal/dial"
	"github.com/wsgateway/caddy-ws-gateway/internal/live"
)

const connectionsPath = "/ws_gateway/connections"

// maxReason is what fits into a close frame (RFC 6455, section 5.5).
const maxReason = 123

// connectionFilters are the parameters that choose connections. They are called
// under the set's lock.
var connectionFilters = map[string]func(*live.Conn) string{
	"gateway":  func(c *live.Conn) string { return c.Gateway },
	"upstream": func(c *live.Conn) string { return c.Upstream },
	"user":     func(c *live.Conn) string { return c.UserID },
	"jti":      (*live.Conn).JTILocked,
	"ip":       func(c *live.Conn) string { return canonicalIP(c.RemoteIP) },
}

// adminConnections serves connectionsPath and what is below it.
//
//	DELETE /ws_gateway/connections/{id}?code=&reason=
//	DELETE /ws_gateway/connections?user=&jti=&gateway=&upstream=&ip=&code=&reason=
func adminConnections(set *live.Set) caddy.AdminHandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) error {
		if r.Method != http.MethodDelete {
			w.Header().Set("Allow", http.MethodDelete)
			return adminMethodError(r, http.MethodDelete)
		}
		query, err := parametersOf(r.URL)
		if err != nil {
			return adminError(http.StatusBadRequest, "%w", err)
		}
		how, err := endingOf(query)
		if err != nil {
			return err
		}
		id := strings.TrimPrefix(strings.TrimPrefix(r.URL.Path, connectionsPath), "/")
		match, err := matchOf(id, query, set.Ledger.Addresses)
		if err != nil {
			return err
		}
		ended := set.End(how, match)
		if ended == 0 && id != "" {
			return adminError(http.StatusNotFound, "there is no such connection")
		}
		w.Header().Set("Content-Type", "application/json")
		return json.NewEncoder(w).Encode(map[string]int{"ended": ended})
	}
}

// matchOf returns the choice of connections that the request asks for. known lists
// the addresses of the upstreams.
func matchOf(id string, query url.Values, known func() []string) (func(*live.Conn) bool, error) {
	filters := make(map[string]string)
	for name, values := range query {
		_, isFilter := connectionFilters[name]
		switch {
		case name == "code" || name == "reason":
			continue
		case !isFilter || id != "":
			return nil, adminError(http.StatusBadRequest, "unknown parameter %q: allowed are %s", name, allowedParameters(id))
		case values[0] == "":
			return nil, adminError(http.StatusBadRequest, "%s must be given once, and not be empty", name)
		}
		filters[name] = filterValue(name, values[0], known)
	}
	if id != "" {
		return func(c *live.Conn) bool { return c.ID == id }, nil
	}
	if len(filters) == 0 {
		return nil, adminError(http.StatusBadRequest, "say which connections: %s", strings.Join(slices.Sorted(maps.Keys(connectionFilters)), ", "))
	}
	return func(c *live.Conn) bool {
		for name, value := range filters {
			if connectionFilters[name](c) != value {
				return false
			}
		}
		return true
	}, nil
}

// filterValue spells the value of a filter in the way in which connections have it.
func filterValue(name, written string, known func() []string) string {
	switch name {
	case "upstream":
		if address, ok := knownAddress(written, known()); ok {
			return address
		}
		return dial.Canonical(written)
	case "ip":
		return canonicalIP(strings.Trim(written, "[]"))
	}
	return written
}

// canonicalIP spells an IP address in one way, and leaves any other text as it is.
func canonicalIP(written string) string {
	ip, err := netip.ParseAddr(written)
	if err != nil {
		return written
	}
	return ip.Unmap().String()
}

func allowedParameters(id string) string {
	names := []string{"code", "reason"}
	if id == "" {
		names = append(names, slices.Sorted(maps.Keys(connectionFilters))...)
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
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
