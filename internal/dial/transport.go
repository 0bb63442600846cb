package dial

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/netip"
	"net/url"
	"runtime/debug"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/wsgateway/caddy-ws-gateway/internal/caddyinsides"
	"github.com/wsgateway/caddy-ws-gateway/internal/handshake"
	"github.com/wsgateway/caddy-ws-gateway/internal/panics"
	"github.com/wsgateway/caddy-ws-gateway/internal/relay"
)

// oneShot makes a transport that speaks HTTP/1.1 alone and opens a connection for each
// handshake, without timeouts that last beyond it.
func oneShot(of *http.Transport, p pauses) *http.Transport {
	t := of.Clone()
	t.DisableKeepAlives = true
	t.ForceAttemptHTTP2 = false
	t.Protocols = new(http.Protocols)
	t.Protocols.SetHTTP1(true)
	t.TLSNextProto = map[string]func(string, *tls.Conn) http.RoundTripper{}
	if t.TLSClientConfig != nil {
		t.TLSClientConfig.NextProtos = nil
	}
	t.ResponseHeaderTimeout = p.answer
	t.DialTLSContext = nil // it has the timeouts below its TLS
	t.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		return dialTimeless(ctx, of, network, address)
	}
	return t
}

// dialTimeless opens a connection of the transport's, without the read_timeout and
// write_timeout that Caddy has it keep for as long as it lives.
func dialTimeless(ctx context.Context, t *http.Transport, network, address string) (net.Conn, error) {
	conn, err := t.DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	return caddyinsides.BelowTimeouts(conn), nil
}

// shakeByTransport makes the handshake over a connection of the transport's.
func (d *Dialer) shakeByTransport(r *http.Request, info reverseproxy.DialInfo, ready func() error) (*handshake.Answer, error) {
	client := r.Context()
	ctx := context.WithValue(client, caddy.CtxKey("reverse_proxy.dial_info"), info)
	caddyhttp.SetVar(ctx, "reverse_proxy.tls_h1_only", true)
	caddyhttp.SetVar(ctx, "reverse_proxy.proxy_protocol_info", reverseproxy.ProxyProtocolInfo{AddrPort: d.clientAddrPort(r)})
	start := time.Now()
	ctx, cancel := context.WithDeadline(ctx, start.Add(d.timeout))
	r = r.WithContext(ctx)

	key := handshake.NewKey()
	if d.http == nil || d.viaNetworkProxy(r, info) {
		a, err := d.roundTripGated(r, info, key, ready)
		if err != nil || a.Conn != nil {
			cancel()
		} else {
			a.Res.Body = handshake.HookBody(a.Res.Body, cancel)
		}
		return a, err
	}
	defer cancel()
	head, err := handshake.AppendHead(nil, r, key)
	if err != nil {
		return nil, err
	}
	conn, err := d.open(ctx, info)
	if err != nil {
		if client.Err() != nil {
			return nil, context.Canceled
		}
		if errors.Is(err, handshake.ErrSilent) || errors.Is(err, handshake.ErrDropped) {
			return nil, err
		}
		return nil, fmt.Errorf("%w: %w", handshake.ErrDead, err)
	}
	if err := pass(conn, ready); err != nil {
		return nil, err
	}
	return handshake.Exchange(client, r, conn, head, key, d.answerBy(start), d.pauses.body)
}

// clientAddrPort is the address that the PROXY protocol tells upstreams for the
// client; an unspecified one where there is no client, as for health checks.
func (d *Dialer) clientAddrPort(r *http.Request) netip.AddrPort {
	ip := d.clientIP(r)
	if addrPort, err := netip.ParseAddrPort(ip); err == nil {
		return addrPort
	}
	if addr, err := netip.ParseAddr(ip); err == nil {
		return netip.AddrPortFrom(addr, 0)
	}
	return netip.AddrPortFrom(netip.IPv4Unspecified(), 0)
}

// viaNetworkProxy reports whether the transport reaches the upstream through
// another proxy, which net/http's transport knows how to talk to. While it asks, the
// URL of the request is that of forTransport.
func (d *Dialer) viaNetworkProxy(r *http.Request, info reverseproxy.DialInfo) bool {
	proxy := d.http.Transport.Proxy
	if proxy == nil || strings.HasPrefix(info.Network, "unix") {
		return false
	}
	sent := *r.URL
	defer func() { *r.URL = sent }()
	d.makeAbsolute(r.URL, &info)
	u, err := proxy(r)
	return err == nil && u != nil
}

// forTransport gives the request the absolute URL that transports expect.
func forTransport(d *Dialer, r *http.Request, info reverseproxy.DialInfo) *http.Request {
	out := r.WithContext(r.Context())
	u := *r.URL
	d.makeAbsolute(&u, &info)
	out.URL = &u
	return out
}

// makeAbsolute makes the URL of a request to the upstream absolute. Whether a transport
// of another module speaks TLS is for that to say, as in reverse_proxy: Caddy's own,
// which it may be made of, keeps a scheme that is there.
func (d *Dialer) makeAbsolute(u *url.URL, info *reverseproxy.DialInfo) {
	u.Scheme, u.Host = "", info.Address
	switch {
	case d.http == nil:
	case d.overTLS(*info):
		u.Scheme = "https"
	default:
		u.Scheme = "http"
	}
}

// roundTrip makes the handshake by a transport: one that is not Caddy's own, or
// one that goes through a network proxy.
func (d *Dialer) roundTrip(r *http.Request, info reverseproxy.DialInfo, key string) (*handshake.Answer, error) {
	var raw net.Conn
	trace := &httptrace.ClientTrace{GotConn: func(got httptrace.GotConnInfo) { raw = got.Conn }}
	out := forTransport(d, r.WithContext(httptrace.WithClientTrace(r.Context(), trace)), info)
	out.Header = r.Header.Clone()
	out.Header.Set("Connection", "Upgrade")
	out.Header.Set("Upgrade", "websocket")
	out.Header["Sec-WebSocket-Version"] = []string{"13"} //nolint:canonicalheader // the casing of RFC 6455
	out.Header["Sec-WebSocket-Key"] = []string{key}      //nolint:canonicalheader // as above
	if _, ok := out.Header["User-Agent"]; !ok {
		out.Header["User-Agent"] = []string{""} // keep net/http from adding its own
	}

	res, err := d.send(out)
	if err != nil {
		if _, ok := errors.AsType[reverseproxy.DialError](err); ok {
			return nil, fmt.Errorf("%w: %w", handshake.ErrDead, err)
		}
		return nil, handshake.Failed(r.Context(), err)
	}
	if res.StatusCode != http.StatusSwitchingProtocols {
		return &handshake.Answer{Res: res}, nil
	}
	stream, ok := res.Body.(io.ReadWriteCloser)
	reason := handshake.CheckAnswer(res, key, r.Header)
	if !ok && reason == "" {
		reason = "its transport cannot be upgraded"
	}
	if reason != "" {
		_ = res.Body.Close()
		return nil, fmt.Errorf("%w: %s", handshake.ErrInvalid, reason)
	}
	return &handshake.Answer{Res: res, Conn: tracedConn{stream, raw}}, nil
}

// send has the transport make the round trip, and returns when the request's context
// is over, also where the transport of another module does not heed it.
func (d *Dialer) send(r *http.Request) (*http.Response, error) {
	if d.oneShot != nil {
		return d.oneShot.RoundTrip(r)
	}
	ctx := r.Context()
	if vars, ok := ctx.Value(caddyhttp.VarsCtxKey).(map[string]any); ok {
		// The transport may still write there when its answer is not awaited any more.
		r = r.WithContext(context.WithValue(ctx, caddyhttp.VarsCtxKey, maps.Clone(vars)))
	}
	done := make(chan sent, 1)
	go func() {
		var s sent
		defer func() {
			if value := recover(); value != nil {
				s.panicked, s.caught = fmt.Sprintf("%v\n%s", value, debug.Stack()), panics.Caught(value)
			}
			done <- s
		}()
		s.res, s.err = d.inner.RoundTrip(r) //nolint:bodyclose // the receiver closes it
	}()
	select {
	case s := <-done:
		if s.panicked != nil {
			panic(s.panicked) // in the goroutine of the handshake, as without the goroutine above
		}
		return s.res, s.err
	case <-ctx.Done():
		go func() {
			defer panics.Contain() // the body is the transport's, too
			switch s := <-done; {
			case s.caught != nil:
				panics.Report(s.caught)
			case s.res != nil:
				_ = s.res.Body.Close()
			}
		}()
		return nil, context.Cause(ctx)
	}
}

// sent is the outcome of a round trip.
type sent struct {
	res      *http.Response
	err      error
	panicked any           // for the goroutine of the handshake
	caught   *panics.Panic // for the log, if that goroutine has gone
}

// tracedConn is an upgraded connection of a transport, with the deadlines of
// the connection beneath where that is known.
type tracedConn struct {
	io.ReadWriteCloser
	raw net.Conn
}

// SetWriteDeadline implements relay.Conn.
func (c tracedConn) SetWriteDeadline(t time.Time) error {
	if c.raw == nil {
		return nil
	}
	return c.raw.SetWriteDeadline(t)
}

// NetConn tells the relay the connection below that of a transport.
func (c tracedConn) NetConn() net.Conn { return c.raw }

// Interface guards
var _ relay.Conn = tracedConn{}
