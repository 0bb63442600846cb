package dial

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/wsgateway/caddy-ws-gateway/internal/handshake"
)

// overTLS reports whether the transport speaks TLS to the upstream.
func (d *Dialer) overTLS(info reverseproxy.DialInfo) bool {
	return d.http.TLS != nil && !slices.Contains(d.http.TLS.ExceptPorts, info.Port)
}

// open opens the connection, with TLS where the transport says so.
func (d *Dialer) open(ctx context.Context, info reverseproxy.DialInfo) (net.Conn, error) {
	t := d.http.Transport
	conn, err := dialTimeless(ctx, t, info.Network, info.Address)
	if err != nil || !d.overTLS(info) {
		return conn, err
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if t.TLSClientConfig != nil {
		config = t.TLSClientConfig.Clone()
	}
	byName := strings.Contains(config.ServerName, "{") // a placeholder, which may be what the client says
	if byName {
		if repl, ok := ctx.Value(caddy.ReplacerCtxKey).(*caddy.Replacer); ok {
			config.ServerName = repl.ReplaceAll(config.ServerName, "")
		}
	}
	if config.ServerName == "" {
		config.ServerName = info.Host
	}
	config.NextProtos = []string{"http/1.1"}
	if t.TLSHandshakeTimeout > 0 {
		limited, cancel := context.WithTimeout(ctx, t.TLSHandshakeTimeout)
		defer cancel()
		ctx = limited
	}
	tlsConn := tls.Client(conn, config)
	if err := tlsConn.HandshakeContext(ctx); err != nil {
		_ = conn.Close()
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			return nil, fmt.Errorf("%w: %w: TLS handshake: %w", handshake.ErrSilent, handshake.ErrDead, err) // it has not seen what the client wants
		}
		if byName {
			return nil, fmt.Errorf("%w: TLS handshake: %w", handshake.ErrDropped, err)
		}
		return nil, fmt.Errorf("TLS handshake: %w", err)
	}
	return tlsConn, nil
}
