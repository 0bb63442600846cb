package dial

import (
	"net"
	"net/http"
	"net/http/httptrace"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/wsgateway/caddy-ws-gateway/internal/handshake"
)

// pass calls ready, where there is one, and closes the connection unless ready lets the
// handshake go on.
func pass(conn net.Conn, ready func() error) error {
	if ready == nil {
		return nil
	}
	passed := false
	defer func() { // also where ready panics
		if !passed {
			_ = conn.Close()
		}
	}()
	err := ready()
	passed = err == nil
	return err
}

// roundTripGated is roundTrip with a gate. Of a transport that makes a connection for
// each handshake, the gate is where net/http tells of the connection, in the goroutine
// of the round trip and before anything is sent; a connection that is closed there is
// sent nothing, and is too new for net/http to try another one. Of any other transport
// nobody knows when it is connected, or whether it tells, so that the gate comes first.
func (d *Dialer) roundTripGated(r *http.Request, info reverseproxy.DialInfo, key string, ready func() error) (*handshake.Answer, error) {
	if ready == nil {
		return d.roundTrip(r, info, key)
	}
	if d.oneShot == nil {
		if err := ready(); err != nil {
			return nil, err
		}
		return d.roundTrip(r, info, key)
	}
	var refused error
	trace := &httptrace.ClientTrace{GotConn: func(got httptrace.GotConnInfo) { refused = pass(got.Conn, ready) }}
	a, err := d.roundTrip(r.WithContext(httptrace.WithClientTrace(r.Context(), trace)), info, key)
	if refused == nil {
		return a, err
	}
	if err == nil && a.Conn != nil {
		_ = a.Conn.Close()
	} else if err == nil {
		_ = a.Res.Body.Close()
	}
	return nil, refused
}
