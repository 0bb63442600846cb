// Package upgrade takes the client's side of a connection over from the server, once
// an upstream has accepted the handshake: the raw connection over HTTP/1.1, and the
// request's stream over HTTP/2 and HTTP/3. From then on none of Caddy's wrappers around
// a request may touch the connection, above all none that sets deadlines.
//
// The package knows Caddy, because these wrappers are Caddy's.
package upgrade

import (
	"io"
	"net"
	"net/http"
	"time"

	"github.com/wsgateway/caddy-ws-gateway/internal/caddyinsides"
	"github.com/wsgateway/caddy-ws-gateway/internal/relay"
)

// Side is a client's side of a connection after its upgrade.
type Side struct {
	Conn     relay.Conn
	Early    []byte // what arrived behind the handshake
	Detached bool   // the connection is the gateway's, and the handler may return
	End      func() // to be called when the handler is about to return; nil for none
}

// Take answers the client and takes its side of the connection over. writeTimeout
// bounds the writing of the answer.
func Take(w http.ResponseWriter, r *http.Request, writeTimeout time.Duration) (Side, error) {
	if r.ProtoMajor == 1 {
		return hijack(w, r, writeTimeout)
	}
	return stream(w, r, writeTimeout)
}

// hijack takes the raw connection from below every wrapper, so that nothing of
// the request stays with it (RFC 6455).
func hijack(w http.ResponseWriter, r *http.Request, writeTimeout time.Duration) (Side, error) {
	// The outermost writer first: it runs deferred header operations and is
	// what the access log sees.
	w.WriteHeader(http.StatusSwitchingProtocols)
	// A client that has left much unread of what it asked for before may not take the
	// answer either, and a hijack would not say so.
	rc := http.NewResponseController(Innermost(w))
	_ = rc.SetWriteDeadline(time.Now().Add(writeTimeout))
	if err := rc.Flush(); err != nil {
		return Side{}, err
	}
	conn, rw, err := rc.Hijack()
	if err != nil {
		return Side{}, err
	}
	letGo(w, r)
	_ = conn.SetDeadline(time.Time{})
	up := Side{Conn: caddyinsides.BelowPreface(conn), Detached: true}
	if n := rw.Reader.Buffered(); n > 0 {
		up.Early = make([]byte, n)
		_, _ = io.ReadFull(rw.Reader, up.Early)
	}
	return up, nil
}

// Interface guards
var _ relay.Conn = (net.Conn)(nil)
