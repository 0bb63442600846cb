package integration

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// carrier is a way to bring a WebSocket to the gateway. All of them present
// the same: an answer, and after a success a stream of raw frames.
type carrier struct {
	name   string
	secure bool // over TLS
	status int  // of a successful handshake
	proto  string
	try    func(g *gateway, path string, header http.Header) (answer, error)
}

var (
	overWS  = carrier{"h1 ws", false, 101, "HTTP/1.1", dialWS}
	overWSS = carrier{"h1 wss", true, 101, "HTTP/1.1", dialWSS}
	overH2  = carrier{"h2", true, 200, "HTTP/2.0", dialH2}
	overH3  = carrier{"h3", true, 200, "HTTP/3.0", dialH3}

	carriers = []carrier{overWS, overWSS, overH2, overH3}
)

// eachCarrier runs a subtest for each way in.
func eachCarrier(t *testing.T, test func(t *testing.T, c carrier)) {
	t.Helper()
	for _, c := range carriers {
		t.Run(c.name, func(t *testing.T) { test(t, c) })
	}
}

// answer is what the gateway answered; conn is set when it is a WebSocket.
type answer struct {
	status int
	header http.Header
	body   string
	conn   *wsConn
}

// do sends a handshake; the connection is closed with the test.
func (c carrier) do(t *testing.T, g *gateway, path string, header http.Header) answer {
	t.Helper()
	a, err := c.try(g, path, header)
	if err != nil {
		t.Fatalf("handshake over %s: %v", c.name, err)
	}
	if a.conn != nil {
		t.Cleanup(a.conn.kill)
	}
	return a
}

// open is do for a handshake that must succeed.
func (c carrier) open(t *testing.T, g *gateway, path string, header http.Header) *wsConn {
	t.Helper()
	a := c.do(t, g, path, header)
	if a.conn == nil {
		t.Fatalf("handshake over %s: status %d, want %d: %s", c.name, a.status, c.status, a.body)
	}
	return a.conn
}

// refused is do for a handshake that must be refused with the status.
func (c carrier) refused(t *testing.T, g *gateway, path string, header http.Header, status int) answer {
	t.Helper()
	a := c.do(t, g, path, header)
	if a.status != status || a.conn != nil {
		t.Fatalf("handshake over %s: status %d, want %d: %s", c.name, a.status, status, a.body)
	}
	return a
}

// wsConn is an open WebSocket, as raw bytes.
type wsConn struct {
	w          io.Writer
	br         *bufio.Reader
	header     http.Header // of the answer to the handshake
	closeWrite func() error
	once       sync.Once
	abort      func() // breaks off the whole connection
}

// kill breaks off the connection without a close frame.
func (c *wsConn) kill() { c.once.Do(c.abort) }

// guard breaks off the connection when a read or write takes too long, so that
// a test fails instead of hanging.
func (c *wsConn) guard() *time.Timer { return time.AfterFunc(patience, c.kill) }

func (c *wsConn) send(f frame) error {
	defer c.guard().Stop()
	_, err := c.w.Write(f.clientBytes())
	return err
}

func (c *wsConn) next() (frame, error) {
	defer c.guard().Stop()
	return readFrame(c.br)
}

func (c *wsConn) mustSend(t *testing.T, f frame) {
	t.Helper()
	if err := c.send(f); err != nil {
		t.Fatalf("sending %v: %v", f, err)
	}
}

// expect reads the next frame and compares it.
func (c *wsConn) expect(t *testing.T, want frame) {
	t.Helper()
	got, err := c.next()
	if err != nil {
		t.Fatalf("waiting for %v: %v", want, err)
	}
	if got.op != want.op || !bytes.Equal(got.payload, want.payload) {
		t.Fatalf("got %v, want %v", got, want)
	}
	if got.masked {
		t.Fatalf("%v came masked from the server", got)
	}
}

// expectClose reads up to a close frame, which must have the code.
func (c *wsConn) expectClose(t *testing.T, code int) {
	t.Helper()
	got, err := c.closeFrame()
	if err != nil {
		t.Fatalf("waiting for close %d: %v", code, err)
	}
	if got.closeCode() != code {
		t.Fatalf("closed with %d (%s), want %d", got.closeCode(), got.payload[min(2, len(got.payload)):], code)
	}
}

// closeFrame skips to the close frame.
func (c *wsConn) closeFrame() (frame, error) {
	for {
		f, err := c.next()
		if err != nil || f.op == opClose {
			return f, err
		}
	}
}

// ping sends text and expects it back.
func (c *wsConn) ping(t *testing.T, s string) {
	t.Helper()
	c.mustSend(t, text(s))
	c.expect(t, text(s))
}

// finish does the closing handshake from the client's side.
func (c *wsConn) finish(t *testing.T) {
	t.Helper()
	c.mustSend(t, closing(1000, "bye"))
	c.expectClose(t, 1000)
	c.kill()
}

// expectEnd reads until the connection is over, which it must soon be.
func (c *wsConn) expectEnd(t *testing.T) {
	t.Helper()
	start := time.Now()
	defer c.guard().Stop()
	_, _ = io.Copy(io.Discard, c.br)
	if time.Since(start) >= patience {
		t.Fatal("the connection was not ended")
	}
}

const clientKey = "dGhlIHNhbXBsZSBub25jZQ=="

// handshakeH1 is a sound handshake over HTTP/1.1.
func handshakeH1(path, host string, header http.Header) string {
	var b strings.Builder
	fmt.Fprintf(&b, "GET %s HTTP/1.1\r\nHost: %s\r\n", path, host)
	for _, line := range [][2]string{
		{"Upgrade", "websocket"}, {"Connection", "Upgrade"},
		{"Sec-WebSocket-Version", "13"}, {"Sec-WebSocket-Key", clientKey},
	} {
		if _, set := header[line[0]]; !set {
			fmt.Fprintf(&b, "%s: %s\r\n", line[0], line[1])
		}
	}
	for name, values := range header {
		for _, value := range values {
			fmt.Fprintf(&b, "%s: %s\r\n", name, value)
		}
	}
	b.WriteString("\r\n")
	return b.String()
}

func dialWS(g *gateway, path string, header http.Header) (answer, error) {
	return dialAt(g.httpAddr, path, header)
}

// dialAt shakes hands with any server.
func dialAt(addr, path string, header http.Header) (answer, error) {
	conn, err := net.DialTimeout("tcp", addr, patience)
	if err != nil {
		return answer{}, err
	}
	return shakeH1(conn, handshakeH1(path, addr, header))
}

func dialWSS(g *gateway, path string, header http.Header) (answer, error) {
	conn, err := tls.DialWithDialer(&net.Dialer{Timeout: patience}, "tcp", g.httpsAddr, clientTLS("http/1.1"))
	if err != nil {
		return answer{}, err
	}
	return shakeH1(conn, handshakeH1(path, g.tlsHost(), header))
}

// shakeH1 sends a handshake as it is and reads the answer.
func shakeH1(conn net.Conn, handshake string) (answer, error) {
	_ = conn.SetDeadline(time.Now().Add(patience))
	if _, err := io.WriteString(conn, handshake); err != nil {
		_ = conn.Close()
		return answer{}, err
	}
	return readAnswerH1(conn, bufio.NewReaderSize(conn, 32<<10))
}

// readAnswerH1 reads the answer to a handshake over HTTP/1.1.
func readAnswerH1(conn net.Conn, br *bufio.Reader) (answer, error) {
	res, err := http.ReadResponse(br, &http.Request{Method: http.MethodGet})
	if err != nil {
		_ = conn.Close()
		return answer{}, err
	}
	a := answer{status: res.StatusCode, header: res.Header}
	if res.StatusCode != http.StatusSwitchingProtocols {
		defer conn.Close()
		return a.withBody(res.Body)
	}
	if got := res.Header.Get("Sec-WebSocket-Accept"); got != acceptKey(clientKey) {
		_ = conn.Close()
		return a, fmt.Errorf("Sec-WebSocket-Accept is %q", got)
	}
	_ = conn.SetDeadline(time.Time{})
	a.conn = &wsConn{
		w: conn, br: br, header: res.Header,
		closeWrite: conn.(interface{ CloseWrite() error }).CloseWrite,
		abort:      func() { reset(conn) },
	}
	return a, nil
}

// withBody reads the body of a refusal.
func (a answer) withBody(r io.ReadCloser) (answer, error) {
	defer r.Close()
	body, err := io.ReadAll(r)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		return a, err
	}
	a.body = string(body)
	return a, nil
}

// clientTLS trusts anyone: the certificate is Caddy's own, made for the run.
func clientTLS(protocol string) *tls.Config {
	return &tls.Config{ServerName: "localhost", InsecureSkipVerify: true, NextProtos: []string{protocol}} // #nosec G402
}

// tlsHost is the host and port that the TLS site is known by.
func (g *gateway) tlsHost() string {
	_, port, _ := net.SplitHostPort(g.httpsAddr)
	return "localhost:" + port
}
