package wsgateway

import (
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"golang.org/x/net/http/httpguts"

	"github.com/wsgateway/caddy-ws-gateway/internal/carrier"
)

func replacerOf(r *http.Request) *caddy.Replacer {
	repl, ok := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
	if !ok {
		return caddy.NewReplacer()
	}
	return repl
}

// originalOf returns the request as it was before handlers in front changed it. It
// shares its URL with the request that Caddy goes back to for error routes.
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

// forgetTarget replaces a target that is refused by an ordinary one, because error
// routes may lead to a proxy that would pass it on.
func forgetTarget(r *http.Request) {
	*sentURL(r) = url.URL{Path: "/"}
	*r.URL = url.URL{Path: "/"}
}

// protoOf names the version of HTTP of the handshake.
func protoOf(r *http.Request) string {
	if r.ProtoMajor == 1 {
		return "HTTP/1.1"
	}
	return "HTTP/" + strconv.Itoa(r.ProtoMajor) + ".0"
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

// userOf is the ID of the user that this handler, or a handler in front, found.
func userOf(r *http.Request) string {
	id, _ := replacerOf(r).GetString("http.auth.user.id")
	return id
}

// isPreflight reports whether a request is a CORS preflight, by which browsers ask
// before a page of another origin may make a request. By the Fetch standard it has
// neither credentials nor a body; a request that may have either is none.
func isPreflight(r *http.Request) bool {
	method := r.Header["Access-Control-Request-Method"]
	return r.Method == http.MethodOptions &&
		len(r.Header["Origin"]) == 1 && r.Header["Origin"][0] != "" &&
		len(method) == 1 && httpguts.ValidHeaderFieldName(method[0]) &&
		len(r.Header["Authorization"]) == 0 && len(r.Header[carrier.CookieField]) == 0 &&
		r.ContentLength == 0 && len(r.TransferEncoding) == 0
}

// dropMethodOverrides removes the fields that make some servers take a request for a
// request with another method. No browser sends them with a preflight.
func dropMethodOverrides(header http.Header) {
	for _, field := range []string{"X-Http-Method-Override", "X-Http-Method", "X-Method-Override"} {
		carrier.EachSpelling(header, field, func(name string) { delete(header, name) })
	}
}

func setUpstreamPlaceholder(r *http.Request, address string) {
	replacerOf(r).Set(upstreamPlaceholder, address)
}

// upstreamPlaceholder has the address of the upstream that is being tried.
const upstreamPlaceholder = "http.ws_gateway.upstream"

// connectionPlaceholder has the ID of the connection.
const connectionPlaceholder = "http.ws_gateway.connection"

// emptyUnlessSet makes the gateway's placeholders empty where they are not set.
// Otherwise Caddy would leave them as they are written in header operations, and an
// upstream could take that text for a user.
func emptyUnlessSet(name string) (any, bool) {
	ours := name != upstreamPlaceholder &&
		(strings.HasPrefix(name, "http.auth.user.") || strings.HasPrefix(name, "http.ws_gateway."))
	return "", ours
}
