package integration

import (
	"crypto/sha256"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const secret = "s3cr3t-T0ken.of+alice/42=="

// credential is a token carrier and how a request carries the token.
type credential struct {
	name   string
	config string
	carry  func(token string) (query string, header http.Header)
}

var credentials = []credential{
	{"authorization header", "token header", func(token string) (string, http.Header) {
		return "", http.Header{"Authorization": {"Bearer " + token}}
	}},
	{"own header", "token header X-Api-Key", func(token string) (string, http.Header) {
		return "", http.Header{"X-Api-Key": {token}}
	}},
	{"own header with scheme", "token header X-Api-Key Token", func(token string) (string, http.Header) {
		return "", http.Header{"X-Api-Key": {"token " + token}}
	}},
	{"cookie", "token cookie session", func(token string) (string, http.Header) {
		return "", http.Header{"Cookie": {"a=1; session=" + token + "; b=2"}, "Origin": {"same"}}
	}},
	{"query", "token query access_token", func(token string) (string, http.Header) {
		return "?a=1&access_token=" + strings.NewReplacer("+", "%2B", "=", "%3D", "/", "%2F").Replace(token) + "&b=2", nil
	}},
	{"subprotocol pair", "token subprotocol", func(token string) (string, http.Header) {
		return "", http.Header{"Sec-WebSocket-Protocol": {"chat, bearer, " + token}}
	}},
	{"subprotocol with marker", "token subprotocol", func(token string) (string, http.Header) {
		return "", http.Header{"Sec-WebSocket-Protocol": {"chat, bearer." + token}}
	}},
	{"subprotocol with own marker", "token subprotocol jwt", func(token string) (string, http.Header) {
		return "", http.Header{"Sec-WebSocket-Protocol": {"jwt, " + token + ", chat"}}
	}},
}

// sameOrigin replaces the Origin "same" by that of the site.
func sameOrigin(g *gateway, c carrier, header http.Header) http.Header {
	if header.Get("Origin") != "same" {
		return header
	}
	header = header.Clone()
	if c.secure {
		header.Set("Origin", "https://"+g.tlsHost())
	} else {
		header.Set("Origin", "http://"+g.httpAddr)
	}
	return header
}

// subprotocolSafe is a token that may stand in Sec-WebSocket-Protocol, which
// takes no slash and no equals sign.
const subprotocolSafe = "s3cr3t-T0ken.of+alice.42"

func (c credential) token() string {
	if strings.HasPrefix(c.name, "subprotocol") {
		return subprotocolSafe
	}
	return secret
}

// TestTokenIsTakenFromTheConfiguredPlaceAndStopsThere tries every carrier over
// every protocol: no token and a wrong one are refused, the right one passes,
// and none of them is seen behind the gateway or in what it reports.
func TestTokenIsTakenFromTheConfiguredPlaceAndStopsThere(t *testing.T) {
	for _, cred := range credentials {
		t.Run(cred.name, func(t *testing.T) {
			b := newBackend(t, echo)
			site := fmt.Sprintf(`ws_gateway %s {
				auth {
					%s
					bearer %q alice
				}
				header_up X-User {http.auth.user.id}
			}`, b.addr, cred.config, cred.token())
			g := startWith(t, "debug", site)
			eachCarrier(t, func(t *testing.T, c carrier) { tryCredential(t, g, b, c, cred) })
			assertHidden(t, g, b, cred.token())
			assertHidden(t, g, b, "wrong-token")
		})
	}
}

func tryCredential(t *testing.T, g *gateway, b *backend, c carrier, cred credential) {
	none := c.refused(t, g, "/ws", nil, 401)
	challenge := none.header.Get("WWW-Authenticate")
	if !strings.HasPrefix(challenge, "Bearer") || strings.Contains(challenge, "error=") {
		t.Errorf("without a token WWW-Authenticate is %q, want a Bearer challenge without an error", challenge)
	}

	query, header := cred.carry("wrong-token")
	wrong := c.refused(t, g, "/ws"+query, sameOrigin(g, c, header), 401)
	challenge = wrong.header.Get("WWW-Authenticate")
	if !strings.HasPrefix(challenge, "Bearer") || !strings.Contains(challenge, `error="invalid_token"`) {
		t.Errorf("with a wrong token WWW-Authenticate is %q, want error=\"invalid_token\"", challenge)
	}

	query, header = cred.carry(cred.token())
	conn := c.open(t, g, "/ws"+query, sameOrigin(g, c, header))
	conn.ping(t, "hello")
	head := receive(t, "handshake at the backend", b.requests)
	if got := headerLines(head, "X-User"); !slices.Equal(got, []string{"alice"}) {
		t.Errorf("X-User at the backend is %q, want alice", got)
	}
	assertRest(t, cred, head, conn.header)
	conn.finish(t)

	plain := g.get(t, "/page"+query, dropWebSocket(sameOrigin(g, overWS, header)))
	if strings.HasPrefix(cred.name, "subprotocol") {
		if plain.status != 401 {
			t.Errorf("a plain request cannot carry a subprotocol, but got %d", plain.status)
		}
		return
	}
	if plain.status != 200 {
		t.Errorf("plain request with the token: status %d", plain.status)
	}
	assertRest(t, cred, receive(t, "plain request at the backend", b.requests), nil)
	if bare := g.get(t, "/page", nil); bare.status != 401 {
		t.Errorf("plain request without a token: status %d, want 401", bare.status)
	}
}

// assertRest checks that what stood beside the credential got through.
func assertRest(t *testing.T, cred credential, head string, answered http.Header) {
	t.Helper()
	switch {
	case cred.name == "cookie":
		if got := headerLines(head, "Cookie"); !slices.Equal(got, []string{"a=1; b=2"}) {
			t.Errorf("Cookie at the backend is %q, want the other two", got)
		}
	case cred.name == "query":
		if line := firstLine(head); !strings.Contains(line, "?a=1&b=2 ") {
			t.Errorf("request line at the backend is %q, want the other two parameters", line)
		}
	case strings.HasPrefix(cred.name, "subprotocol"):
		if got := headerLines(head, "Sec-WebSocket-Protocol"); !slices.Equal(got, []string{"chat"}) {
			t.Errorf("Sec-WebSocket-Protocol at the backend is %q, want chat alone", got)
		}
		if got := answered["Sec-Websocket-Protocol"]; !slices.Equal(got, []string{"chat"}) {
			t.Errorf("the client was told protocol %q, want chat", got)
		}
	}
}

// assertHidden looks for a token at the backend, in the gateway's own log
// lines, in the metrics and in the running configuration.
func assertHidden(t *testing.T, g *gateway, b *backend, token string) {
	t.Helper()
	if strings.Contains(b.receivedBytes(), token) {
		t.Errorf("the backend received the token %q", token)
	}
	for _, line := range book.find(ourLogger, "") {
		if strings.Contains(line.raw, token) {
			t.Errorf("the token is in our log: %s", line.raw)
		}
	}
	if _, page := g.metrics(t); strings.Contains(page, token) {
		t.Errorf("the token is in the metrics")
	}
	if _, config := g.adminDo(t, "GET", "/config/", "", ""); strings.Contains(config, token) {
		t.Errorf("the token is in the running configuration")
	}
}

func dropWebSocket(header http.Header) http.Header {
	header = header.Clone()
	delete(header, "Sec-WebSocket-Protocol")
	return header
}

// TestSubprotocolAnswerIsNeverTheToken covers the choices that a browser's
// offer leaves: it fails the connection unless one of its entries is selected.
func TestSubprotocolAnswerIsNeverTheToken(t *testing.T) {
	rows := []struct {
		name, offer string
		chooses     string // the backend's choice, if any
		want        string
		atBackend   []string
	}{
		{"only the token is offered", "bearer, " + subprotocolSafe, "", "bearer", nil},
		{"backend chooses none", "bearer, " + subprotocolSafe + ", chat", "", "chat", []string{"chat"}},
		{"backend chooses", "a, bearer, " + subprotocolSafe + ", b", "b", "b", []string{"a, b"}},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			chosen := ""
			if row.chooses != "" {
				chosen = "Sec-WebSocket-Protocol: " + row.chooses + "\r\n"
			}
			b := newBackend(t, answering("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"+
				"Connection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n"+chosen+"\r\n"))
			g := start(t, fmt.Sprintf("ws_gateway %s {\n auth {\n token subprotocol\n bearer %s\n }\n }", b.addr, subprotocolSafe))
			eachCarrier(t, func(t *testing.T, c carrier) {
				conn := c.open(t, g, "/ws", http.Header{"Sec-WebSocket-Protocol": {row.offer}})
				if got := conn.header["Sec-Websocket-Protocol"]; !slices.Equal(got, []string{row.want}) {
					t.Errorf("the client was told %q, want %q", got, row.want)
				}
				head := receive(t, "handshake at the backend", b.requests)
				if got := headerLines(head, "Sec-WebSocket-Protocol"); !slices.Equal(got, row.atBackend) {
					t.Errorf("the backend was offered %q, want %q", got, row.atBackend)
				}
			})
		})
	}
}

// TestTokensFromElsewhere configures tokens by hash and by placeholder.
func TestTokensFromElsewhere(t *testing.T) {
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte("from-file-token\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("WSGW_TEST_TOKEN", "from-env-token")
	b := newBackend(t, echo)
	g := start(t, fmt.Sprintf(`ws_gateway %s {
		auth {
			bearer sha256:%x hashed
			bearer {env.WSGW_TEST_TOKEN} env
			bearer {file.%s} file
			bearer nameless-token
		}
		header_up X-User {http.auth.user.id}
	}`, b.addr, sha256.Sum256([]byte("hashed-token")), file))
	for token, user := range map[string]string{
		"hashed-token": "hashed", "from-env-token": "env", "from-file-token": "file", "nameless-token": "",
	} {
		conn := overWS.open(t, g, "/ws", bearer(token))
		head := receive(t, "handshake at the backend", b.requests)
		if got := strings.Join(headerLines(head, "X-User"), "|"); got != user {
			t.Errorf("token %s: X-User is %q, want %q", token, got, user)
		}
		conn.finish(t)
	}
	hash := fmt.Sprintf("sha256:%x", sha256.Sum256([]byte("hashed-token")))
	for _, token := range []string{hash, "{env.WSGW_TEST_TOKEN}", "", "hashed-token2"} {
		overWS.refused(t, g, "/ws", bearer(token), 401)
	}
}

func bearer(token string) http.Header {
	return http.Header{"Authorization": {"Bearer " + token}}
}

// TestFirstCarrierPresentDecidesAndAllAreStripped sends two credentials.
func TestFirstCarrierPresentDecidesAndAllAreStripped(t *testing.T) {
	b := newBackend(t, echo)
	g := start(t, fmt.Sprintf(`ws_gateway %s {
		auth {
			token header
			token query token
			bearer good-token alice
			bearer other-token bob
		}
		header_up X-User {http.auth.user.id}
	}`, b.addr))
	conn := overWS.open(t, g, "/ws?token=other-token", bearer("good-token"))
	head := receive(t, "handshake at the backend", b.requests)
	if got := headerLines(head, "X-User"); !slices.Equal(got, []string{"alice"}) {
		t.Errorf("X-User is %q, want alice: the header is configured first", got)
	}
	conn.finish(t)
	overWS.refused(t, g, "/ws?token=good-token", bearer("bad-token"), 401)
	assertHidden(t, g, b, "good-token")
	assertHidden(t, g, b, "other-token")
}

// TestOptionalAuthLetsAnonymousInButNotABadToken covers auth { optional }.
func TestOptionalAuthLetsAnonymousInButNotABadToken(t *testing.T) {
	b := newBackend(t, echo)
	g := start(t, fmt.Sprintf(`ws_gateway %s {
		auth {
			bearer good-token alice
			optional
		}
		header_up X-User-Id {http.auth.user.id}
	}`, b.addr))
	eachCarrier(t, func(t *testing.T, c carrier) {
		c.open(t, g, "/ws", http.Header{"X-User-Id": {"admin"}}).finish(t)
		head := receive(t, "handshake at the backend", b.requests)
		if strings.Contains(head, "admin") {
			t.Errorf("an anonymous client chose its own X-User-Id:\n%s", head)
		}
		c.open(t, g, "/ws", bearer("good-token")).finish(t)
		head = receive(t, "handshake at the backend", b.requests)
		if got := headerLines(head, "X-User-Id"); !slices.Equal(got, []string{"alice"}) {
			t.Errorf("X-User-Id is %q, want alice", got)
		}
		c.refused(t, g, "/ws", bearer("bad-token"), 401)
	})
}

// TestRefusalsGoThroughHandleErrors lets the site answer a 401 its own way.
func TestRefusalsGoThroughHandleErrors(t *testing.T) {
	b := newBackend(t, echo)
	g := start(t, fmt.Sprintf(`ws_gateway %s {
		auth {
			bearer good-token alice
		}
	}
	handle_errors 401 {
		header X-Handled yes
		respond "sorry: {err.status_code}" 401
	}`, b.addr))
	eachCarrier(t, func(t *testing.T, c carrier) {
		a := c.refused(t, g, "/ws", nil, 401)
		if a.body != "sorry: 401" || a.header.Get("X-Handled") != "yes" {
			t.Errorf("body %q, X-Handled %q: handle_errors did not see the 401", a.body, a.header.Get("X-Handled"))
		}
		if !strings.HasPrefix(a.header.Get("WWW-Authenticate"), "Bearer") {
			t.Errorf("WWW-Authenticate is %q", a.header.Get("WWW-Authenticate"))
		}
	})
}
