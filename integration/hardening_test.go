package integration

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2/hpack"
)

// sound is a handshake line by line, to be broken by the rows below.
func sound(extra ...string) []string {
	return append([]string{
		"GET /ws HTTP/1.1", "Host: SELF", "Upgrade: websocket", "Connection: Upgrade",
		"Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: " + clientKey,
	}, extra...)
}

// without leaves out the lines of a header, and adds others.
func without(name string, instead ...string) []string {
	var kept []string
	for _, line := range sound() {
		if !strings.HasPrefix(line, name) {
			kept = append(kept, line)
		}
	}
	return append(kept, instead...)
}

// TestUpgradeTokenSmuggling offers upgrades other than to WebSocket (S1). None
// may reach the backend, not even as a plain request.
func TestUpgradeTokenSmuggling(t *testing.T) {
	b := newBackend(t, answering("HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n"))
	g := start(t, "ws_gateway "+b.addr)
	tokens := map[string][]string{
		"h2c":                     {"Upgrade: h2c"},
		"websocket, h2c":          {"Upgrade: websocket, h2c"},
		"h2c, websocket":          {"Upgrade: h2c, websocket"},
		"two lines":               {"Upgrade: websocket", "Upgrade: h2c"},
		"two lines the other way": {"Upgrade: h2c", "Upgrade: websocket"},
		"two times websocket":     {"Upgrade: websocket", "Upgrade: websocket"},
		"TLS/1.0":                 {"Upgrade: TLS/1.0"},
		"websocket/13":            {"Upgrade: websocket/13"},
		"look-alike":              {"Upgrade: websockets"},
		"empty":                   {"Upgrade: "},
	}
	settings := "HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA"
	for name, upgrade := range tokens {
		for how, extra := range map[string][]string{
			"plain":                   {"Connection: Upgrade"},
			"with settings":           {"Connection: Upgrade", settings},
			"with settings nominated": {"Connection: Upgrade, HTTP2-Settings", settings},
		} {
			t.Run(name+"/"+how, func(t *testing.T) {
				head := []string{"GET /ws HTTP/1.1", "Host: " + g.httpAddr,
					"Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: " + clientKey}
				assertRefusedAtTheDoor(t, g, b, lines(append(append(head, upgrade...), extra...)...), 400)
			})
		}
	}
}

// assertRefusedAtTheDoor sends the bytes and expects the status (or, for 400,
// any 4xx but a 401 or 403) without a byte or a connection at the backend.
func assertRefusedAtTheDoor(t *testing.T, g *gateway, b *backend, sent string, status int) answer {
	t.Helper()
	before := b.count(&b.accepted)
	a := rawWS(t, g, sent)
	if a.status != status && (status != 400 || a.status < 400 || a.status > 499) {
		t.Errorf("status %d, want %d", a.status, status)
	}
	if b.count(&b.accepted) != before {
		t.Errorf("the backend was dialed and got %q", b.receivedBytes())
	}
	return a
}

// TestBrokenHandshakesAreRefused breaks one part of a handshake at a time (S2).
func TestBrokenHandshakesAreRefused(t *testing.T) {
	b := newBackend(t, echo)
	g := start(t, "ws_gateway "+b.addr)
	rows := []struct {
		name   string
		head   []string
		body   string
		status int
	}{
		{"version 1337", without("Sec-WebSocket-Version", "Sec-WebSocket-Version: 1337"), "", 426},
		{"version 8", without("Sec-WebSocket-Version", "Sec-WebSocket-Version: 8"), "", 426},
		{"no version", without("Sec-WebSocket-Version"), "", 400},
		{"version twice", sound("Sec-WebSocket-Version: 13"), "", 400},
		{"versions 13 and 8", sound("Sec-WebSocket-Version: 8"), "", 400},
		{"no key", without("Sec-WebSocket-Key"), "", 400},
		{"empty key", without("Sec-WebSocket-Key", "Sec-WebSocket-Key: "), "", 400},
		{"short key", without("Sec-WebSocket-Key", "Sec-WebSocket-Key: dGhlIHNhbXBsZQ=="), "", 400},
		{"long key", without("Sec-WebSocket-Key", "Sec-WebSocket-Key: "+strings.Repeat("A", 43)+"="), "", 400},
		{"key that is not base64", without("Sec-WebSocket-Key", "Sec-WebSocket-Key: !!!!!!!!!!!!!!!!!!!!!!=="), "", 400},
		{"key twice", sound("Sec-WebSocket-Key: " + clientKey), "", 400},
		{"body", sound("Content-Length: 5"), "hello", 400},
		{"chunked body", sound("Transfer-Encoding: chunked"), "5\r\nhello\r\n0\r\n\r\n", 400},
		{"no upgrade token in Connection", without("Connection", "Connection: keep-alive"), "", 400},
		{"no Connection", without("Connection"), "", 400},
		{"POST", append([]string{"POST /ws HTTP/1.1"}, sound()[1:]...), "", 405},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			sent := strings.ReplaceAll(lines(row.head...), "SELF", g.httpAddr) + row.body
			a := assertRefusedAtTheDoor(t, g, b, sent, row.status)
			if row.status == 426 && a.header.Get("Sec-WebSocket-Version") != "13" {
				t.Errorf("Sec-WebSocket-Version is %q, want 13", a.header.Get("Sec-WebSocket-Version"))
			}
			if row.status == 405 && a.header.Get("Allow") != "GET" {
				t.Errorf("Allow is %q, want GET", a.header.Get("Allow"))
			}
		})
	}
	t.Run("HTTP/1.0", func(t *testing.T) {
		sent := strings.ReplaceAll(lines(sound()...), "SELF", g.httpAddr)
		assertRefusedAtTheDoor(t, g, b, strings.Replace(sent, "HTTP/1.1", "HTTP/1.0", 1), 400)
	})
	t.Run("version 1337 over h2 and h3", func(t *testing.T) {
		for _, c := range []carrier{overH2, overH3} {
			a := c.refused(t, g, "/ws", http.Header{"Sec-WebSocket-Version": {"1337"}}, 426)
			if a.header.Get("Sec-WebSocket-Version") != "13" {
				t.Errorf("%s: Sec-WebSocket-Version is %q, want 13", c.name, a.header.Get("Sec-WebSocket-Version"))
			}
		}
		if n := b.count(&b.opened); n != 0 {
			t.Errorf("the backend was asked %d times", n)
		}
	})
}

// TestPlainConnectIsRefused sends CONNECT without :protocol, which must not
// become a tunnel (S3).
func TestPlainConnectIsRefused(t *testing.T) {
	b := newBackend(t, echo)
	g := start(t, "ws_gateway "+b.addr)
	t.Run("h1", func(t *testing.T) {
		assertRefusedAtTheDoor(t, g, b, lines("CONNECT "+g.httpAddr+" HTTP/1.1", "Host: "+g.httpAddr), 405)
	})
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	t.Run("h2", func(t *testing.T) {
		c, conn, err := connH2(g)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		s, err := c.open(ctx, []hpack.HeaderField{{Name: ":method", Value: http.MethodConnect}, {Name: ":authority", Value: g.tlsHost()}}, nil)
		if err != nil {
			t.Fatal(err)
		}
		if s.status != 405 {
			t.Errorf("status %d, want 405", s.status)
		}
	})
	t.Run("h3", func(t *testing.T) {
		cc, conn, err := connH3(ctx, g)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.CloseWithError(0, "") //nolint:errcheck // the end of the test
		str, err := cc.OpenRequestStream(ctx)
		if err != nil {
			t.Fatal(err)
		}
		connect := &http.Request{Method: http.MethodConnect, URL: &url.URL{Scheme: "https", Host: g.tlsHost()}, Host: g.tlsHost()}
		if err := str.SendRequestHeader(connect.WithContext(ctx)); err != nil {
			t.Fatal(err)
		}
		res, err := str.ReadResponse()
		if err != nil {
			t.Fatal(err)
		}
		if res.StatusCode != 405 {
			t.Errorf("status %d, want 405", res.StatusCode)
		}
	})
	if n := b.count(&b.accepted); n != 0 {
		t.Errorf("the backend was dialed %d times and got %q", n, b.receivedBytes())
	}
}

// TestRejectedUpgradeClosesTheConnection pipelines a second request behind a
// handshake that is refused (S3): it must not be served.
func TestRejectedUpgradeClosesTheConnection(t *testing.T) {
	refusing := newBackend(t, answering("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno"))
	invalid := newBackend(t, answering("HTTP/1.1 101 Switching Protocols\r\n\r\n"))
	rows := []struct {
		name, site string
		head       []string
		status     string
	}{
		{"unauthorized", "ws_gateway /ws %s {\n auth {\n bearer good-token\n }\n }", sound(), "401"},
		{"forbidden origin", "ws_gateway /ws %s {\n origins https://good.com\n }", sound("Origin: https://evil.com"), "403"},
		{"bad version", "ws_gateway /ws %s", without("Sec-WebSocket-Version", "Sec-WebSocket-Version: 9"), "426"},
		{"h2c", "ws_gateway /ws %s", without("Upgrade", "Upgrade: h2c"), "4"},
		{"refused by the upstream", "ws_gateway /ws %s", sound(), "403"},
		{"invalid 101", "ws_gateway /ws " + invalid.addr + "\n # %s", sound(), "502"},
		{"no upstream", "ws_gateway /ws 127.0.0.1:1\n # %s", sound(), "503"},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			g := start(t, strings.ReplaceAll(row.site, "%s", refusing.addr)+"\nrespond /second \"second served\"")
			second := lines("GET /second HTTP/1.1", "Host: SELF")
			conn := dialRaw(t, g)
			conn.send(t, strings.ReplaceAll(lines(row.head...)+second, "SELF", g.httpAddr))
			got := conn.rest(t)
			if !strings.HasPrefix(got, "HTTP/1.1 "+row.status) {
				t.Errorf("answer %q, want status %s", firstLine(got), row.status)
			}
			if strings.Contains(got, "second served") || strings.Count(got, "HTTP/1.1 ") != 1 {
				t.Errorf("the request behind the refused upgrade was served: %q", got)
			}
			if strings.Contains(refusing.receivedBytes()+invalid.receivedBytes(), "/second") {
				t.Error("the request behind the refused upgrade reached the backend")
			}
		})
	}
}

// TestFakeUpgradeTunnel has an upstream refuse the upgrade and then wait for
// what the client pipelines (S2): it must never come.
func TestFakeUpgradeTunnel(t *testing.T) {
	b := newBackend(t, answering("HTTP/1.1 426 Upgrade Required\r\nContent-Length: 3\r\nSec-WebSocket-Version: 13\r\n\r\nno!"))
	g := start(t, "ws_gateway "+b.addr)
	conn := dialRaw(t, g)
	conn.send(t, handshakeH1("/ws", g.httpAddr, nil)+lines("GET /internal HTTP/1.1", "Host: "+g.httpAddr))
	got := conn.rest(t)
	if !strings.HasPrefix(got, "HTTP/1.1 426 ") || !strings.Contains(got, "\r\n\r\nno!") {
		t.Errorf("the upstream's refusal did not reach the client: %q", got)
	}
	eventually(t, "the backend's connection to end", b.idle)
	if got := b.receivedBytes(); strings.Contains(got, "/internal") {
		t.Errorf("the backend received %q", got)
	}
}

// TestRefusalOfTheUpstreamReachesTheClient passes on status, headers and body
// over every protocol, and leaves the upstream's socket to no one else.
func TestRefusalOfTheUpstreamReachesTheClient(t *testing.T) {
	body := strings.Repeat("you may not. ", 5000)
	b := newBackend(t, answering(fmt.Sprintf(
		"HTTP/1.1 403 Forbidden\r\nContent-Length: %d\r\nX-Why: rules\r\n\r\n%s", len(body), body)))
	g := start(t, "ws_gateway "+b.addr)
	eachCarrier(t, func(t *testing.T, c carrier) {
		a := c.refused(t, g, "/ws", nil, 403)
		if a.body != body || a.header.Get("X-Why") != "rules" {
			t.Errorf("body of %d bytes, want %d; X-Why %q", len(a.body), len(body), a.header.Get("X-Why"))
		}
	})
	for range 3 {
		g.get(t, "/plain", nil)
	}
	for _, c := range b.everSeen() {
		if n := strings.Count(string(c.received.bytes()), "GET /"); n > 1 && strings.Contains(string(c.received.bytes()), "Upgrade:") {
			t.Errorf("a socket that carried an upgrade was used again:\n%s", c.received.bytes())
		}
	}
	g.waitConnections(t, 0)
}

// TestInvalid101IsABadGateway has the upstream agree in the wrong way (S2).
func TestInvalid101IsABadGateway(t *testing.T) {
	const head, upgrade, connection, accept = "HTTP/1.1 101 Switching Protocols\r\n",
		"Upgrade: websocket\r\n", "Connection: Upgrade\r\n", "Sec-WebSocket-Accept: {accept}\r\n"
	offer := http.Header{"Sec-WebSocket-Protocol": {"chat"}, "Sec-WebSocket-Extensions": {"permessage-deflate"}}
	rows := map[string]string{
		"wrong Accept":       head + upgrade + connection + "Sec-WebSocket-Accept: c29tZXRoaW5nIGVsc2UuLi4=\r\n",
		"missing Accept":     head + upgrade + connection,
		"duplicate Accept":   head + upgrade + connection + accept + accept,
		"two Accepts":        head + upgrade + connection + accept + "Sec-WebSocket-Accept: x\r\n",
		"unoffered protocol": head + upgrade + connection + accept + "Sec-WebSocket-Protocol: other\r\n",
		"two protocols":      head + upgrade + connection + accept + "Sec-WebSocket-Protocol: chat, chat\r\n",
		"unoffered extension": head + upgrade + connection + accept +
			"Sec-WebSocket-Extensions: x-webkit-deflate-frame\r\n",
		"offered and unoffered extension": head + upgrade + connection + accept +
			"Sec-WebSocket-Extensions: permessage-deflate, x-other\r\n",
		"missing Upgrade":    head + connection + accept,
		"other Upgrade":      head + "Upgrade: h2c\r\n" + connection + accept,
		"missing Connection": head + upgrade + accept,
		"other Connection":   head + upgrade + "Connection: close\r\n" + accept,
	}
	for name, reply := range rows {
		t.Run(name, func(t *testing.T) {
			b := newBackend(t, answering(reply+"\r\n"))
			g := start(t, "ws_gateway "+b.addr)
			for _, c := range []carrier{overWS, overH2} {
				c.refused(t, g, "/ws", offer, 502)
			}
			if n := b.count(&b.accepted); n != 2 {
				t.Errorf("the backend was dialed %d times for 2 handshakes: an invalid answer is not retried", n)
			}
			eventually(t, "the backend's connections to end", b.idle)
			g.assertNoLiveSeries(t)
		})
	}
	t.Run("not HTTP at all", func(t *testing.T) {
		b := newBackend(t, answering("SSH-2.0-OpenSSH_9.2\r\n\r\n"))
		overWS.refused(t, start(t, "ws_gateway "+b.addr), "/ws", nil, 502)
	})
}

// TestSilentUpstreamIsAGatewayTimeout waits no longer than handshake_timeout
// and asks no other upstream.
func TestSilentUpstreamIsAGatewayTimeout(t *testing.T) {
	quiet, other := newBackend(t, silent), newBackend(t, echo)
	g := start(t, "ws_gateway "+quiet.addr+" "+other.addr+" {\n lb_policy first\n handshake_timeout 300ms\n }")
	eachCarrier(t, func(t *testing.T, c carrier) {
		began := time.Now()
		c.refused(t, g, "/ws", nil, 504)
		if took := time.Since(began); took < 250*time.Millisecond {
			t.Errorf("gave up after %v, before handshake_timeout", took)
		}
	})
	if n := other.count(&other.accepted); n != 0 {
		t.Errorf("a silent upstream was retried elsewhere, %d times", n)
	}
	g.assertNoLiveSeries(t)
}

// TestHandshakeKeyIsFresh makes sure the upstream's handshake has a
// key of its own, so that one client cannot fix the answer for it.
func TestHandshakeKeyIsFresh(t *testing.T) {
	b := newBackend(t, echo)
	g := start(t, "ws_gateway "+b.addr)
	seen := map[string]bool{clientKey: true}
	for range 3 {
		overWS.open(t, g, "/ws", nil).finish(t)
		keys := headerLines(receive(t, "handshake", b.requests), "Sec-WebSocket-Key")
		if len(keys) != 1 || seen[keys[0]] {
			t.Fatalf("Sec-WebSocket-Key at the backend is %q, want one that was never used", keys)
		}
		seen[keys[0]] = true
	}
}
