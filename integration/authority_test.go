package integration

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

const jwtSecret = "a shared secret of 32 bytes and more"

// hmacToken is a JWT for claims, signed with a secret.
func hmacToken(secret, claims string) string {
	signed := b64([]byte(`{"alg":"HS256","typ":"JWT"}`)) + "." + b64([]byte(claims))
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(signed))
	return signed + "." + b64(mac.Sum(nil))
}

// tokenFor is a token of the user that expires after a while; more are further
// claims.
func tokenFor(user string, life time.Duration, more ...string) string {
	claims := append([]string{
		fmt.Sprintf(`"sub":%q`, user), fmt.Sprintf(`"exp":%.3f`, float64(time.Now().Add(life).UnixMilli())/1000),
	}, more...)
	return hmacToken(jwtSecret, "{"+strings.Join(claims, ",")+"}")
}

// shortLived is a token that ends soon, but not before a busy machine has shaken hands.
func shortLived() string { return tokenFor("alice", 3*time.Second) }

// jwtSite is a gateway that accepts such tokens.
func jwtSite(upstream, inJWT, inAuth string) string {
	return fmt.Sprintf("ws_gateway %s {\n auth {\n jwt {\n key %q\n leeway 0s\n %s\n }\n %s\n }\n header_up X-User {http.auth.user.id}\n header_up X-Mail {http.auth.user.email}\n header_up X-Org {http.auth.user.org.name}\n }",
		upstream, jwtSecret, inJWT, inAuth)
}

// TestClaimsReachTheUpstreamAsPlaceholders and a user who may not is told so.
func TestClaimsReachTheUpstreamAsPlaceholders(t *testing.T) {
	b := newBackend(t, echo)
	g := start(t, jwtSite(b.addr, "require scope chat", ""))
	eachCarrier(t, func(t *testing.T, c carrier) {
		token := tokenFor("alice", time.Hour, `"scope":"read chat"`, `"email":"a@example.com"`, `"org":{"name":"ACME"}`, `"id":"root"`)
		header := bearer(token)
		header["X-Org"], header["X_mail"], header["X.user"] = []string{"forged"}, []string{"forged"}, []string{"forged"}
		c.open(t, g, "/ws", header).finish(t)
		head := receive(t, "handshake", b.requests)
		for name, want := range map[string]string{"X-User": "alice", "X-Mail": "a@example.com", "X-Org": "ACME"} {
			if got := headerLines(head, name); !slices.Equal(got, []string{want}) {
				t.Errorf("%s is %q, want %q", name, got, want)
			}
		}
		if strings.Contains(head, "forged") {
			t.Errorf("a forged header got through:\n%s", head)
		}
		bare := bearer(tokenFor("alice", time.Hour, `"scope":"chat"`, `"email":"a@b\r\nX-Admin: 1"`))
		bare["X-Mail"], bare["X-Org"] = []string{"forged"}, []string{"forged"}
		c.open(t, g, "/ws", bare).finish(t)
		if head := receive(t, "handshake", b.requests); strings.Contains(head, "forged") || strings.Contains(head, "X-Admin") {
			t.Errorf("claims that are not there do not replace what the client sent:\n%s", head)
		}
		a := c.refused(t, g, "/ws", bearer(tokenFor("alice", time.Hour, `"scope":"chatter"`)), 403)
		if challenge := a.header.Get("WWW-Authenticate"); !strings.Contains(challenge, `error="insufficient_scope"`) {
			t.Errorf("WWW-Authenticate is %q", challenge)
		}
		c.refused(t, g, "/ws", bearer(tokenFor("alice", -time.Second, `"scope":"chat"`)), 401)
		c.refused(t, g, "/ws", bearer(tokenFor("a\nb", time.Hour, `"scope":"chat"`)), 401)
	})
}

// TestConnectionEndsWithItsToken and not before, whatever the protocol.
func TestConnectionEndsWithItsToken(t *testing.T) {
	long(t)
	b := newBackend(t, handOver())
	g := start(t, jwtSite(b.addr, "", ""))
	for _, c := range carriers {
		t.Run(c.name, func(t *testing.T) {
			const life = 3 * time.Second
			began := time.Now()
			client := c.open(t, g, "/ws", bearer(tokenFor("alice", life)))
			upstream := receive(t, "upgrade", b.upgraded)
			client.expectClose(t, 3000)
			if took := time.Since(began); took < life-time.Millisecond || took > life+patience/2 {
				t.Errorf("closed after %s, want %s", took, life)
			}
			upstream.expectClose(t, 1001)
			_ = upstream.Close()
		})
	}
	if line := book.waitClosed(t, b.addr, 1); line.str("by") != "gateway" || line.num("code") != 3000 || line.str("reason") != "token expired" {
		t.Errorf("logged %s", line.raw)
	}
	g.assertNoLiveSeries(t)
}

// TestReloadThatWithdrawsACredentialEndsItsConnections and no others.
func TestReloadThatWithdrawsACredentialEndsItsConnections(t *testing.T) {
	b := newBackend(t, echo)
	site := func(words string) string { return "ws_gateway " + b.addr + " {\n auth {\n " + words + "\n }\n }" }
	jwt := fmt.Sprintf("jwt {\n key %q\n key \"another shared secret of 32 bytes\"\n }", jwtSecret)
	rest := `jwt {
		key "another shared secret of 32 bytes"
	}`
	g := start(t, site("bearer first-token alice\nbearer second-token bob\n"+jwt))
	open := func(token string) *wsConn { return overWS.open(t, g, "/ws", bearer(token)) }
	first, second, signed := open("first-token"), open("second-token"), open(tokenFor("alice", time.Hour))
	other := open(hmacToken("another shared secret of 32 bytes", soonClaims()))

	renamed := strings.Replace(site("bearer second-token bobby\nbearer first-token alice\n"+jwt), "auth {", "name renamed\n auth {", 1)
	g.reload(t, renamed+"\nrespond /x y")
	for _, conn := range []*wsConn{first, second, signed, other} {
		conn.ping(t, "still accepted")
	}
	g.reload(t, site("bearer second-token bob\n"+jwt))
	first.expectClose(t, 3000)
	for _, conn := range []*wsConn{second, signed, other} {
		conn.ping(t, "still accepted")
	}
	if err := g.load(site("bearer third-token\n" + rest + "\nrenew wrong")); err == nil {
		t.Error("a wrong configuration was loaded")
	}
	second.ping(t, "a configuration that does not load withdraws nothing")
	g.reload(t, site("bearer second-token bob\n"+rest))
	signed.expectClose(t, 3000)
	second.ping(t, "still accepted")
	other.ping(t, "still accepted")
	second.finish(t)
	other.finish(t)
}

// TestAdminRevokesLiveConnections by ID, user and token.
func TestAdminRevokesLiveConnections(t *testing.T) {
	b := newBackend(t, handOver())
	g := start(t, jwtSite(b.addr, "", ""))
	remove := func(path string, status int, answer string) {
		t.Helper()
		got, body := g.adminDo(t, "DELETE", "/ws_gateway/connections"+path, "", "")
		if got != status || !strings.Contains(body, answer) {
			t.Errorf("DELETE %s: %d %s, want %d %s", path, got, body, status, answer)
		}
	}
	for i, c := range carriers {
		conn := c.open(t, g, "/ws", bearer(tokenFor("alice", time.Hour)))
		upstream := receive(t, "upgrade", b.upgraded)
		remove("/"+book.wait(t, "opened", i+1).str("connection"), 200, `{"ended":1}`)
		conn.expectClose(t, 3000)
		upstream.expectClose(t, 1001)
		_ = upstream.Close()
	}
	one := overWS.open(t, g, "/ws", bearer(tokenFor("bob", time.Hour)))
	two := overWS.open(t, g, "/ws", bearer(tokenFor("bob", time.Hour, `"jti":"t-1"`)))
	stays := overWS.open(t, g, "/ws", bearer(tokenFor("carol", time.Hour)))
	book.wait(t, "opened", len(carriers)+3)
	remove("?jti=t-1&code=4001&reason=stolen", 200, `{"ended":1}`)
	two.expectClose(t, 4001)
	remove("?user=bob", 200, `{"ended":1}`)
	one.expectClose(t, 3000)
	remove("?user=nobody", 200, `{"ended":0}`)
	remove("/nothing", 404, "no such connection")
	remove("", 400, "say which")
	stays.mustSend(t, text("still here"))
	stays.kill()
}

// TestClientRenewsItsConnection with a fresh token, and only its own.
func TestClientRenewsItsConnection(t *testing.T) {
	long(t)
	b := newBackend(t, echo)
	g := start(t, jwtSite(b.addr, "", "renew /ws/renew"))
	opened := 0
	eachCarrier(t, func(t *testing.T, c carrier) {
		life := 4 * time.Second
		began := time.Now()
		conn := c.open(t, g, "/ws", bearer(tokenFor("alice", life)))
		ids := conn.header["Ws-Gateway-Connection"]
		if len(ids) != 1 || ids[0] == "" {
			t.Fatalf("Ws-Gateway-Connection is %q", ids)
		}
		post := func(id, token string, status int) {
			t.Helper()
			header := http.Header{}
			if token != "" {
				header = bearer(token)
			}
			if a := g.send(t, http.MethodPost, "/ws/renew?connection="+id, header, ""); a.status != status {
				t.Errorf("renewing: status %d, want %d: %s", a.status, status, a.body)
			}
		}
		opened++
		book.wait(t, "opened", opened)
		fresh := tokenFor("alice", 6*time.Second)
		post(ids[0], "", 401)
		post(ids[0], tokenFor("alice", -time.Minute), 401)
		post(ids[0], tokenFor("mallory", time.Hour), 403)
		post("0000000000000000", fresh, 404)
		if a := g.get(t, "/ws/renew?connection="+ids[0], bearer(fresh)); a.status != 405 {
			t.Errorf("GET: status %d, want 405", a.status)
		}
		post(ids[0], fresh, 204)
		conn.expectClose(t, 3000)
		if took := time.Since(began); took < 5*time.Second {
			t.Errorf("closed after %s, in spite of the renewal", took)
		}
		post(ids[0], tokenFor("alice", time.Hour), 404)
	})
	if strings.Contains(b.receivedBytes(), "/ws/renew") {
		t.Error("a renewal reached the upstream")
	}
}

// TestIdentityOfAHandlerInFront is honoured with inherit, and ignored without.
func TestIdentityOfAHandlerInFront(t *testing.T) {
	b := newBackend(t, echo)
	basic := "basic_auth {\n alice " + bcryptOfSecret + "\n }\n"
	site := func(words string) string {
		return basic + "ws_gateway " + b.addr + " {\n auth {\n " + words + "\n }\n header_up X-User {http.auth.user.id}\n }"
	}
	g := start(t, site("inherit\nbearer machine-token machine\ntoken query token"))
	login := http.Header{"Authorization": {"Basic " + base64.StdEncoding.EncodeToString([]byte("alice:secret"))}}
	eachCarrier(t, func(t *testing.T, c carrier) {
		header := login.Clone()
		header.Set("Origin", "same")
		header = sameOrigin(g, c, header)
		user := func(path, want string) {
			t.Helper()
			c.open(t, g, path, header).finish(t)
			head := receive(t, "handshake", b.requests)
			if got := headerLines(head, "X-User"); !slices.Equal(got, []string{want}) {
				t.Errorf("X-User is %q, want %s", got, want)
			}
			if strings.Contains(head, "Basic ") {
				t.Errorf("the password reached the upstream:\n%s", head)
			}
		}
		user("/ws", "alice")
		user("/ws?token=machine-token", "machine")
		c.refused(t, g, "/ws?token=bad", header, 401)
		c.refused(t, g, "/ws", nil, 401)
		evil := header.Clone()
		evil.Set("Origin", "https://evil.example")
		c.refused(t, g, "/ws", evil, 403)
	})
	g.reload(t, site("bearer machine-token machine\ntoken query token"))
	if a := overWS.do(t, g, "/ws", login); a.status != 401 {
		t.Errorf("without inherit: status %d, want 401", a.status)
	}
}

// bcryptOfSecret is what `caddy hash-password` makes of "secret".
const bcryptOfSecret = "$2a$04$E0Xzly0yCsWsfny4.zey/OalHa0r60AthR.Gk3qU5T.fIftHQdfYG"

// TestGuestProviderFromJSON lets Caddy's http_basic guard the upgrade.
func TestGuestProviderFromJSON(t *testing.T) {
	b := newBackend(t, echo)
	g := newGateway(t, "")
	config := strings.ReplaceAll(string(must(g.adapt("ws_gateway "+b.addr+" {\n auth {\n bearer machine-token machine\n }\n header_up X-User {http.auth.user.id}\n }"))),
		`"auth":{`, `"auth":{"providers":{"http_basic":{"accounts":[{"username":"alice","password":"`+bcryptOfSecret+`"}],"hash_cache":{}}},`)
	g.runJSON(t, []byte(config))
	basic := func(password string) http.Header {
		return http.Header{
			"Authorization": {"Basic " + base64.StdEncoding.EncodeToString([]byte("alice:"+password))},
			"Origin":        {"http://" + g.httpAddr},
		}
	}
	for token, want := range map[string]http.Header{"machine": bearer("machine-token"), "alice": basic("secret")} {
		conn := overWS.open(t, g, "/ws", want)
		head := receive(t, "handshake", b.requests)
		if got := headerLines(head, "X-User"); !slices.Equal(got, []string{token}) || strings.Contains(head, "Authorization") {
			t.Errorf("want user %s:\n%s", token, head)
		}
		conn.finish(t)
	}
	for _, header := range []http.Header{nil, basic("wrong"), bearer("wrong")} {
		a := overWS.refused(t, g, "/ws", header, 401)
		challenges := strings.Join(a.header["Www-Authenticate"], ", ")
		if !strings.Contains(challenges, "Basic") || !strings.Contains(challenges, "Bearer") {
			t.Errorf("challenged with %q, want both ways", challenges)
		}
	}
}

// TestTokenProviderInFrontOfOthers guards reverse_proxy, and a gateway that
// inherits ends its connection with the token.
func TestTokenProviderInFrontOfOthers(t *testing.T) {
	b := newBackend(t, echo)
	g := start(t, fmt.Sprintf(`ws_token {
		token query token
		jwt {
			key %q
			leeway 0s
		}
	}
	reverse_proxy /plain* %s {
		header_up X-User {http.auth.user.id}
		header_up X-Mail {http.auth.user.email}
	}
	ws_gateway /ws %s {
		auth {
			inherit
		}
		origins any
		header_up X-User {http.auth.user.id}
	}`, jwtSecret, b.addr, b.addr))
	if a := g.get(t, "/plain", nil); a.status != 401 || !strings.HasPrefix(a.header.Get("WWW-Authenticate"), "Bearer") {
		t.Errorf("without a token: %d, %v", a.status, a.header)
	}
	token := tokenFor("alice", time.Hour, `"email":"a@b"`, `"id":"root"`)
	if a := g.get(t, "/plain?token="+token, nil); a.status != 200 {
		t.Errorf("with a token: %d", a.status)
	}
	head := receive(t, "request", b.requests)
	if got := headerLines(head, "X-User"); !slices.Equal(got, []string{"alice"}) || !slices.Equal(headerLines(head, "X-Mail"), []string{"a@b"}) || strings.Contains(head, token) {
		t.Errorf("at the upstream:\n%s", head)
	}
	began := time.Now()
	conn := overWS.open(t, g, "/ws?token="+shortLived(), nil)
	conn.expectClose(t, 3000)
	if took := time.Since(began); took > patience/2 {
		t.Errorf("closed after %s", took)
	}
}

// TestKeySetOverTLSSurvivesReloads is fetched once, with a private authority.
func TestKeySetOverTLSSurvivesReloads(t *testing.T) {
	b := newBackend(t, echo)
	var fetches atomic.Int64
	jwk := `{"keys":[{"kty":"EC","crv":"P-256","kid":"x","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}]}`
	keys := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fetches.Add(1)
		_, _ = w.Write([]byte(jwk))
	}))
	t.Cleanup(keys.Close)
	authority := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(authority, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: keys.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	site := "ws_gateway " + b.addr + " {\n auth {\n jwt {\n jwks " + keys.URL + "\n trust_pool file " + authority + "\n }\n }\n }"
	g := start(t, site)
	// Appendix A.3 of RFC 7515: good, but expired long ago.
	old := "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ." +
		"DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q"
	for i := range 3 {
		a := overWS.do(t, g, "/ws", bearer(old))
		if line := book.wait(t, "refused", i+1); a.status != 401 || line.str("reason") != "the token has expired" {
			t.Errorf("%d, %s", a.status, line.raw)
		}
		g.reload(t, site+fmt.Sprintf("\nrespond /%d hello", i))
	}
	if n := fetches.Load(); n != 1 {
		t.Errorf("fetched %d times over three reloads, want once", n)
	}
}

// TestKeySetThatIsDownDoesNotHoldUpAReload and makes handshakes unavailable.
func TestKeySetThatIsDownDoesNotHoldUpAReload(t *testing.T) {
	long(t)
	hold := make(chan struct{})
	keys := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-hold:
		case <-r.Context().Done():
		}
	}))
	t.Cleanup(keys.Close)
	t.Cleanup(func() { close(hold) })
	began := time.Now()
	g := start(t, "ws_gateway "+newBackend(t, echo).addr+" {\n auth {\n bearer good-token\n jwt {\n jwks "+keys.URL+"\n }\n }\n }")
	g.reload(t, "ws_gateway "+newBackend(t, echo).addr+" {\n auth {\n bearer good-token\n jwt {\n jwks "+keys.URL+"\n }\n }\n }")
	if took := time.Since(began); took > patience/2 {
		t.Errorf("two loads took %s", took)
	}
	overWS.open(t, g, "/ws", bearer("good-token")).finish(t)
	a := overWS.refused(t, g, "/ws", bearer(tokenFor("alice", time.Hour)), 503)
	if a.header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
}

// introspector is a token service that answers with a text, or otherwise where
// that is the word for it.
type introspector struct {
	url    string
	answer atomic.Value // a string
	calls  atomic.Int64
	seen   atomic.Pointer[http.Request] // the last one
}

func newIntrospector(t *testing.T) *introspector {
	t.Helper()
	s := new(introspector)
	release := make(chan struct{})
	service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.calls.Add(1)
		_ = r.ParseForm()
		s.seen.Store(r)
		switch text := s.answer.Load().(string); text {
		case "hang":
			select {
			case <-release:
			case <-r.Context().Done():
			}
		case "error":
			w.WriteHeader(500)
		case "redirect":
			http.Redirect(w, r, "/good", http.StatusFound)
		case "large":
			_, _ = w.Write([]byte(`{"active":true,"x":"` + strings.Repeat("x", 10<<20) + `"}`))
		default:
			_, _ = w.Write([]byte(text))
		}
	}))
	t.Cleanup(service.Close)
	t.Cleanup(func() { close(release) })
	s.url = service.URL
	return s
}

// TestIntrospection asks a service, once for as long as its answer is cached.
func TestIntrospection(t *testing.T) {
	b := newBackend(t, echo)
	service := newIntrospector(t)
	g := start(t, "ws_gateway "+b.addr+" {\n auth {\n introspect "+service.url+"/introspect 1h {\n timeout 500ms\n }\n }\n header_up X-User {http.auth.user.id}\n }")
	for name, row := range map[string]struct {
		answer string
		status int
		user   string
	}{
		"active":          {`{"active":true,"sub":"alice","username":"al"}`, 0, "alice"},
		"without sub":     {`{"active":true,"username":"al"}`, 0, "al"},
		"inactive":        {`{"active":false}`, 401, ""},
		"expired":         {`{"active":true,"exp":1}`, 401, ""},
		"not a word":      {`{"sub":"alice"}`, 503, ""},
		"not true":        {`{"active":"true"}`, 503, ""},
		"said twice":      {`{"active":false,"active":true}`, 503, ""},
		"no JSON":         {`<html>`, 503, ""},
		"an error":        {`error`, 503, ""},
		"a redirect":      {`redirect`, 503, ""},
		"10 MB":           {`large`, 503, ""},
		"a hang":          {`hang`, 503, ""},
		"a damaged user":  {`{"active":true,"sub":"a\nb"}`, 401, ""},
		"exp is no date":  {`{"active":true,"exp":"soon"}`, 503, ""},
		"no user at all":  {`{"active":true}`, 0, ""},
		"a scope at last": {`{"active":true,"sub":"bob","scope":"chat"}`, 0, "bob"},
	} {
		t.Run(name, func(t *testing.T) {
			service.answer.Store(row.answer)
			before := service.calls.Load()
			token := "opaque-" + strings.ReplaceAll(name, " ", "-")
			for range 2 {
				if row.status != 0 {
					overWS.refused(t, g, "/ws", bearer(token), row.status)
					continue
				}
				overWS.open(t, g, "/ws", bearer(token)).finish(t)
				head := receive(t, "handshake", b.requests)
				if got := strings.Join(headerLines(head, "X-User"), "|"); got != row.user {
					t.Errorf("X-User is %q, want %q", got, row.user)
				}
			}
			want := int64(1)
			if row.status == 503 {
				want = 2 // nothing was learned
			}
			if n := service.calls.Load() - before; n != want {
				t.Errorf("%d calls for two handshakes, want %d", n, want)
			}
			r := service.seen.Load()
			if r.Method != http.MethodPost || r.PostForm.Get("token") != token || r.Header.Get("Upgrade") != "" || r.Header.Get("Authorization") != "" {
				t.Errorf("asked with %s %v %v", r.Method, r.PostForm, r.Header)
			}
		})
	}
	service.answer.Store(fmt.Sprintf(`{"active":true,"sub":"alice","exp":%d}`, time.Now().Add(4*time.Second).Unix()))
	overWS.open(t, g, "/ws", bearer("opaque-short")).expectClose(t, 3000)
	assertHidden(t, g, b, "opaque-")
}

func must(config []byte, err error) []byte {
	if err != nil {
		panic(err)
	}
	return config
}
