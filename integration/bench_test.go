package integration

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
)

// BenchmarkHandshake opens a connection through Caddy, has one message echoed
// and closes it: what a client costs that comes and goes. Both peers run in the
// same process, and allocate next to nothing.
func BenchmarkHandshake(b *testing.B) {
	for name, auth := range map[string]string{"open": "", "bearer": "auth {\n bearer secret alice\n}"} {
		b.Run(name, func(b *testing.B) {
			backend := newFrugalBackend(b)
			addr := freePort(b)
			_, port, _ := net.SplitHostPort(addr)
			config, _, err := caddyconfig.GetAdapter("caddyfile").Adapt(fmt.Appendf(nil, `{
				admin off
				auto_https off
				persist_config off
				log default {
					output discard
				}
			}
			http://:%s {
				bind 127.0.0.1
				ws_gateway %s {
					%s
				}
			}`, port, backend, auth), nil)
			if err != nil {
				b.Fatal(err)
			}
			if err := caddy.Load(config, true); err != nil {
				b.Fatal(err)
			}
			defer func() { _ = caddy.Stop() }()
			p := make([]byte, 1024)
			b.ReportAllocs()
			for b.Loop() {
				if err := comeAndGo(addr, p); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

const frugalHandshake = "GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
	"Authorization: Bearer secret\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"

func comeAndGo(addr string, p []byte) error {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, frugalHandshake); err != nil {
		return err
	}
	if n, err := conn.Read(p); err != nil || !strings.HasPrefix(string(p[:n]), "HTTP/1.1 101") {
		return fmt.Errorf("handshake: %q, %w", p[:n], err)
	}
	for _, frame := range []string{"\x81\x82\x00\x00\x00\x00hi", "\x88\x82\x00\x00\x00\x00\x03\xe8"} {
		if _, err := io.WriteString(conn, frame); err != nil {
			return err
		}
		if _, err := io.ReadFull(conn, p[:4]); err != nil {
			return err
		}
	}
	return nil
}

// newFrugalBackend returns the address of a server that echoes messages as short
// as those of comeAndGo.
func newFrugalBackend(b *testing.B) string {
	b.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = l.Close() })
	go func() {
		br := bufio.NewReader(nil)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			br.Reset(conn)
			serveFrugally(conn, br)
		}
	}()
	return l.Addr().String()
}

func serveFrugally(conn net.Conn, br *bufio.Reader) {
	defer conn.Close()
	var key string
	for {
		line, err := br.ReadString('\n')
		if err != nil {
			return
		}
		if line == "\r\n" {
			break
		}
		if value, ok := strings.CutPrefix(line, "Sec-WebSocket-Key: "); ok {
			key = strings.TrimSpace(value)
		}
	}
	_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "+acceptKey(key)+"\r\n\r\n")
	var frame [8]byte
	for {
		if _, err := io.ReadFull(br, frame[:]); err != nil {
			return
		}
		for i := range 2 {
			frame[6+i] ^= frame[2+i]
		}
		if _, err := conn.Write([]byte{frame[0], 2, frame[6], frame[7]}); err != nil || frame[0] == 0x88 {
			return
		}
	}
}
