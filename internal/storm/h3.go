package main

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"sync"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
)

// doorH3 is a connection of HTTP/3, on which WebSockets are opened as RFC 9220
// says.
type doorH3 struct {
	address string
	conn    *quic.Conn
	client  *http3.ClientConn
}

func openH3(address string) (*doorH3, error) {
	ctx, cancel := context.WithTimeout(context.Background(), clientPatience)
	defer cancel()
	conn, err := quic.DialAddr(ctx, address, clientTLS("h3"), &quic.Config{KeepAlivePeriod: clientPatience / 4})
	if err != nil {
		return nil, err
	}
	d := &doorH3{address: address, conn: conn, client: new(http3.Transport).NewClientConn(conn)}
	select {
	case <-d.client.ReceivedSettings():
	case <-conn.Context().Done():
		return nil, context.Cause(conn.Context())
	}
	if !d.client.Settings().EnableExtendedConnect {
		d.close()
		return nil, errors.New("the server does not offer extended CONNECT")
	}
	return d, nil
}

func (d *doorH3) close() {
	_ = d.conn.CloseWithError(quic.ApplicationErrorCode(http3.ErrCodeNoError), "")
}

func (d *doorH3) knock(target string, cut int, _ []byte) (line, error) {
	stream, err := d.client.OpenRequestStream(context.Background())
	if err != nil {
		return nil, err
	}
	u, err := url.Parse("https://" + hostOf(d.address) + target)
	if err != nil {
		return nil, err
	}
	r := &http.Request{Method: http.MethodConnect, Proto: "websocket", URL: u, Host: u.Host, Header: http.Header{"Sec-Websocket-Version": {"13"}}}
	if cut == 0 {
		return &lineH3{stream: stream}, nil
	}
	return &lineH3{stream: stream}, stream.SendRequestHeader(r)
}

// lineH3 is a stream.
type lineH3 struct {
	stream *http3.RequestStream
	body   io.Reader

	mu    sync.Mutex // guards what follows, and writing
	ended bool
}

func (l *lineH3) answer(int) (int, error) {
	res, err := l.stream.ReadResponse() //nolint:bodyclose // it ends with the stream
	if err != nil {
		return 0, err
	}
	l.body = res.Body
	return res.StatusCode, nil
}

func (l *lineH3) Read(p []byte) (int, error) { return l.body.Read(p) }

func (l *lineH3) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.stream.Write(p)
}

func (l *lineH3) leave(how string) {
	if how == byReset {
		l.stream.CancelRead(quic.StreamErrorCode(http3.ErrCodeRequestCanceled))
		l.stream.CancelWrite(quic.StreamErrorCode(http3.ErrCodeRequestCanceled))
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.ended {
		l.ended = true
		_ = l.stream.Close()
	}
}
