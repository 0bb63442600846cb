package integration

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
)

// TestDecorationWithPlaceholders checks header_up on handshakes and requests
// and header_down on the 101, the 200 of extended CONNECT and plain answers.
func TestDecorationWithPlaceholders(t *testing.T) {
	b := newBackend(t, func(c *backendConn) {
		if c.accept("X-From-Backend: one", "X-Drop-Me: please", "Server: backend") == nil {
			echoOn(c)
		}
	})
	g := start(t, fmt.Sprintf(`ws_gateway %s {
		name deco
		auth {
			bearer good-token alice
		}
		header_up X-User {http.auth.user.id}
		header_up X-Gateway {http.ws_gateway.name}
		header_up X-Path {http.request.uri.path}
		header_up -X-Unwanted
		header_down X-Served-By {http.reverse_proxy.upstream.hostport}
		header_down X-Client {http.auth.user.id}
		header_down -X-Drop-Me
	}`, b.addr))
	header := bearer("good-token")
	header.Set("X-Unwanted", "1")
	header.Set("X-Kept", "2")
	check := func(t *testing.T, head string, answered http.Header) {
		t.Helper()
		for name, want := range map[string]string{
			"X-User": "alice", "X-Gateway": "deco", "X-Path": "/ws/room", "X-Kept": "2", "X-Unwanted": "", "Authorization": "",
		} {
			if got := strings.Join(headerLines(head, name), "|"); got != want {
				t.Errorf("%s at the backend is %q, want %q", name, got, want)
			}
		}
		for name, want := range map[string]string{"X-Served-By": b.addr, "X-Client": "alice", "X-Drop-Me": ""} {
			if got := strings.Join(answered.Values(name), "|"); got != want {
				t.Errorf("%s in the answer is %q, want %q", name, got, want)
			}
		}
	}
	eachCarrier(t, func(t *testing.T, c carrier) {
		conn := c.open(t, g, "/ws/room", header)
		conn.ping(t, "hello")
		check(t, receive(t, "handshake", b.requests), conn.header)
		if got := conn.header.Get("X-From-Backend"); got != "one" {
			t.Errorf("X-From-Backend is %q, want the backend's", got)
		}
		conn.finish(t)
	})
	t.Run("plain request", func(t *testing.T) {
		a := g.get(t, "/ws/room", header)
		check(t, receive(t, "plain request", b.requests), a.header)
	})
}

// TestHeaderSpoofingByAlias sends an identity header in every spelling that
// some backend folds into one (S5), over both kinds of traffic.
func TestHeaderSpoofingByAlias(t *testing.T) {
	b := newBackend(t, echo)
	site := `ws_gateway %s {
		auth {
			bearer good-token
			bearer named-token alice
			optional
		}
		header_up X-User-Id {http.auth.user.id}
	}`
	// Caddy itself drops names with an underscore or a dot unless it is told not
	// to; the gateway must not rely on that.
	let := `servers {
		expected_underscore_headers x_other x_user_id x-user_id x_user-id x_user.id
		expected_dot_headers x.user.id x.user-id
	}`
	rows := []struct {
		name, options string
		spellings     []string
		values        []string
	}{
		{"as it is", "", []string{"X-User-Id", "x-user-id", "X-USER-ID"}, []string{"root-spoofed", "root-spoofed-again"}},
		{"alias", let, []string{"X_User_Id", "x.user.id", "X-USER_ID", "x_user-ID", "X.User-Id", "x_user.ID"}, []string{"root-spoofed"}},
	}
	tokens := []struct{ name, token, want string }{
		{"anonymous", "", ""}, {"token without a user", "good-token", ""}, {"token with a user", "named-token", "alice"},
	}
	for _, row := range rows {
		g := startWith(t, row.options, fmt.Sprintf(site, b.addr))
		for _, token := range tokens {
			for _, spelling := range row.spellings {
				t.Run(token.name+"/"+spelling, func(t *testing.T) {
					header := http.Header{spelling: row.values, "X_Other": {"let-through"}}
					if token.token != "" {
						header["Authorization"] = []string{"Bearer " + token.token}
					}
					spoof(t, g, b, header, token.want)
				})
			}
		}
	}
}

// spoof sends the header with a handshake and with a plain request.
func spoof(t *testing.T, g *gateway, b *backend, header http.Header, want string) {
	t.Helper()
	a := rawWS(t, g, handshakeH1("/ws", g.httpAddr, header))
	if a.conn == nil {
		t.Fatalf("status %d", a.status)
	}
	head := receive(t, "handshake", b.requests)
	assertOnlyUser(t, head, want)
	if g.options != "" && !strings.Contains(head, "let-through") {
		t.Errorf("this proves nothing: Caddy itself dropped the underscore\n%s", head)
	}
	raw := dialRaw(t, g)
	raw.send(t, plainHead(g, header))
	raw.rest(t)
	assertOnlyUser(t, receive(t, "plain request", b.requests), want)
}

func plainHead(g *gateway, header http.Header) string {
	l := []string{"GET /page HTTP/1.1", "Host: " + g.httpAddr, "Connection: close"}
	for name, values := range header {
		for _, value := range values {
			l = append(l, name+": "+value)
		}
	}
	return lines(l...)
}

func assertOnlyUser(t *testing.T, head, want string) {
	t.Helper()
	if strings.Contains(head, "root-spoofed") {
		t.Errorf("the spoofed header reached the backend:\n%s", head)
	}
	if got := strings.Join(headerLines(head, "X-User-Id"), "|"); got != want {
		t.Errorf("X-User-Id is %q, want %q", got, want)
	}
}

// TestConnectionCannotNominateOurHeaders names headers of ours as hop-by-hop
// (S4): they must still arrive, and the handshake must still be sound.
func TestConnectionCannotNominateOurHeaders(t *testing.T) {
	b := newBackend(t, echo)
	g := start(t, fmt.Sprintf(`ws_gateway %s {
		auth {
			bearer good-token alice
		}
		header_up X-User-Id {http.auth.user.id}
	}`, b.addr))
	for _, nominated := range []string{
		"X-User-Id", "X-Forwarded-For", "X-Forwarded-Proto, X-Forwarded-Host", "Authorization",
		"Sec-WebSocket-Key", "Sec-WebSocket-Version, Sec-WebSocket-Protocol", "Host", "close", "Upgrade",
	} {
		t.Run(nominated, func(t *testing.T) {
			header := bearer("good-token")
			header.Set("Connection", "Upgrade, "+nominated)
			header.Set("X-User-Id", "root-spoofed")
			header["Sec-WebSocket-Protocol"] = []string{"chat"}
			a := rawWS(t, g, handshakeH1("/ws", g.httpAddr, header))
			if a.conn == nil {
				t.Fatalf("status %d: %s", a.status, a.body)
			}
			a.conn.ping(t, "hello")
			head := receive(t, "handshake", b.requests)
			assertOnlyUser(t, head, "alice")
			for name, want := range map[string]string{
				"X-Forwarded-For": "127.0.0.1", "X-Forwarded-Proto": "http", "X-Forwarded-Host": g.httpAddr,
				"Sec-WebSocket-Version": "13", "Sec-WebSocket-Protocol": "chat", "Host": g.httpAddr,
				"Upgrade": "websocket", "Connection": "Upgrade", "Authorization": "",
			} {
				if got := headerLines(head, name); !strings.EqualFold(strings.Join(got, "|"), want) {
					t.Errorf("%s is %q, want %q", name, got, want)
				}
			}
			if got := headerLines(head, "Sec-WebSocket-Key"); len(got) != 1 {
				t.Errorf("Sec-WebSocket-Key is %q, want exactly one", got)
			}
		})
	}
}

// TestForwardedHeaders replaces what the client claims about itself, unless it
// is a trusted proxy.
func TestForwardedHeaders(t *testing.T) {
	b := newBackend(t, echo)
	header := http.Header{
		"X-Forwarded-For": {"203.0.113.7"}, "X-Forwarded-Proto": {"https"}, "X-Forwarded-Host": {"public.example"},
	}
	rows := []struct {
		name, option     string
		xff, proto, host string // SELF stands for the site's own host
	}{
		{"untrusted", "", "127.0.0.1", "", "SELF"},
		{"trusted", "trusted_proxies 127.0.0.0/8", "203.0.113.7, 127.0.0.1", "https", "public.example"},
		{"other proxy trusted", "trusted_proxies 192.0.2.0/24", "127.0.0.1", "", "SELF"},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			g := start(t, "ws_gateway "+b.addr+" {\n "+row.option+"\n }")
			eachCarrier(t, func(t *testing.T, c carrier) {
				c.open(t, g, "/ws", header).finish(t)
				head := receive(t, "handshake", b.requests)
				self, proto := g.httpAddr, row.proto
				if c.secure {
					self = g.tlsHost()
				}
				if proto == "" {
					proto = map[bool]string{false: "http", true: "https"}[c.secure]
				}
				for name, want := range map[string]string{
					"X-Forwarded-For": row.xff, "X-Forwarded-Proto": proto,
					"X-Forwarded-Host": strings.ReplaceAll(row.host, "SELF", self),
				} {
					if got := headerLines(head, name); !slices.Equal(got, []string{want}) {
						t.Errorf("%s is %q, want %q", name, got, want)
					}
				}
			})
		})
	}
}

// TestHandshakeIsRebuiltOverEveryProtocol looks at the handshake as it reaches
// the upstream, which only ever speaks HTTP/1.1.
func TestHandshakeIsRebuiltOverEveryProtocol(t *testing.T) {
	b := newBackend(t, echo)
	g := start(t, "ws_gateway "+b.addr)
	eachCarrier(t, func(t *testing.T, c carrier) {
		header := http.Header{
			"Sec-WebSocket-Extensions": {"permessage-deflate; client_max_window_bits, x-other"},
			"Sec-WebSocket-Protocol":   {"chat, superchat"},
			"X-Custom":                 {"kept"},
		}
		conn := c.open(t, g, "/a%2Fb/../c?x=%20y&z", header)
		head := receive(t, "handshake", b.requests)
		if got := firstLine(head); got != "GET /a%2Fb/../c?x=%20y&z HTTP/1.1" {
			t.Errorf("request line %q", got)
		}
		for name, want := range map[string]string{
			"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13", "X-Custom": "kept",
			"Sec-WebSocket-Extensions": "permessage-deflate; client_max_window_bits, x-other",
			"Sec-WebSocket-Protocol":   "chat, superchat",
		} {
			if got := headerLines(head, name); !slices.Equal(got, []string{want}) {
				t.Errorf("%s is %q, want %q", name, got, want)
			}
		}
		if strings.Contains(head, ":protocol") || strings.Contains(head, "Transfer-Encoding") || strings.Contains(head, "Content-Length") {
			t.Errorf("what does not belong into a handshake:\n%s", head)
		}
		conn.ping(t, "hello")
		conn.finish(t)
	})
}
