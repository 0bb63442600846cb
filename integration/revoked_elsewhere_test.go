package integration

import (
	"encoding/json"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/caddyauth"
)

func init() { caddy.RegisterModule(new(undemanding)) }

// undemanding is an authentication provider that knows everyone, after ws_token by its
// name.
type undemanding struct{}

func (*undemanding) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.authentication.providers.z_integration_undemanding",
		New: func() caddy.Module { return new(undemanding) },
	}
}

func (*undemanding) UnmarshalCaddyfile(*caddyfile.Dispenser) error { return nil }

func (*undemanding) Authenticate(http.ResponseWriter, *http.Request) (caddyauth.User, bool, error) {
	return caddyauth.User{ID: "somebody"}, true, nil
}

// revokeFor adds a revocation, and returns how many connections it ended.
func revokeFor(t *testing.T, g *gateway, body string) (ended int) {
	t.Helper()
	status, answer := g.adminDo(t, http.MethodPost, "/ws_gateway/revocations", "application/json", body)
	var made struct{ Ended int }
	if err := json.Unmarshal([]byte(answer), &made); status != http.StatusCreated || err != nil {
		t.Fatalf("revoking %s: %d %s", body, status, answer)
	}
	return made.Ended
}

// TestRevokedTokenThatNamesNobodyIsRefusedBehindTheHandlerThatKnowsIt and what it has open
// is ended, at a gateway without auth.
func TestRevokedTokenThatNamesNobodyIsRefusedBehindTheHandlerThatKnowsIt(t *testing.T) {
	b := newBackend(t, echo)
	site := "ws_token {\n jwt {\n key %q\n allow_no_expiry\n }\n }\n ws_gateway %s {\n name behind\n }"
	g := start(t, fmt.Sprintf(site, jwtSecret, b.addr))
	for name, more := range map[string]string{"anywhere": "", "at-one-gateway": `,"gateway":"behind"`} {
		token := bearer(hmacToken(jwtSecret, fmt.Sprintf(`{"jti":%q}`, name)))
		conn := overWS.open(t, g, "/ws", token)
		conn.ping(t, "open")
		if ended := revokeFor(t, g, fmt.Sprintf(`{"jti":%q%s}`, name, more)); ended != 1 {
			t.Errorf("%s: %d connections ended, want 1", name, ended)
		}
		conn.expectClose(t, 3000)
		overWS.refused(t, g, "/ws", token, http.StatusUnauthorized)
		if a := g.get(t, "/ws", token); a.status != http.StatusUnauthorized || a.header.Get("WWW-Authenticate") == "" {
			t.Errorf("%s: a plain request is answered %d, %v", name, a.status, a.header)
		}
	}
}

// TestNobodyElseTakesARevokedToken where a provider knows the same token.
func TestNobodyElseTakesARevokedToken(t *testing.T) {
	b := newBackend(t, echo)
	provider := "provider z_integration_undemanding"
	rows := map[string]string{
		"own":      fmt.Sprintf("jwt {\n key %q\n }\n %s", jwtSecret, provider),
		"provider": fmt.Sprintf("%s\n provider ws_token {\n jwt {\n key %q\n }\n }", provider, jwtSecret),
	}
	for name, auth := range rows {
		t.Run(name, func(t *testing.T) {
			g := start(t, fmt.Sprintf("ws_gateway %s {\n auth {\n %s\n }\n }", b.addr, auth))
			token := bearer(tokenFor("alice", time.Hour, fmt.Sprintf(`"jti":%q`, name)))
			revokeFor(t, g, fmt.Sprintf(`{"jti":%q}`, name))
			overWS.refused(t, g, "/ws", token, http.StatusUnauthorized)
		})
	}
}

// TestTokenThatNeverEndsIsRevokedForGood although its end, with the leeway, is in no year
// that JSON can say.
func TestTokenThatNeverEndsIsRevokedForGood(t *testing.T) {
	b := newBackend(t, echo)
	g := start(t, fmt.Sprintf("ws_gateway %s {\n auth {\n jwt {\n key %q\n }\n }\n }", b.addr, jwtSecret))
	token := bearer(hmacToken(jwtSecret, `{"sub":"alice","jti":"endless","exp":1795685736000000}`))
	conn := overWS.open(t, g, "/ws", token)
	conn.ping(t, "open")
	if ended := revokeFor(t, g, `{"jti":"endless"}`); ended != 1 {
		t.Errorf("%d connections ended, want 1", ended)
	}
	conn.expectClose(t, 3000)
	if status, answer := g.adminDo(t, http.MethodGet, "/ws_gateway/revocations", "", ""); status != http.StatusOK {
		t.Errorf("the list is answered %d %s", status, answer)
	}
}
