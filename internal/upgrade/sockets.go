package upgrade

import (
	"context"
	"net"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/wsgateway/caddy-ws-gateway/internal/caddyinsides"
)

// socketKey is what a request's context knows its connection by.
type socketKey struct{}

// KnowSockets has the handler's server note the connection that requests come
// over. Streams of HTTP/2 look at it when a client is slow.
func KnowSockets(ctx caddy.Context) {
	server, ok := ctx.Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server)
	if !ok {
		return
	}
	server.RegisterConnContext(func(ctx context.Context, c net.Conn) context.Context {
		if ctx.Value(socketKey{}) != nil {
			return ctx // it was another handler's wish too
		}
		return context.WithValue(ctx, socketKey{}, c)
	})
}

// SharedConn tells the relay over what connection the stream goes, as others do;
// nil where that is not known, as over HTTP/3.
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
