package wsgateway

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
	"golang.org/x/net/http/httpguts"

	"github.com/wsgateway/caddy-ws-gateway/internal/relay"
)

// What a try at an upstream may end in, other than an answer.
var (
	// errDead: it did not take the connection, or dropped it before it
	// answered. The next one may be tried, since no handshake was completed.
	errDead = errors.New("upstream is not there")
	// errSilent: it took the connection and did not answer in time.
	errSilent = errors.New("upstream did not answer in time")
	// errInvalid: what it answered is not a sound answer to the handshake.
	errInvalid = errors.New("upstream answered the handshake wrongly")
	// errUnsendable: our handshake cannot be written, for a header operation
	// or a rewrite produced what HTTP does not allow.
	errUnsendable = errors.New("handshake cannot be sent")
)

const (
	maxAnswerHead    = 64 << 10 // bytes of an upstream's response head
	maxInterimAnswer = 5        // 1xx responses before the answer
)

// answer is what an upstream said to a handshake: an open connection after a
// verified 101, or else a refusal with its body.
type answer struct {
	res   *http.Response
	conn  relay.Conn // nil unless it is a 101
	early []byte     // what arrived behind the 101
}

// dialer opens connections to upstreams for handshakes, by the settings of the
// proxy's transport.
type dialer struct {
	inner   http.RoundTripper
	http    *reverseproxy.HTTPTransport // nil where inner is something else
	oneShot *http.Transport             // for network proxies; never keeps a connection
	timeout time.Duration
}

func newDialer(inner http.RoundTripper, timeout time.Duration) *dialer {
	d := &dialer{inner: inner, timeout: timeout}
	if t, ok := inner.(*reverseproxy.HTTPTransport); ok && t.Transport != nil {
		d.http = t
		d.oneShot = t.Transport.Clone()
		d.oneShot.DisableKeepAlives = true
		d.oneShot.ForceAttemptHTTP2 = false
		d.oneShot.TLSNextProto = map[string]func(string, *tls.Conn) http.RoundTripper{}
		if d.oneShot.TLSClientConfig != nil {
			d.oneShot.TLSClientConfig.NextProtos = nil
		}
	}
	return d
}

// shake sends the handshake in r to the upstream and verifies what it says.
func (d *dialer) shake(r *http.Request, info reverseproxy.DialInfo) (*answer, error) {
	client := r.Context()
	ctx := context.WithValue(client, caddy.CtxKey("reverse_proxy.dial_info"), info)
	caddyhttp.SetVar(ctx, "reverse_proxy.tls_h1_only", true)
	caddyhttp.SetVar(ctx, "reverse_proxy.proxy_protocol_info", reverseproxy.ProxyProtocolInfo{AddrPort: clientAddrPort(r)})
	ctx, cancel := context.WithTimeout(ctx, d.timeout)
	r = r.WithContext(ctx)

	key := newKey()
	if d.http == nil || d.viaNetworkProxy(r, info) {
		a, err := d.roundTrip(r, info, key)
		if err != nil || a.conn != nil {
			cancel()
		} else {
			a.res.Body = &hookedBody{ReadCloser: a.res.Body, onClose: cancel}
		}
		return a, err
	}
	defer cancel()
	head, err := appendHead(nil, r, key)
	if err != nil {
		return nil, err
	}
	conn, err := d.dial(ctx, info)
	if err != nil {
		if client.Err() != nil {
			return nil, context.Canceled
		}
		if errors.Is(err, errSilent) {
			return nil, err
		}
		return nil, fmt.Errorf("%w: %w", errDead, err)
	}
	return exchange(client, r, conn, head, key)
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
	if d.http.TLS == nil || slices.Contains(d.http.TLS.ExceptPorts, info.Port) {
		return t.DialContext(ctx, info.Network, info.Address)
	}
	if t.DialTLSContext != nil {
		return t.DialTLSContext(ctx, info.Network, info.Address)
	}
	conn, err := t.DialContext(ctx, info.Network, info.Address)
	if err != nil {
		return nil, err
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if t.TLSClientConfig != nil {
		config = t.TLSClientConfig.Clone()
	}
	if config.ServerName == "" {
		config.ServerName = info.Host
	}
	config.NextProtos = []string{"http/1.1"}
	tlsConn := tls.Client(conn, config)
	if err := tlsConn.HandshakeContext(ctx); err != nil {
		_ = conn.Close()
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			return nil, fmt.Errorf("%w: TLS handshake: %w", errSilent, err)
		}
		return nil, fmt.Errorf("TLS handshake: %w", err)
	}
	return tlsConn, nil
}

// exchange writes the head of the handshake on conn and reads the answer. It
// owns conn until it returns it in an answer. client is the context of the
// client's request, which outlasts the handshake's in r.
func exchange(client context.Context, r *http.Request, conn net.Conn, head []byte, key string) (*answer, error) {
	ctx := r.Context()
	if deadline, ok := ctx.Deadline(); ok {
		_ = conn.SetDeadline(deadline)
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })

	br := readers.Get().(*bufio.Reader)
	limited := &io.LimitedReader{R: conn, N: maxAnswerHead}
	br.Reset(limited)
	res, err := ask(r, conn, br, head) //nolint:bodyclose // a refusal's body goes out with the answer, a 101 has none
	if limited.N <= 0 && err != nil {
		err = fmt.Errorf("%w: its head is larger than %d bytes", errInvalid, maxAnswerHead)
	}
	limited.N = math.MaxInt64
	if !stop() && err == nil {
		err = failedExchange(ctx, context.Cause(ctx))
	}
	if err != nil {
		_ = conn.Close()
		putReader(br)
		return nil, err
	}
	_ = conn.SetDeadline(time.Time{})

	if res.StatusCode != http.StatusSwitchingProtocols {
		stop := context.AfterFunc(client, func() { _ = conn.Close() })
		res.Body = &hookedBody{ReadCloser: res.Body, onClose: func() { stop(); _ = conn.Close(); putReader(br) }}
		return &answer{res: res}, nil
	}
	if reason := checkAnswer(res, key, r.Header); reason != "" {
		_ = conn.Close()
		putReader(br)
		return nil, fmt.Errorf("%w: %s", errInvalid, reason)
	}
	a := &answer{res: res, conn: conn}
	if n := br.Buffered(); n > 0 {
		peeked, _ := br.Peek(n)
		a.early = bytes.Clone(peeked)
	}
	putReader(br)
	return a, nil
}

// ask sends the head and reads responses up to the first that is final.
func ask(r *http.Request, conn net.Conn, br *bufio.Reader, head []byte) (*http.Response, error) {
	if _, err := conn.Write(head); err != nil {
		return nil, failedExchange(r.Context(), err)
	}
	for range maxInterimAnswer + 1 {
		res, err := http.ReadResponse(br, r)
		if err != nil {
			return nil, failedExchange(r.Context(), err)
		}
		if res.StatusCode == http.StatusSwitchingProtocols || res.StatusCode >= 200 {
			return res, nil
		}
	}
	return nil, fmt.Errorf("%w: too many interim responses", errInvalid)
}

// failedExchange tells a dead upstream from a silent and from a wrong one.
func failedExchange(ctx context.Context, err error) error {
	var netErr net.Error
	switch {
	case errors.Is(context.Cause(ctx), context.Canceled):
		return context.Canceled
	case errors.As(err, &netErr) && netErr.Timeout(), ctx.Err() != nil:
		return fmt.Errorf("%w: %w", errSilent, err)
	case errors.As(err, &netErr), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("%w: %w", errDead, err)
	}
	return fmt.Errorf("%w: %w", errInvalid, err)
}

// appendHead writes our own handshake (RFC 6455 section 4.1). Nothing that
// could end a line early may get into it.
func appendHead(b []byte, r *http.Request, key string) ([]byte, error) {
	uri := r.URL.RequestURI()
	if strings.ContainsFunc(uri, func(c rune) bool { return c <= ' ' || c == 0x7f }) {
		return nil, fmt.Errorf("%w: its URI has a character that HTTP does not allow", errUnsendable)
	}
	if !httpguts.ValidHostHeader(r.Host) {
		return nil, fmt.Errorf("%w: its Host has a character that HTTP does not allow", errUnsendable)
	}
	b = append(b, "GET "...)
	b = append(b, uri...)
	b = append(b, " HTTP/1.1\r\nHost: "...)
	b = append(b, r.Host...)
	b = append(b, "\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: "...)
	b = append(b, key...)
	b = append(b, "\r\n"...)
	for name, values := range r.Header {
		if name == "Host" || slices.Contains(hopByHop, http.CanonicalHeaderKey(name)) {
			continue
		}
		wire := name
		switch name {
		case "Sec-Websocket-Protocol":
			wire = "Sec-WebSocket-Protocol"
		case "Sec-Websocket-Extensions":
			wire = "Sec-WebSocket-Extensions"
		}
		if !httpguts.ValidHeaderFieldName(wire) {
			return nil, fmt.Errorf("%w: header field %s has a bad name", errUnsendable, strconv.Quote(name))
		}
		for _, value := range values {
			if !httpguts.ValidHeaderFieldValue(value) {
				return nil, fmt.Errorf("%w: header field %s has a value that HTTP does not allow", errUnsendable, name)
			}
			b = append(b, wire...)
			b = append(b, ": "...)
			b = append(b, value...)
			b = append(b, "\r\n"...)
		}
	}
	return append(b, "\r\n"...), nil
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
	if d.http != nil && d.http.TLS != nil && !slices.Contains(d.http.TLS.ExceptPorts, info.Port) {
		u.Scheme = "https"
	}
	out.URL = &u
	return out
}

// roundTrip makes the handshake by a transport: one that is not Caddy's own, or
// one that goes through a network proxy.
func (d *dialer) roundTrip(r *http.Request, info reverseproxy.DialInfo, key string) (*answer, error) {
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

	inner := d.inner
	if d.oneShot != nil {
		inner = d.oneShot
	}
	res, err := inner.RoundTrip(out)
	if err != nil {
		if _, ok := errors.AsType[reverseproxy.DialError](err); ok {
			return nil, fmt.Errorf("%w: %w", errDead, err)
		}
		return nil, failedExchange(r.Context(), err)
	}
	if res.StatusCode != http.StatusSwitchingProtocols {
		return &answer{res: res}, nil
	}
	stream, ok := res.Body.(io.ReadWriteCloser)
	reason := checkAnswer(res, key, r.Header)
	if !ok && reason == "" {
		reason = "its transport cannot be upgraded"
	}
	if reason != "" {
		_ = res.Body.Close()
		return nil, fmt.Errorf("%w: %s", errInvalid, reason)
	}
	return &answer{res: res, conn: tracedConn{stream, raw}}, nil
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

// hookedBody does something more when the body is closed, once.
type hookedBody struct {
	io.ReadCloser
	once    sync.Once
	onClose func()
}

// Close implements io.Closer.
func (b *hookedBody) Close() error {
	err := b.ReadCloser.Close()
	b.once.Do(b.onClose)
	return err
}

var readers = sync.Pool{New: func() any { return bufio.NewReaderSize(nil, 4<<10) }}

func putReader(br *bufio.Reader) {
	br.Reset(nil)
	readers.Put(br)
}
