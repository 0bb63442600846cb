package integration

import (
	"context"
	"fmt"
	"net/http"
	"os/exec"
	"strings"
	"testing"
)

const settings = "HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA"

// TestOfferOfAnotherProtocolIsIgnored (RFC 9110 section 7.8) in a request that has
// nothing to do with WebSocket, and does not reach the upstream.
func TestOfferOfAnotherProtocolIsIgnored(t *testing.T) {
	b := newBackend(t, echo)
	for name, site := range map[string]string{
		"open":    "ws_gateway " + b.addr,
		"guarded": "ws_gateway " + b.addr + " {\n auth {\n bearer good-token\n }\n }\nhandle_errors {\n reverse_proxy " + b.addr + "\n }",
	} {
		g := start(t, site)
		for offer, fields := range map[string][]string{
			"h2c":                {"Upgrade: h2c", "Connection: Upgrade, HTTP2-Settings", settings},
			"h2c, two lines":     {"Upgrade: h2c", "Connection: HTTP2-Settings", "Connection: keep-alive, upgrade", settings},
			"h2c, not nominated": {"Upgrade: h2c", settings},
			"settings alone":     {"Connection: HTTP2-Settings", settings},
			"TLS":                {"Upgrade: TLS/1.0", "Connection: Upgrade"},
			"several":            {"Upgrade: h2c, IRC/6.9", "Upgrade: RTA/x11", "Connection: Upgrade"},
			"nothing":            {"Upgrade: ", "Connection: Upgrade"},
		} {
			for method, body := range map[string]string{"GET": "", "POST": "hello"} {
				t.Run(fmt.Sprintf("%s/%s/%s", name, offer, method), func(t *testing.T) {
					head := append([]string{method + " /page HTTP/1.1", "Host: " + g.httpAddr, fmt.Sprint("Content-Length: ", len(body))}, fields...)
					conn := dialRaw(t, g)
					for range 2 { // the connection goes on
						conn.send(t, lines(head...)+body)
						res, err := http.ReadResponse(conn.br, &http.Request{Method: method})
						if err != nil {
							t.Fatal(err)
						}
						_ = res.Body.Close()
						if res.StatusCode != 200 || res.Header.Get("Upgrade") != "" {
							t.Errorf("status %d, Upgrade %q", res.StatusCode, res.Header.Get("Upgrade"))
						}
						sent := receive(t, "the request", b.requests)
						for _, name := range []string{"upgrade", "http2-settings", "connection"} {
							if strings.Contains(strings.ToLower(sent), "\r\n"+name+":") {
								t.Errorf("the upstream was sent %q", sent)
							}
						}
					}
				})
			}
		}
	}
}

// TestCurlOffersHTTP2 on every cleartext request, as Java's HttpClient does.
func TestCurlOffersHTTP2(t *testing.T) {
	curl, err := exec.LookPath("curl")
	need(t, err != nil, "curl is not installed")
	b := newBackend(t, echo)
	g := start(t, "ws_gateway "+b.addr)
	for _, args := range [][]string{nil, {"-d", "some=form"}} {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		cmd := exec.CommandContext(ctx, curl, append(append([]string{"-sS", "--http2", "-w", " %{http_code} %{http_version}"}, args...), "http://"+g.httpAddr+"/page")...) // #nosec G204
		out, err := cmd.CombinedOutput()
		if want := "plain from " + b.addr + " 200 1.1"; err != nil || string(out) != want {
			t.Errorf("curl %q: %v: got %q, want %q", args, err, out, want)
		}
	}
}

// TestJavaOffersHTTP2 by default.
func TestJavaOffersHTTP2(t *testing.T) {
	java, err := exec.LookPath("java")
	need(t, err != nil, "java is not installed")
	err = exec.CommandContext(t.Context(), java, "--add-modules", "jdk.compiler", "--version").Run() // #nosec G204
	need(t, err != nil, "java has no compiler")
	b := newBackend(t, echo)
	g := start(t, "ws_gateway "+b.addr)
	ctx, cancel := context.WithTimeout(t.Context(), 3*patience) // it compiles first
	defer cancel()
	out, err := exec.CommandContext(ctx, java, "clients/Offer.java", "http://"+g.httpAddr+"/page").CombinedOutput() // #nosec G204
	answer := "200 HTTP_1_1 plain from " + b.addr + "\n"
	if err != nil || string(out) != answer+answer {
		t.Errorf("%v: got %q", err, out)
	}
	for range 2 {
		if head := receive(t, "the request", b.requests); strings.Contains(head, "h2c") || strings.Contains(strings.ToLower(head), "http2-settings") {
			t.Errorf("the upstream was sent %q", head)
		}
	}
}

// TestKeyMayHaveBitsBehindItsLastByte (RFC 4648 section 3.5).
func TestKeyMayHaveBitsBehindItsLastByte(t *testing.T) {
	b := newBackend(t, echo)
	g := start(t, "ws_gateway "+b.addr)
	conn := dialRaw(t, g)
	const key = "dGhlIHNhbXBsZSBub25jZR=="
	conn.send(t, strings.ReplaceAll(lines(without("Sec-WebSocket-Key", "Sec-WebSocket-Key: "+key)...), "SELF", g.httpAddr))
	res, err := http.ReadResponse(conn.br, nil)
	if err != nil {
		t.Fatal(err)
	}
	if res.StatusCode != 101 || res.Header.Get("Sec-WebSocket-Accept") != acceptKey(key) {
		t.Errorf("status %d, Sec-WebSocket-Accept %q", res.StatusCode, res.Header.Get("Sec-WebSocket-Accept"))
	}
	if sent := headerLines(receive(t, "handshake", b.requests), "Sec-WebSocket-Key"); len(sent) != 1 || sent[0] == key {
		t.Errorf("the upstream was sent the key %q", sent)
	}
}

// TestEmptyListOffersNothing and does not reach the upstream.
func TestEmptyListOffersNothing(t *testing.T) {
	b := newBackend(t, handOver())
	g := start(t, "ws_gateway "+b.addr)
	eachCarrier(t, func(t *testing.T, c carrier) {
		for _, value := range []string{"", " ", ",", " , "} {
			conn := c.open(t, g, "/ws", http.Header{"Sec-Websocket-Protocol": {value}, "Sec-Websocket-Extensions": {value}})
			head := receive(t, "handshake", b.requests)
			for _, name := range []string{"sec-websocket-protocol", "sec-websocket-extensions"} {
				if strings.Contains(strings.ToLower(head), "\r\n"+name+":") {
					t.Errorf("%q reached the upstream: %q", value, head)
				}
			}
			if got := conn.header.Get("Sec-WebSocket-Protocol"); got != "" {
				t.Errorf("%q made the answer select %q", value, got)
			}
			conn.kill()
			_ = receive(t, "the upstream's connection", b.upgraded).Close()
		}
	})
}

// TestUpgradeRequiredSaysToWhat (RFC 9110 section 15.5.22), where there is Upgrade.
func TestUpgradeRequiredSaysToWhat(t *testing.T) {
	b := newBackend(t, echo)
	g := start(t, "ws_gateway "+b.addr)
	conn := dialRaw(t, g)
	conn.send(t, strings.ReplaceAll(lines(without("Sec-WebSocket-Version", "Sec-WebSocket-Version: 8")...), "SELF", g.httpAddr))
	got := conn.rest(t)
	for _, line := range []string{"HTTP/1.1 426 ", "\r\nUpgrade: websocket\r\n", "\r\nConnection: Upgrade\r\n", "\r\nConnection: close\r\n"} {
		if !strings.Contains(got, line) {
			t.Errorf("no %q in %q", line, got)
		}
	}
	for _, c := range []carrier{overH2, overH3} {
		a := c.refused(t, g, "/ws", http.Header{"Sec-WebSocket-Version": {"8"}}, 426)
		if upgrade, connection := a.header.Get("Upgrade"), a.header.Get("Connection"); upgrade+connection != "" {
			t.Errorf("over %s: Upgrade is %q, Connection %q, of which it knows nothing", c.name, upgrade, connection)
		}
	}
}
