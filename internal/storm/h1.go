package main

import (
	"bufio"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"time"
)

// doorH1 makes a connection of HTTP/1.1 for each handshake.
type doorH1 struct {
	address string
	secure  bool
}

func (d *doorH1) close() {}

func (d *doorH1) connect() (net.Conn, error) {
	dialer := net.Dialer{Timeout: clientPatience}
	if d.secure {
		return tls.DialWithDialer(&dialer, "tcp", d.address, clientTLS("http/1.1"))
	}
	return dialer.Dial("tcp", d.address)
}

func (d *doorH1) knock(target string, cut int, more []byte) (line, error) {
	conn, err := d.connect()
	if err != nil {
		return nil, err
	}
	request := []byte("GET " + target + " HTTP/1.1\r\nHost: " + hostOf(d.address) + "\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
	request = append(request, more...)
	if cut != never {
		request = request[:min(cut, len(request))]
	}
	_ = conn.SetDeadline(time.Now().Add(clientPatience))
	if _, err := conn.Write(request); err != nil {
		_ = conn.Close()
		return nil, err
	}
	_ = conn.SetDeadline(time.Time{})
	return &lineH1{conn: conn, br: bufio.NewReader(conn)}, nil
}

// lineH1 is a connection of HTTP/1.1.
type lineH1 struct {
	conn net.Conn
	br   *bufio.Reader
	body io.Reader // nil after a success
}

func (l *lineH1) answer(cut int) (int, error) {
	if cut != never {
		_, err := io.CopyN(io.Discard, l.br, int64(cut))
		return 0, err
	}
	res, err := http.ReadResponse(l.br, &http.Request{Method: http.MethodGet}) //nolint:bodyclose // it ends with the connection
	if err != nil {
		return 0, err
	}
	if res.StatusCode != http.StatusSwitchingProtocols {
		l.body = res.Body
	}
	return res.StatusCode, nil
}

func (l *lineH1) Read(p []byte) (int, error) {
	if l.body != nil {
		return l.body.Read(p)
	}
	return l.br.Read(p)
}

func (l *lineH1) Write(p []byte) (int, error) { return l.conn.Write(p) }

func (l *lineH1) leave(how string) {
	switch how {
	case byHalf:
		if half, ok := l.conn.(interface{ CloseWrite() error }); ok && half.CloseWrite() == nil {
			return
		}
	case byReset:
		lingerNot(l.conn)
	}
	_ = l.conn.Close()
}

// clientTLS trusts any certificate: the server's is our own.
func clientTLS(protocol string) *tls.Config {
	return &tls.Config{ServerName: "localhost", InsecureSkipVerify: true, NextProtos: []string{protocol}} //nolint:gosec // as above
}

// hostOf is what the site with TLS is known by, whatever is asked of the other.
func hostOf(address string) string {
	return net.JoinHostPort("localhost", portOf(address))
}
