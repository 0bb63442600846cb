package dial

import (
	"net/http"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
)

// Address is the canonical address of an upstream, with the request's placeholders
// filled in.
func Address(up *reverseproxy.Upstream, r *http.Request) string {
	return Canonical(Written(up, r))
}

// Written is the address of an upstream as its configuration writes it, with the
// request's placeholders filled in.
func Written(up *reverseproxy.Upstream, r *http.Request) string {
	if r == nil || !strings.Contains(up.Dial, "{") {
		return up.Dial
	}
	repl, ok := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
	if !ok {
		return up.Dial
	}
	return repl.ReplaceAll(up.Dial, "")
}

// Infos prepares what Info says of the upstreams of a pool that have no
// placeholders, by their canonical addresses.
func Infos(pool reverseproxy.UpstreamPool) map[string]*reverseproxy.DialInfo {
	infos := make(map[string]*reverseproxy.DialInfo, len(pool))
	for _, up := range pool {
		if info, err := Info(up, up.Dial); err == nil && !strings.Contains(up.Dial, "{") {
			infos[Canonical(up.Dial)] = &info
		}
	}
	return infos
}
