package upgrade

import (
	"crypto/tls"
	"net"
	"net/http"
	"runtime"
	"sync"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// handshakeStack is a part of the stack that a handshake takes that no stack of half the
// size has room for.
const handshakeStack = 8 << 10

// GrowStacks has the handler's server grow the stack of a connection's goroutine to what a
// handshake takes when a request has come in, and only little is on the stack. Otherwise it
// is doubled, and moved, three times on the way down, and the last time with all the frames
// of the server, of Caddy and of the gateway on it.
//
// It is done once for each server. giveBack is called when the configuration ends.
func GrowStacks(ctx caddy.Context) (giveBack func()) {
	server, ok := ctx.Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server)
	if !ok {
		return func() {}
	}
	if _, there := growing.LoadOrStore(server, nil); there {
		return func() {}
	}
	server.RegisterConnState(growAtRequests)
	return func() { growing.Delete(server) }
}

// growing are the servers for which that is done.
var growing sync.Map

// growAtRequests is an [http.Server.ConnState]. Over TLS, the stack has grown already, and
// with HTTP/2 it is not that of the handler.
func growAtRequests(c net.Conn, state http.ConnState) {
	if _, secure := c.(interface{ ConnectionState() tls.ConnectionState }); !secure && state == http.StateActive {
		growStack()
	}
}

// growStack leaves the stack of the goroutine as large as its frame needs.
//
//go:noinline
func growStack() {
	var frame [handshakeStack]byte
	runtime.KeepAlive(&frame)
}
