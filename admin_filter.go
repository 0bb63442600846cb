package wsgateway

import (
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"

	"github.com/wsgateway/caddy-ws-gateway/internal/dial"
	"github.com/wsgateway/caddy-ws-gateway/internal/live"
)

// filterNames are the parameters that choose connections.
var filterNames = []string{"gateway", "ip", "jti", "older_than", "protocol", "upstream", "user"}

// filterOf reads the parameters that choose connections, and counts them. known lists the
// addresses of the upstreams; others are the parameters that are allowed beside.
func filterOf(query url.Values, known func() []string, others ...string) (f live.Filter, n int, err error) {
	for name, values := range query {
		switch {
		case slices.Contains(others, name):
			continue
		case !slices.Contains(filterNames, name):
			allowed := slices.Sorted(slices.Values(slices.Concat(filterNames, others)))
			return f, n, adminError(http.StatusBadRequest, "unknown parameter %q: allowed are %s", name, strings.Join(allowed, ", "))
		case values[0] == "":
			return f, n, adminError(http.StatusBadRequest, "%s must be given once, and not be empty", name)
		}
		if err := setFilter(&f, name, values[0], known); err != nil {
			return f, n, err
		}
		n++
	}
	return f, n, nil
}

func setFilter(f *live.Filter, name, value string, known func() []string) error {
	switch name {
	case "gateway":
		f.Gateway = value
	case "ip":
		if f.IP = strings.Trim(value, "[]"); f.IP == "" { // which would choose every connection
			return adminError(http.StatusBadRequest, "ip %q must be an address, such as 192.0.2.1 or [2001:db8::1]", value)
		}
	case "jti":
		f.JTI = value
	case "older_than":
		age, err := caddy.ParseDuration(value)
		if err != nil || age <= 0 {
			return adminError(http.StatusBadRequest, "older_than %q must be a duration of more than 0, such as 90s or 1d", value)
		}
		f.OlderThan = age
	case "protocol":
		f.Protocol = value
	case "upstream":
		f.Upstream = upstreamNamed(value, known)
	case "user":
		f.User = value
	}
	return nil
}

// upstreamNamed spells the address of an upstream in the way in which connections have it.
func upstreamNamed(written string, known func() []string) string {
	if address, ok := knownAddress(written, known()); ok {
		return address
	}
	return dial.Canonical(written)
}
