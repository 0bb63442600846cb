package integration

import (
	"bufio"
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

// rawWS sends exactly these bytes to the plain port and reads the answer.
func rawWS(t *testing.T, g *gateway, sent string) answer {
	t.Helper()
	conn, err := net.DialTimeout("tcp", g.httpAddr, patience)
	if err != nil {
		t.Fatal(err)
	}
	a, err := shakeH1(conn, sent)
	if err != nil {
		t.Fatalf("answer to %q: %v", firstLine(sent), err)
	}
	if a.conn != nil {
		t.Cleanup(a.conn.kill)
	}
	return a
}

// rawConn is a client connection that reads and writes bytes as they are.
type rawConn struct {
	net.Conn
	br *bufio.Reader
}

func dialRaw(t *testing.T, g *gateway) rawConn {
	t.Helper()
	conn, err := net.DialTimeout("tcp", g.httpAddr, patience)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(patience))
	return rawConn{conn, bufio.NewReader(conn)}
}

func (c rawConn) send(t *testing.T, s string) {
	t.Helper()
	if _, err := io.WriteString(c, s); err != nil {
		t.Fatal(err)
	}
}

// rest reads until the gateway closes the connection.
func (c rawConn) rest(t *testing.T) string {
	t.Helper()
	all, err := io.ReadAll(c.br)
	if err != nil && !strings.Contains(err.Error(), "reset") {
		t.Fatalf("the gateway did not close the connection: %v; it sent %q", err, all)
	}
	return string(all)
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(s, "\r\n")
	return line
}

// lines builds a request head.
func lines(l ...string) string { return strings.Join(l, "\r\n") + "\r\n\r\n" }
