package wsgateway

import (
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/wsgateway/caddy-ws-gateway/internal/token"
)

func replacerOf(r *http.Request) *caddy.Replacer {
	repl, ok := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
	if !ok {
		return caddy.NewReplacer()
	}
	return repl
}

// peerIP is the address of the peer without port and zone; empty on a Unix
// socket.
func peerIP(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return ""
	}
	host, _, _ = strings.Cut(host, "%")
	return host
}

// clientIP is the address of the client, behind trusted proxies too.
func clientIP(r *http.Request) string {
	if ip, ok := caddyhttp.GetVar(r.Context(), caddyhttp.ClientIPVarKey).(string); ok && ip != "" {
		return ip
	}
	return peerIP(r)
}

// setUser sets the placeholders of the user. What a handler in front may have
// found does not count here.
func setUser(r *http.Request, who identity) {
	repl := replacerOf(r)
	if who.provided != nil && who.provided.inherited {
		return
	}
	repl.DeleteByPrefix("http.auth.user.")
	if who.grant == nil {
		return
	}
	set := func(name, value string) { repl.Set("http.auth.user."+name, value) }
	who.grant.EachClaim(set)
	if who.provided != nil {
		for name, value := range who.provided.metadata {
			if !token.HasControlChars(value) {
				set(name, value)
			}
		}
	}
	repl.Set("http.auth.user.id", who.userID) // whatever a claim of that name says
}

// userOf is the user that this handler, or one in front of it, found.
func userOf(r *http.Request) string {
	id, _ := replacerOf(r).GetString("http.auth.user.id")
	return id
}

// protoOf names the version of HTTP of the handshake.
func protoOf(r *http.Request) string {
	if r.ProtoMajor == 1 {
		return "HTTP/1.1"
	}
	return "HTTP/" + strconv.Itoa(r.ProtoMajor) + ".0"
}

// originalOf returns the request as it was before handlers in front changed it.
// Its URL is shared with what Caddy goes back to for error routes.
func originalOf(r *http.Request) (http.Request, bool) {
	or, ok := r.Context().Value(caddyhttp.OriginalRequestCtxKey).(http.Request)
	return or, ok && or.URL != nil
}

// sentURL is the target of a request as it was sent, before handlers in front may
// have rewritten it.
func sentURL(r *http.Request) *url.URL {
	if or, ok := originalOf(r); ok {
		return or.URL
	}
	return r.URL
}

// forgetTarget makes an ordinary target of one that is refused, for error routes
// may lead to a proxy that would pass it on.
func forgetTarget(r *http.Request) {
	*sentURL(r) = url.URL{Path: "/"}
	*r.URL = url.URL{Path: "/"}
}

func setUpstreamPlaceholder(r *http.Request, address string) {
	replacerOf(r).Set(upstreamPlaceholder, address)
}

// upstreamPlaceholder is answered for by the try that is under way.
const upstreamPlaceholder = "http.ws_gateway.upstream"

// emptyUnlessSet makes placeholders of ours empty that nobody has set. Caddy
// leaves those that it does not know as they are written in header operations,
// and an upstream could take that for a user.
func emptyUnlessSet(name string) (any, bool) {
	ours := name != upstreamPlaceholder &&
		(strings.HasPrefix(name, "http.auth.user.") || strings.HasPrefix(name, "http.ws_gateway."))
	return "", ours
}
