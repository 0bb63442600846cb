package integration

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"sync/atomic"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
	"golang.org/x/net/http2"
)

// extendedConnect builds the request of RFC 8441 and RFC 9220.
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
func connH2(g *gateway) (http.RoundTripper, net.Conn, error) {
	conn, err := tls.DialWithDialer(&net.Dialer{Timeout: patience}, "tcp", g.httpsAddr, clientTLS("h2"))
	if err != nil {
		return nil, nil, err
	}
	var taken atomic.Bool
	return &http2.Transport{ //nolint:staticcheck // net/http refuses the header :protocol
		DialTLSContext: func(context.Context, string, string, *tls.Config) (net.Conn, error) { //nolint:staticcheck // as above
			if taken.Swap(true) {
				return nil, errors.New("the connection is lost, and a second one would not be the same test")
			}
			return conn, nil
		},
	}, conn, nil
}

func dialH2(g *gateway, path string, header http.Header) (answer, error) {
	cc, conn, err := connH2(g)
	if err != nil {
		return answer{}, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	abort := func() {
		cancel()
		_ = conn.Close()
	}
	a, err := shakeH2(ctx, cc, g, path, header)
	if err != nil || a.conn == nil {
		abort()
		return a, err
	}
	a.conn.abort = abort
	return a, nil
}

// shakeH2 opens a WebSocket on an HTTP/2 connection.
func shakeH2(ctx context.Context, cc http.RoundTripper, g *gateway, path string, header http.Header) (answer, error) {
	req, err := extendedConnect(ctx, g, path, header)
	if err != nil {
		return answer{}, err
	}
	req.Header[":protocol"] = []string{"websocket"}
	body, w := io.Pipe()
	req.Body = body
	res, err := cc.RoundTrip(req)
	if err != nil {
		return answer{}, err
	}
	a := answer{status: res.StatusCode, header: res.Header}
	if res.StatusCode != http.StatusOK {
		_ = w.Close()
		return a.withBody(res.Body)
	}
	a.conn = &wsConn{w: w, br: bufio.NewReaderSize(res.Body, 32<<10), header: res.Header, closeWrite: w.Close}
	return a, nil
}

// connH3 makes an HTTP/3 connection of its own.
func connH3(ctx context.Context, g *gateway) (*http3.ClientConn, *quic.Conn, error) {
	return connH3With(ctx, g, &quic.Config{MaxIdleTimeout: 2 * patience})
}

func connH3With(ctx context.Context, g *gateway, config *quic.Config) (*http3.ClientConn, *quic.Conn, error) {
	conn, err := quic.DialAddr(ctx, g.httpsAddr, clientTLS("h3"), config)
	if err != nil {
		return nil, nil, err
	}
	cc := new(http3.Transport).NewClientConn(conn)
	select {
	case <-cc.ReceivedSettings():
	case <-conn.Context().Done():
		return nil, nil, context.Cause(conn.Context())
	}
	if !cc.Settings().EnableExtendedConnect {
		return nil, nil, errors.New("the server does not offer extended CONNECT")
	}
	return cc, conn, nil
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
