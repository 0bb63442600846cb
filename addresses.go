package wsgateway

import (
	"net"
	"net/http"
	"net/url"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/wsgateway/caddy-ws-gateway/internal/dial"
)

// addressOf is what the upstream is known by to the process.
func addressOf(up *reverseproxy.Upstream, r *http.Request) string {
	return dial.Canonical(dialAddress(up, r))
}

// dialAddress is the upstream's address with the request's placeholders
// filled in.
func dialAddress(up *reverseproxy.Upstream, r *http.Request) string {
	if r == nil || !hasPlaceholder(up.Dial) {
		return up.Dial
	}
	repl, ok := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
	if !ok {
		return up.Dial
	}
	return repl.ReplaceAll(up.Dial, "")
}

// dialInfosOf prepares what dial.Info says of upstreams without placeholders.
func dialInfosOf(pool reverseproxy.UpstreamPool) map[string]*reverseproxy.DialInfo {
	infos := make(map[string]*reverseproxy.DialInfo, len(pool))
	for _, up := range pool {
		if info, err := dial.Info(up, up.Dial); err == nil && !hasPlaceholder(up.Dial) {
			infos[dial.Canonical(up.Dial)] = &info
		}
	}
	return infos
}

// canonicalURL spells the URL of a service in one way (RFC 9110 section 4.2.3). What
// is no URL is left as it is.
func canonicalURL(address string) string {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" {
		return address
	}
	host, port := strings.ToLower(u.Hostname()), u.Port()
	if u.Scheme == "http" && port == "80" || u.Scheme == "https" && port == "443" {
		port = ""
	}
	switch {
	case port != "":
		u.Host = net.JoinHostPort(host, port)
	case strings.Contains(host, ":"):
		u.Host = "[" + host + "]"
	default:
		u.Host = host
	}
	if u.Path == "" {
		u.Path = "/"
	}
	u.Fragment, u.RawFragment = "", ""
	return u.String()
}
