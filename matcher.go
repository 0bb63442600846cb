package wsgateway

import (
	"net/http"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"golang.org/x/net/http/httpguts"
)

func init() {
	caddy.RegisterModule(MatchWebSocket{})
}

// MatchWebSocket matches requests that open a WebSocket, over HTTP/1.1
// (RFC 6455), HTTP/2 (RFC 8441) and HTTP/3 (RFC 9220). It looks only at what
// the request asks for: a handshake with a wrong version or key matches too,
// so that it gets its answer from the handler that knows about WebSockets.
type MatchWebSocket struct{}

// CaddyModule returns the Caddy module information.
func (MatchWebSocket) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.matchers.websocket",
		New: func() caddy.Module { return new(MatchWebSocket) },
	}
}

// UnmarshalCaddyfile sets up the matcher from Caddyfile tokens. Syntax:
//
//	websocket
func (*MatchWebSocket) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the matcher's name
	if d.CountRemainingArgs() > 0 {
		return d.Err("the websocket matcher takes no arguments")
	}
	if d.NextBlock(d.Nesting()) {
		return d.Err("the websocket matcher takes no block")
	}
	return nil
}

// MatchWithError reports whether r opens a WebSocket. The error is always nil.
func (MatchWebSocket) MatchWithError(r *http.Request) (bool, error) {
	return isHandshake(r), nil
}

// isHandshake reports whether r asks for a WebSocket and for nothing else: an
// Upgrade header that names further protocols is not a handshake.
func isHandshake(r *http.Request) bool {
	switch r.ProtoMajor {
	case 1:
		upgrade := r.Header["Upgrade"]
		return r.Method == http.MethodGet &&
			httpguts.HeaderValuesContainsToken(r.Header["Connection"], "upgrade") &&
			len(upgrade) == 1 && strings.EqualFold(strings.TrimSpace(upgrade[0]), "websocket")
	case 2: // the server passes the pseudo-header on among the headers
		return r.Method == http.MethodConnect && strings.EqualFold(r.Header.Get(":protocol"), "websocket")
	case 3: // quic-go puts the pseudo-header here
		return r.Method == http.MethodConnect && strings.EqualFold(r.Proto, "websocket")
	}
	return false
}

// Interface guards
var (
	_ caddy.Module                      = MatchWebSocket{}
	_ caddyfile.Unmarshaler             = (*MatchWebSocket)(nil)
	_ caddyhttp.RequestMatcherWithError = MatchWebSocket{}
)
