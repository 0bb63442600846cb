package upgrade

import (
	"context"
	"net"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/wsgateway/caddy-ws-gateway/internal/caddyinsides"
)

// socketKey is the key of the connection in a request's context.
type socketKey struct{}

// KnowSockets has the handler's server note the connection in the context of each
// request. Streams of HTTP/2 look at their connection when a client is slow.
func KnowSockets(ctx caddy.Context) {
	server, ok := ctx.Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server)
	if !ok {
		return
	}
	server.RegisterConnContext(func(ctx context.Context, c net.Conn) context.Context {
		if ctx.Value(socketKey{}) != nil {
			return ctx // another handler has asked for it too
		}
		return context.WithValue(ctx, socketKey{}, c)
	})
}

// SharedConn tells the relay the connection that the stream shares with other streams;
// nil where the connection is not known, as over HTTP/3.
func (s *streamConn) SharedConn() net.Conn {
	return s.shared
}

func sharedConnOf(ctx context.Context) net.Conn {
	c, ok := ctx.Value(socketKey{}).(net.Conn)
	if !ok {
		return nil
	}
	return caddyinsides.BelowPreface(c)
}
