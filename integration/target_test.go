package integration

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// guardedSite has a path that another route guards, and a gateway for the rest.
func guardedSite(b *backend) string {
	return fmt.Sprintf(`@admin path /admin /admin/*
	respond @admin "guarded" 401
	@root path /
	respond @root "guarded" 401
	ws_gateway %s {
		fail_duration 1h
		auth {
			token header
			bearer good-token
			optional
			renew /renew
		}
	}`, b.addr)
}

// TestTargetThatIsNoPathIsRefused whatever the request is, before it reaches an
// upstream that would make a path of it (S16).
func TestTargetThatIsNoPathIsRefused(t *testing.T) {
	b := newBackend(t, named)
	g := start(t, guardedSite(b))
	for _, target := range []string{
		"x:http://h/admin", "x:/ws", "http:/ws?a=b", "x:admin", "localhost:80/admin", "http:admin", "https:h/admin", "ws:h/admin", "x:%2fadmin", "*", "admin", "@h/admin",
		"?admin", "#/admin", "", "http://h", "http://h?admin", "http://user:pw@h/ws", "http:renew?connection=0", "%2fadmin", "\\admin",
	} {
		for how, head := range map[string][]string{
			"a handshake": sound(),
			"a request":   {"GET /ws HTTP/1.1", "Host: SELF"},
			"a POST":      {"POST /ws HTTP/1.1", "Host: SELF", "Content-Length: 0"},
			"a DELETE":    {"DELETE /ws HTTP/1.1", "Host: SELF", "Authorization: Bearer good-token"},
		} {
			t.Run(how+" for "+target, func(t *testing.T) {
				method, _, _ := strings.Cut(head[0], " ")
				head := append([]string{method + " " + target + " HTTP/1.1"}, head[1:]...)
				conn := dialRaw(t, g)
				conn.send(t, strings.ReplaceAll(lines(append(head, "Connection: close")...), "SELF", g.httpAddr))
				if got := conn.rest(t); !strings.HasPrefix(got, "HTTP/1.1 400 ") {
					t.Errorf("answer %q, want 400", firstLine(got))
				}
			})
		}
	}
	assertUntouched(t, g, b)
}

// TestPathThatIsNoneIsRefusedOverHTTP2 where it comes in a field of its own.
func TestPathThatIsNoneIsRefusedOverHTTP2(t *testing.T) {
	b := newBackend(t, named)
	g := start(t, guardedSite(b))
	for _, path := range []string{"x:http://h/admin", "*", "http://h/admin", "http://localhost/ws", "http:admin", "x:admin"} {
		for _, head := range [][]string{
			{":method", "GET"},
			{":method", "POST"},
			{":method", "CONNECT", ":protocol", "websocket"},
		} {
			fields := append(head, ":scheme", "https", ":authority", g.tlsHost(), ":path", path, "sec-websocket-version", "13")
			if got := rawH2(t, g, fields...); got != 400 && got != 0 {
				t.Errorf("%q was answered %d, want 400", fields, got)
			}
		}
	}
	for _, path := range []string{"", "admin", "@h/admin"} {
		if got := rawH2(t, g, ":method", "GET", ":scheme", "https", ":authority", g.tlsHost(), ":path", path); got != 0 && got != 400 {
			t.Errorf(":path %q was answered %d", path, got)
		}
	}
	assertUntouched(t, g, b)
}

// TestAsteriskOverHTTP3 is a target that only OPTIONS may have, and that concerns
// no upstream.
func TestAsteriskOverHTTP3(t *testing.T) {
	b := newBackend(t, named)
	g := start(t, guardedSite(b))
	cc, conn, err := connH3(t.Context(), g)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.CloseWithError(0, "") //nolint:errcheck // the end of the test
	req := (&http.Request{
		Method: http.MethodOptions, Host: g.tlsHost(), Header: http.Header{},
		URL: &url.URL{Scheme: "https", Host: g.tlsHost(), Opaque: "*"},
	}).WithContext(t.Context())
	res, err := cc.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	if res.StatusCode != 400 {
		t.Errorf("status %d, want 400", res.StatusCode)
	}
	assertUntouched(t, g, b)
}

// assertUntouched makes sure that nothing came to the backend and it is not marked.
func assertUntouched(t *testing.T, g *gateway, b *backend) {
	t.Helper()
	if n := b.count(&b.accepted); n != 0 {
		t.Errorf("the upstream was dialed %d times and got %q", n, b.receivedBytes())
	}
	if up := g.shown(t, "default", b.addr); up.State != "ready" {
		t.Errorf("the upstream is shown as %+v", up)
	}
}

// TestAbsoluteTargetIsForItsHost as RFC 9112 section 3.2.2 has it, and reaches the
// upstream as a path, without what the gateway keeps to itself.
func TestAbsoluteTargetIsForItsHost(t *testing.T) {
	b := newBackend(t, named)
	g := start(t, fmt.Sprintf("@admin path /admin\n respond @admin guarded 401\n ws_gateway %s {\n origins same\n auth {\n token query token\n bearer good-token\n }\n }", b.addr))
	const target, forwarded = "http://chat.example/ws?a=1&token=good-token", "/ws?a=1"
	check := func(what, method string) {
		t.Helper()
		head := receive(t, what, b.requests)
		if line := firstLine(head); line != method+" "+forwarded+" HTTP/1.1" {
			t.Errorf("%s: the upstream was sent %q", what, line)
		}
		if host := headerLines(head, "Host"); len(host) != 1 || host[0] != "chat.example" {
			t.Errorf("%s: Host is %q", what, host)
		}
		if strings.Contains(head, "good-token") {
			t.Errorf("%s: the token reached the upstream:\n%s", what, head)
		}
	}
	for origin, status := range map[string]int{"http://chat.example": 101, "http://" + g.httpAddr: 403} {
		head := append([]string{"GET " + target + " HTTP/1.1"}, sound("Origin: " + origin)[1:]...)
		if a := rawWS(t, g, strings.ReplaceAll(lines(head...), "SELF", g.httpAddr)); a.status != status {
			t.Errorf("from %s: status %d, want %d", origin, a.status, status)
		}
	}
	check("a handshake", "GET")
	conn := dialRaw(t, g)
	conn.send(t, lines("GET "+target+" HTTP/1.1", "Host: other.example", "Connection: close"))
	if got := conn.rest(t); !strings.HasPrefix(got, "HTTP/1.1 200 ") {
		t.Errorf("answer %q", firstLine(got))
	}
	check("a request", "GET")
	conn = dialRaw(t, g)
	conn.send(t, lines("GET http://chat.example/admin HTTP/1.1", "Host: other.example", "Connection: close"))
	if got := conn.rest(t); !strings.HasPrefix(got, "HTTP/1.1 401 ") {
		t.Errorf("a guarded path in a URL: answer %q", firstLine(got))
	}
}

// TestRefusedTargetReachesNoErrorRoutesUpstream either, rewritten or not.
func TestRefusedTargetReachesNoErrorRoutesUpstream(t *testing.T) {
	b := newBackend(t, named)
	for name, rewrite := range map[string]string{"as it is": "", "rewritten": "rewrite * /error"} {
		t.Run(name, func(t *testing.T) {
			g := start(t, "ws_gateway "+b.addr+"\nhandle_errors {\n "+rewrite+"\n reverse_proxy "+b.addr+"\n }")
			for _, method := range []string{"GET", "POST"} {
				conn := dialRaw(t, g)
				conn.send(t, lines(method+" x:http://h/admin?token=secret HTTP/1.1", "Host: "+g.httpAddr, "Connection: close", "Content-Length: 0"))
				_ = conn.rest(t)
				if head := receive(t, "the error page", b.requests); strings.Contains(head, "admin") || strings.Contains(head, "secret") {
					t.Errorf("the error route's upstream got %q", head)
				}
			}
		})
	}
}

// TestRewrittenTargetIsJudgedAsItWasSent: a rewrite in front gives an opaque target
// a path, and yet it is passed on as it was.
func TestRewrittenTargetIsJudgedAsItWasSent(t *testing.T) {
	b := newBackend(t, named)
	g := start(t, "rewrite * /ws\nws_gateway "+b.addr)
	for _, head := range [][]string{sound(), {"GET /ws HTTP/1.1", "Host: SELF"}} {
		sent := lines(append([]string{"GET x:http://h/admin HTTP/1.1"}, head[1:]...)...)
		assertRefusedAtTheDoor(t, g, b, strings.ReplaceAll(sent, "SELF", g.httpAddr), 400)
	}
	g.reload(t, "handle_path /ws* {\n ws_gateway "+b.addr+"\n }")
	if a := overWS.do(t, g, "/ws", nil); a.status != 101 {
		t.Errorf("a path that is stripped to nothing: status %d", a.status)
	}
	if line := firstLine(receive(t, "handshake", b.requests)); line != "GET / HTTP/1.1" {
		t.Errorf("the upstream was sent %q", line)
	}
}

// TestTokenProviderTakesNoOpaqueTarget since what lies behind it decides by paths.
func TestTokenProviderTakesNoOpaqueTarget(t *testing.T) {
	b := newBackend(t, named)
	g := start(t, "ws_token {\n bearer good-token\n }\nreverse_proxy "+b.addr)
	for _, target := range []string{"x:http://h/admin", "*", "http://h"} {
		conn := dialRaw(t, g)
		conn.send(t, lines("GET "+target+" HTTP/1.1", "Host: "+g.httpAddr, "Authorization: Bearer good-token", "Connection: close"))
		if got := conn.rest(t); !strings.HasPrefix(got, "HTTP/1.1 401 ") {
			t.Errorf("%s: answer %q, want 401", target, firstLine(got))
		}
	}
	if n := b.count(&b.accepted); n != 0 {
		t.Errorf("the upstream got %q", b.receivedBytes())
	}
}

// TestEncodedPathsAreForwardedAsTheyWereJudged (S16): no spelling of a guarded path
// comes to an upstream as that path.
func TestEncodedPathsAreForwardedAsTheyWereJudged(t *testing.T) {
	b := newBackend(t, named)
	g := start(t, guardedSite(b))
	for _, path := range []string{"/%61dmin", "//admin", "/./admin", "/x/../admin", "/x/..;/admin", "/%2fadmin", "/ADMIN", "/admin%00", "/admin#x", "/admin%23", "/admin;x", "/x#/admin", "http://h//admin"} {
		conn := dialRaw(t, g)
		conn.send(t, lines("GET "+path+" HTTP/1.1", "Host: "+g.httpAddr, "Connection: close"))
		got := conn.rest(t)
		switch {
		case strings.HasPrefix(got, "HTTP/1.1 401 "), strings.HasPrefix(got, "HTTP/1.1 400 "):
			continue
		}
		line := firstLine(receive(t, "the request", b.requests))
		sent, err := url.ParseRequestURI(strings.Fields(line)[1])
		if err != nil || sent.Path == "/admin" {
			t.Errorf("%s passed the guard, and the upstream was sent %q", path, line)
		}
	}
}

// TestProtocolWithoutConnectIsMalformed over HTTP/2 (RFC 8441 section 4), for any
// method: 400, and nothing is counted. HTTP/3's server refuses it by itself.
func TestProtocolWithoutConnectIsMalformed(t *testing.T) {
	b := newBackend(t, droppingPath("/ws", drops["closes"]))
	g := start(t, guardedSite(b)+"\nhandle_errors {\n reverse_proxy "+b.addr+"\n }")
	for _, method := range []string{"GET", "POST", "HEAD", "OPTIONS", "PUT", "DELETE", "PATCH", "PURGE"} {
		for _, protocol := range []string{"websocket", "connect-udp", "WebSocket"} {
			got := rawH2(t, g, ":method", method, ":protocol", protocol, ":scheme", "https", ":authority", g.tlsHost(), ":path", "/ws",
				"sec-websocket-version", "13", "authorization", "Bearer good-token")
			if got != 200 && method != "HEAD" { // the error page
				t.Errorf("%s with :protocol %s was answered %d", method, protocol, got)
			}
			if head := receive(t, "the error page", b.requests); strings.Contains(strings.ToLower(head), ":protocol") {
				t.Errorf("%s with :protocol %s: the error route's upstream got %q", method, protocol, head)
			}
		}
	}
	g.reload(t, guardedSite(b))
	accepted, counted := b.count(&b.accepted), g.sum(t, "caddy_ws_gateway_handshakes_total")
	for _, method := range []string{"GET", "POST", "HEAD"} {
		if got := rawH2(t, g, ":method", method, ":protocol", "websocket", ":scheme", "https", ":authority", g.tlsHost(), ":path", "/ws"); got != 400 {
			t.Errorf("%s with :protocol was answered %d, want 400", method, got)
		}
	}
	if n := b.count(&b.accepted); n != accepted {
		t.Errorf("the upstream was dialed %d times", n-accepted)
	}
	if up := g.shown(t, "default", b.addr); up.State != "ready" {
		t.Errorf("the upstream is shown as %+v", up)
	}
	if n := g.sum(t, "caddy_ws_gateway_handshakes_total"); n != counted {
		t.Errorf("%v handshakes were counted", n-counted)
	}
}
