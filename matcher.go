package wsgateway

import (
	"net/http"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/wsgateway/caddy-ws-gateway/internal/handshake"
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
	return handshake.Opens(r), nil
}

// Interface guards
var (
	_ caddy.Module                      = MatchWebSocket{}
	_ caddyfile.Unmarshaler             = (*MatchWebSocket)(nil)
	_ caddyhttp.RequestMatcherWithError = MatchWebSocket{}
)
