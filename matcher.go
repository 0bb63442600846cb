package wsgateway

import (
	"net/http"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/wsgateway/caddy-ws-gateway/internal/handshake"
	"github.com/wsgateway/caddy-ws-gateway/internal/live"
)

func init() {
	caddy.RegisterModule(MatchWebSocket{})
	caddy.RegisterModule(MatchDraining{})
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
func (*MatchWebSocket) UnmarshalCaddyfile(d *caddyfile.Dispenser) error { return unmarshalBare(d) }

// MatchWithError reports whether r opens a WebSocket. The error is always nil.
func (MatchWebSocket) MatchWithError(r *http.Request) (bool, error) {
	return handshake.Opens(r), nil
}

// MatchDraining matches every request while the node drains: a readiness route that
// answers 503 then has load balancers send new clients elsewhere.
type MatchDraining struct {
	live *live.Set // the connections of the process
}

// CaddyModule returns the Caddy module information.
func (MatchDraining) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.matchers.ws_gateway_draining",
		New: func() caddy.Module { return &MatchDraining{live: process} },
	}
}

// UnmarshalCaddyfile sets up the matcher from Caddyfile tokens. Syntax:
//
//	ws_gateway_draining
func (*MatchDraining) UnmarshalCaddyfile(d *caddyfile.Dispenser) error { return unmarshalBare(d) }

// MatchWithError reports whether the node drains. The error is always nil.
func (m MatchDraining) MatchWithError(*http.Request) (bool, error) {
	_, draining := m.live.NodeDraining()
	return draining, nil
}

// unmarshalBare reads a matcher that is nothing but its name.
func unmarshalBare(d *caddyfile.Dispenser) error {
	d.Next() // the matcher's name
	name := d.Val()
	if d.CountRemainingArgs() > 0 {
		return d.Errf("the %s matcher takes no arguments", name)
	}
	if d.NextBlock(d.Nesting()) {
		return d.Errf("the %s matcher takes no block", name)
	}
	return nil
}

// Interface guards
var (
	_ caddy.Module                      = MatchDraining{}
	_ caddyfile.Unmarshaler             = (*MatchDraining)(nil)
	_ caddyhttp.RequestMatcherWithError = MatchDraining{}
	_ caddy.Module                      = MatchWebSocket{}
	_ caddyfile.Unmarshaler             = (*MatchWebSocket)(nil)
	_ caddyhttp.RequestMatcherWithError = MatchWebSocket{}
)
