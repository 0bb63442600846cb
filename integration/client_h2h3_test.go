package integration

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// extendedConnect builds the request of RFC 9220.
func extendedConnect(ctx context.Context, g *gateway, path string, header http.Header) (*http.Request, error) {
	target, err := url.Parse("https://" + g.tlsHost() + path)
	if err != nil {
		return nil, err
	}
	req := (&http.Request{
		Method: http.MethodConnect,
		URL:    target,
		Host:   target.Host,
		Header: http.Header{"Sec-Websocket-Version": {"13"}},
	}).WithContext(ctx)
	for name, values := range header {
		req.Header[http.CanonicalHeaderKey(name)] = values
	}
	return req, nil
}

// connH2 makes an HTTP/2 connection of its own.
func connH2(g *gateway) (*h2Conn, net.Conn, error) {
	conn, err := tls.DialWithDialer(&net.Dialer{Timeout: patience}, "tcp", g.httpsAddr, clientTLS("h2"))
	if err != nil {
		return nil, nil, err
	}
	c, err := overTLS(conn)
	return c, conn, err
}

// overTLS speaks HTTP/2 on a connection that it was agreed on for.
func overTLS(conn *tls.Conn) (*h2Conn, error) {
	if chosen := conn.ConnectionState().NegotiatedProtocol; chosen != "h2" {
		_ = conn.Close()
		return nil, fmt.Errorf("the server speaks %q, not h2", chosen)
	}
	c, err := newH2Conn(conn)
	if err != nil {
		_ = conn.Close()
	}
	return c, err
}

func dialH2(g *gateway, path string, header http.Header) (answer, error) {
	c, conn, err := connH2(g)
	if err != nil {
		return answer{}, err
	}
	a, err := shakeH2(context.Background(), c, g, path, header)
	if err != nil || a.conn == nil {
		_ = conn.Close()
		return a, err
	}
	a.conn.abort = func() { _ = conn.Close() }
	return a, nil
}

// shakeH2 opens a WebSocket on an HTTP/2 connection. To abort it is to reset its
// stream.
func shakeH2(ctx context.Context, c *h2Conn, g *gateway, path string, header http.Header) (answer, error) {
	version := hpack.HeaderField{Name: "sec-websocket-version", Value: "13"}
	request := []hpack.HeaderField{
		{Name: ":method", Value: http.MethodConnect}, {Name: ":protocol", Value: "websocket"},
		{Name: ":scheme", Value: "https"}, {Name: ":authority", Value: g.tlsHost()}, {Name: ":path", Value: path},
	}
	if header.Get(version.Name) == "" {
		request = append(request, version)
	}
	s, err := c.open(ctx, request, header)
	if err != nil {
		return answer{}, err
	}
	a := answer{status: s.status, header: s.header}
	if s.status != http.StatusOK {
		_ = s.closeWrite()
		return a.withBody(s)
	}
	a.conn = &wsConn{
		w: s, br: bufio.NewReaderSize(s, 32<<10), header: s.header,
		closeWrite: s.closeWrite, abort: func() { s.reset(http2.ErrCodeCancel) },
	}
	return a, nil
}

// patientQUIC is how clients of HTTP/3 behave that have to outlast a busy machine. A server
// of Caddy's gives up a connection after 30 s without a packet, so they send some.
func patientQUIC() *quic.Config {
	return &quic.Config{MaxIdleTimeout: 2 * patience, KeepAlivePeriod: patience / 6}
}

// dialing bounds the QUIC handshakes that are made at once.
var dialing = make(chan struct{}, 4)

// dialQUIC is for clients of HTTP/3. A server of Caddy's forgets a handshake that takes 10 s,
// or that nothing is heard of for 5 s, which it may when many are made at once on a busy
// machine: then it takes another.
func dialQUIC(ctx context.Context, addr string, config *tls.Config, quicConfig *quic.Config) (conn *quic.Conn, err error) {
	select {
	case dialing <- struct{}{}:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	defer func() { <-dialing }()
	poll(patience, func() bool {
		conn, err = quic.DialAddr(ctx, addr, config, quicConfig)
		var idle *quic.IdleTimeoutError
		var late *quic.HandshakeTimeoutError
		return !errors.As(err, &idle) && !errors.As(err, &late)
	})
	return conn, err
}

// connH3 makes an HTTP/3 connection of its own.
func connH3(ctx context.Context, g *gateway) (*http3.ClientConn, *quic.Conn, error) {
	return connH3With(ctx, g, patientQUIC())
}

func connH3With(ctx context.Context, g *gateway, config *quic.Config) (*http3.ClientConn, *quic.Conn, error) {
	conn, err := dialQUIC(ctx, g.httpsAddr, clientTLS("h3"), config)
	if err != nil {
		return nil, nil, err
	}
	cc, err := overQUIC(conn)
	return cc, conn, err
}

// overQUIC speaks HTTP/3 on a connection that it was agreed on for.
func overQUIC(conn *quic.Conn) (*http3.ClientConn, error) {
	cc := new(http3.Transport).NewClientConn(conn)
	select {
	case <-cc.ReceivedSettings():
	case <-conn.Context().Done():
		return nil, context.Cause(conn.Context())
	}
	if !cc.Settings().EnableExtendedConnect {
		return nil, errors.New("the server does not offer extended CONNECT")
	}
	return cc, nil
}

func dialH3(g *gateway, path string, header http.Header) (answer, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	cc, conn, err := connH3(ctx, g)
	if err != nil {
		return answer{}, err
	}
	abort := func() { _ = conn.CloseWithError(quic.ApplicationErrorCode(http3.ErrCodeNoError), "") }
	a, err := shakeH3(ctx, cc, g, path, header)
	if err != nil || a.conn == nil {
		abort()
		return a, err
	}
	a.conn.abort = abort
	return a, nil
}

// shakeH3 opens a WebSocket on an HTTP/3 connection.
func shakeH3(ctx context.Context, cc *http3.ClientConn, g *gateway, path string, header http.Header) (answer, error) {
	// The stream must outlive the handshake, which ctx bounds.
	str, err := cc.OpenRequestStream(context.WithoutCancel(ctx))
	if err != nil {
		return answer{}, err
	}
	req, err := extendedConnect(ctx, g, path, header)
	if err != nil {
		return answer{}, err
	}
	req.Proto = "websocket"
	if err := str.SendRequestHeader(req); err != nil {
		return answer{}, err
	}
	if deadline, ok := ctx.Deadline(); ok {
		_ = str.SetReadDeadline(deadline)
	}
	res, err := str.ReadResponse()
	if err != nil {
		return answer{}, err
	}
	a := answer{status: res.StatusCode, header: res.Header}
	if res.StatusCode != http.StatusOK {
		_ = str.Close()
		return a.withBody(res.Body)
	}
	_ = str.SetReadDeadline(time.Time{})
	a.conn = &wsConn{w: str, br: bufio.NewReaderSize(res.Body, 32<<10), header: res.Header, closeWrite: str.Close}
	return a, nil
}
