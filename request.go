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

// userOf is the user that this handler, or one in front of it, found.
func userOf(r *http.Request) string {
	id, _ := replacerOf(r).GetString("http.auth.user.id")
	return id
}

// isPreflight reports whether a request is the question that browsers ask before a
// page of another origin may make one (CORS). It has neither credentials nor a
// body, says Fetch; what has, or is not sure to have none, is something else.
func isPreflight(r *http.Request) bool {
	method := r.Header["Access-Control-Request-Method"]
	return r.Method == http.MethodOptions &&
		len(r.Header["Origin"]) == 1 && r.Header["Origin"][0] != "" &&
		len(method) == 1 && httpguts.ValidHeaderFieldName(method[0]) &&
		len(r.Header["Authorization"]) == 0 && len(r.Header[carrier.CookieField]) == 0 &&
		r.ContentLength == 0 && len(r.TransferEncoding) == 0
}

// dropMethodOverrides removes the fields by which some servers take a request for
// one of another method. No browser sends them with a preflight.
func dropMethodOverrides(header http.Header) {
	for _, field := range []string{"X-Http-Method-Override", "X-Http-Method", "X-Method-Override"} {
		carrier.EachSpelling(header, field, func(name string) { delete(header, name) })
	}
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
