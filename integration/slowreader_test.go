package integration

import (
	"bytes"
	"crypto/tls"
	"io"
	"net"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// slowClient reads what the gateway sends it as slowly as the test wants, with a
// small receive buffer. What it reads is not looked at.
type slowClient struct {
	io.Reader
	tcp *net.TCPConn
}

func dialSlow(t *testing.T, address string) *net.TCPConn {
	t.Helper()
	c, err := net.DialTimeout("tcp", address, patience)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	tcp, _ := c.(*net.TCPConn)
	if err := tcp.SetReadBuffer(64 << 10); err != nil {
		t.Fatal(err)
	}
	return tcp
}

func slowWS(t *testing.T, g *gateway) slowClient {
	t.Helper()
	tcp := dialSlow(t, g.httpAddr)
	a, err := shakeH1(tcp, handshakeH1("/ws", g.httpAddr, nil))
	if err != nil || a.conn == nil {
		t.Fatalf("status %d: %v", a.status, err)
	}
	return slowClient{a.conn.br, tcp}
}

func slowWSS(t *testing.T, g *gateway) slowClient {
	t.Helper()
	tcp := dialSlow(t, g.httpsAddr)
	a, err := shakeH1(tls.Client(tcp, clientTLS("http/1.1")), handshakeH1("/ws", g.tlsHost(), nil))
	if err != nil || a.conn == nil {
		t.Fatalf("status %d: %v", a.status, err)
	}
	return slowClient{a.conn.br, tcp}
}

// slowH2 lets the gateway send as much as it likes, so that only the socket is
// slow.
func slowH2(t *testing.T, g *gateway) slowClient {
	t.Helper()
	tcp := dialSlow(t, g.httpsAddr)
	conn := tls.Client(tcp, clientTLS("h2"))
	if _, err := io.WriteString(conn, http2.ClientPreface); err != nil {
		t.Fatal(err)
	}
	const most = 1<<31 - 1
	var head bytes.Buffer
	enc := hpack.NewEncoder(&head)
	for _, f := range [][2]string{
		{":method", "CONNECT"}, {":protocol", "websocket"}, {":scheme", "https"}, {":path", "/ws"},
		{":authority", g.tlsHost()}, {"sec-websocket-version", "13"},
	} {
		if err := enc.WriteField(hpack.HeaderField{Name: f[0], Value: f[1]}); err != nil {
			t.Fatal(err)
		}
	}
	framer := http2.NewFramer(conn, conn)
	for _, err := range []error{
		framer.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: most}),
		framer.WriteWindowUpdate(0, most-65535),
		framer.WriteSettingsAck(),
		framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: head.Bytes(), EndHeaders: true}),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	return slowClient{conn, tcp}
}

// TestSlowClientsAreNotEnded has clients read 300 KiB a second of a flood, over
// several times write_timeout, and then nothing. It takes more than that until a
// kernel with a full buffer takes more.
func TestSlowClientsAreNotEnded(t *testing.T) {
	long(t)
	const pause, piece = 20 * time.Millisecond, 6 << 10
	b := newBackend(t, handOver())
	g := start(t, "ws_gateway "+b.addr+" {\n write_timeout 3s\n }")
	for name, open := range map[string]func(*testing.T, *gateway) slowClient{"ws": slowWS, "wss": slowWSS, "h2": slowH2} {
		t.Run(name, func(t *testing.T) {
			client := open(t, g)
			upstream := receive(t, "upgrade at the backend", b.upgraded)
			defer upstream.Close()
			go func() {
				message := frame{fin: true, op: opBinary, payload: make([]byte, 100_000)}
				for upstream.write(message) == nil {
					continue
				}
			}()
			before := len(book.closedBy(b.addr))
			tick := time.NewTicker(pause)
			defer tick.Stop()
			p := make([]byte, piece)
			for range 10 * time.Second / pause {
				if _, err := io.ReadFull(client, p); err != nil {
					t.Fatal(err)
				}
				<-tick.C
			}
			if lines := book.closedBy(b.addr); len(lines) != before {
				t.Fatalf("ended: %s", lines[before].raw)
			}
			eventually(t, "the end of a client that takes nothing", func() bool { return len(book.closedBy(b.addr)) > before })
			if line := book.closedBy(b.addr)[before]; line.str("by") != "client" || line.str("reason") != "client stopped reading" {
				t.Errorf("logged: %s", line.raw)
			}
		})
	}
}
