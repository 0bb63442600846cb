package wsgateway

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
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/wsgateway/caddy-ws-gateway/internal/caddyinsides"
	"github.com/wsgateway/caddy-ws-gateway/internal/handshake"
	"github.com/wsgateway/caddy-ws-gateway/internal/tcpdial"
)

const maxKeptHead = 16 << 10 // bytes of a buffer that is kept for the next handshake

// heads are what heads of handshakes are written to.
var heads = sync.Pool{New: func() any { return new([]byte) }}

// dialer opens connections to upstreams for handshakes, by the settings of the
// proxy's transport.
type dialer struct {
	inner   http.RoundTripper
	http    *reverseproxy.HTTPTransport // nil where inner is something else
	oneShot *http.Transport             // for network proxies; never keeps a connection
	bare    bool                        // a connection of the transport is TCP and no more, TLS aside
	timeout time.Duration
	pauses  pauses
}

// pauses are how long the transport lets an upstream be silent, once there is a
// connection: before it answers, and in the body of a refusal. Zero is no limit. A
// connection that is open knows nothing of them.
type pauses struct{ answer, body time.Duration }

// transportKeepAlive is how Caddy's transport asks after a peer where nothing else
// is configured, and how tcpdial does.
const transportKeepAlive = 30 * time.Second

func newDialer(inner http.RoundTripper, timeout time.Duration) *dialer {
	d := &dialer{inner: inner, timeout: timeout}
	if t, ok := inner.(*reverseproxy.HTTPTransport); ok && t.Transport != nil {
		d.http = t
		d.bare = t.DialTimeout > 0 && t.ProxyProtocol == "" && t.LocalAddress == "" &&
			(t.KeepAlive == nil || t.KeepAlive.ProbeInterval == caddy.Duration(transportKeepAlive))
		d.pauses = pauses{shortest(time.Duration(t.ReadTimeout), time.Duration(t.ResponseHeaderTimeout)), time.Duration(t.ReadTimeout)}
		d.oneShot = oneShot(t.Transport, d.pauses)
	}
	return d
}

// oneShot makes a transport that speaks HTTP/1.1 alone and makes a connection for
// each handshake, on which no timeout stays.
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

// shortest is the least of the limits that there are.
func shortest(limits ...time.Duration) (least time.Duration) {
	for _, limit := range limits {
		if limit > 0 && (least <= 0 || limit < least) {
			least = limit
		}
	}
	return least
}

// answerBy is when an upstream has to have answered that is connected now.
func (d *dialer) answerBy(start time.Time) time.Time {
	by := start.Add(d.timeout)
	if d.pauses.answer > 0 {
		if silence := time.Now().Add(d.pauses.answer); silence.Before(by) {
			return silence
		}
	}
	return by
}

// shake sends the handshake in r to the upstream and verifies what it says.
func (d *dialer) shake(r *http.Request, info *reverseproxy.DialInfo) (*handshake.Answer, error) {
	if addr, ok := d.directly(r, info); ok {
		a, err := d.shakeDirectly(r, addr)
		if err != tcpdial.ErrUnsupported { //nolint:errorlint // it is not wrapped
			return a, err
		}
	}
	return d.shakeByTransport(r, *info)
}

// shakeByTransport makes the handshake over a connection of the transport's.
func (d *dialer) shakeByTransport(r *http.Request, info reverseproxy.DialInfo) (*handshake.Answer, error) {
	client := r.Context()
	ctx := context.WithValue(client, caddy.CtxKey("reverse_proxy.dial_info"), info)
	caddyhttp.SetVar(ctx, "reverse_proxy.tls_h1_only", true)
	caddyhttp.SetVar(ctx, "reverse_proxy.proxy_protocol_info", reverseproxy.ProxyProtocolInfo{AddrPort: clientAddrPort(r)})
	start := time.Now()
	ctx, cancel := context.WithDeadline(ctx, start.Add(d.timeout))
	r = r.WithContext(ctx)

	key := handshake.NewKey()
	if d.http == nil || d.viaNetworkProxy(r, info) {
		a, err := d.roundTrip(r, info, key)
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
	conn, err := d.dial(ctx, info)
	if err != nil {
		if client.Err() != nil {
			return nil, context.Canceled
		}
		if errors.Is(err, handshake.ErrSilent) || errors.Is(err, handshake.ErrDropped) {
			return nil, err
		}
		return nil, fmt.Errorf("%w: %w", handshake.ErrDead, err)
	}
	return handshake.Exchange(client, r, conn, head, key, d.answerBy(start), d.pauses.body)
}

// directly tells whether the upstream is reached by TCP alone, at an address
// that needs no looking up.
func (d *dialer) directly(r *http.Request, info *reverseproxy.DialInfo) (addr netip.AddrPort, ok bool) {
	if !d.bare || info.Network != "tcp" || d.overTLS(*info) {
		return addr, false
	}
	addr, err := netip.ParseAddrPort(info.Address)
	return addr, err == nil && !d.viaNetworkProxy(r, *info)
}

// shakeDirectly makes the handshake at such an address.
func (d *dialer) shakeDirectly(r *http.Request, addr netip.AddrPort) (*handshake.Answer, error) {
	key, start := handshake.NewKey(), time.Now()
	conn, err := d.dialDirectly(r, addr, key, start)
	if err != nil {
		return nil, err
	}
	return handshake.Exchange(r.Context(), r, conn, nil, key, d.answerBy(start), d.pauses.body)
}

// dialDirectly connects and sends the head of the handshake.
func (d *dialer) dialDirectly(r *http.Request, addr netip.AddrPort, key string, start time.Time) (net.Conn, error) {
	head := heads.Get().(*[]byte) //nolint:forcetypeassert // it holds nothing else
	defer heads.Put(head)
	written, err := handshake.AppendHead((*head)[:0], r, key)
	if err != nil {
		return nil, err
	}
	if cap(written) <= maxKeptHead {
		*head = written
	}
	conn, err := tcpdial.Dial(r.Context(), addr, written, start.Add(min(d.timeout, time.Duration(d.http.DialTimeout))))
	switch {
	case err == nil, errors.Is(err, tcpdial.ErrUnsupported):
		return conn, err
	case r.Context().Err() != nil:
		return nil, context.Canceled
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE): // it had taken it: else it is refused
		return nil, fmt.Errorf("%w: %w", handshake.ErrDropped, err)
	}
	return nil, fmt.Errorf("%w: %w", handshake.ErrDead, err)
}

// overTLS tells whether the transport speaks TLS to the upstream.
func (d *dialer) overTLS(info reverseproxy.DialInfo) bool {
	return d.http.TLS != nil && !slices.Contains(d.http.TLS.ExceptPorts, info.Port)
}

// clientAddrPort is what the PROXY protocol tells upstreams of the client; our
// own address where there is none, as for health checks.
func clientAddrPort(r *http.Request) netip.AddrPort {
	ip := clientIP(r)
	if addrPort, err := netip.ParseAddrPort(ip); err == nil {
		return addrPort
	}
	if addr, err := netip.ParseAddr(ip); err == nil {
		return netip.AddrPortFrom(addr, 0)
	}
	return netip.AddrPortFrom(netip.IPv4Unspecified(), 0)
}

// dial opens the connection, with TLS where the transport says so.
func (d *dialer) dial(ctx context.Context, info reverseproxy.DialInfo) (net.Conn, error) {
	t := d.http.Transport
	conn, err := dialTimeless(ctx, t, info.Network, info.Address)
	if err != nil || !d.overTLS(info) {
		return conn, err
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if t.TLSClientConfig != nil {
		config = t.TLSClientConfig.Clone()
	}
	byName := hasPlaceholder(config.ServerName) // which may be what the client says
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

// viaNetworkProxy tells whether the transport reaches the upstream through
// another proxy, which net/http's transport knows how to talk to.
func (d *dialer) viaNetworkProxy(r *http.Request, info reverseproxy.DialInfo) bool {
	if d.http.Transport.Proxy == nil || strings.HasPrefix(info.Network, "unix") {
		return false
	}
	u, err := d.http.Transport.Proxy(forTransport(d, r, info))
	return err == nil && u != nil
}

// forTransport gives the request the absolute URL that transports expect.
func forTransport(d *dialer, r *http.Request, info reverseproxy.DialInfo) *http.Request {
	out := r.WithContext(r.Context())
	u := *r.URL
	u.Scheme, u.Host = "http", info.Address
	if d.http != nil && d.overTLS(info) {
		u.Scheme = "https"
	}
	out.URL = &u
	return out
}

// roundTrip makes the handshake by a transport: one that is not Caddy's own, or
// one that goes through a network proxy.
func (d *dialer) roundTrip(r *http.Request, info reverseproxy.DialInfo, key string) (*handshake.Answer, error) {
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

// send has the transport make the round trip, for as long as the request's context
// says. Caddy's own goes by that; of others nobody knows.
func (d *dialer) send(r *http.Request) (*http.Response, error) {
	if d.oneShot != nil {
		return d.oneShot.RoundTrip(r)
	}
	ctx := r.Context()
	if vars, ok := ctx.Value(caddyhttp.VarsCtxKey).(map[string]any); ok {
		// It may still write there when nobody waits for it any more.
		r = r.WithContext(context.WithValue(ctx, caddyhttp.VarsCtxKey, maps.Clone(vars)))
	}
	done := make(chan sent, 1)
	go func() {
		var s sent
		defer func() {
			if s.panicked = recover(); s.panicked != nil {
				s.panicked = fmt.Sprintf("%v\n%s", s.panicked, debug.Stack())
			}
			done <- s
		}()
		s.res, s.err = d.inner.RoundTrip(r) //nolint:bodyclose // whoever gets it does
	}()
	select {
	case s := <-done:
		if s.panicked != nil {
			panic(s.panicked) // as where nobody had to wait for it
		}
		return s.res, s.err
	case <-ctx.Done():
		go func() {
			defer contain(nil) // the body is the transport's, too
			if s := <-done; s.res != nil {
				_ = s.res.Body.Close()
			}
		}()
		return nil, context.Cause(ctx)
	}
}

// sent is what came of a round trip.
type sent struct {
	res      *http.Response
	err      error
	panicked any
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

// NetConn tells the relay what the connection of a transport is around.
func (c tracedConn) NetConn() net.Conn { return c.raw }

// dialInfosOf prepares what dialInfo says of upstreams without placeholders.
func dialInfosOf(pool reverseproxy.UpstreamPool) map[string]*reverseproxy.DialInfo {
	infos := make(map[string]*reverseproxy.DialInfo, len(pool))
	for _, up := range pool {
		if info, err := dialInfo(up, up.Dial); err == nil && !hasPlaceholder(up.Dial) {
			infos[canonicalAddress(up.Dial)] = &info
		}
	}
	return infos
}

// dialInfo says where and how to reach an upstream.
func dialInfo(up *reverseproxy.Upstream, address string) (reverseproxy.DialInfo, error) {
	addr, err := caddy.ParseNetworkAddress(address)
	if err != nil {
		return reverseproxy.DialInfo{}, fmt.Errorf("upstream %s: %w", strconv.Quote(address), err)
	}
	if n := addr.PortRangeSize(); n != 1 {
		return reverseproxy.DialInfo{}, fmt.Errorf("upstream %s: %d ports where there must be one", strconv.Quote(address), n)
	}
	return reverseproxy.DialInfo{
		Upstream: up,
		Network:  addr.Network,
		Address:  addr.JoinHostPort(0),
		Host:     addr.Host,
		Port:     strconv.FormatUint(uint64(addr.StartPort), 10),
	}, nil
}
