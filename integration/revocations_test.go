package integration

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"
)

// revocation is the answer to one.
type revocation struct {
	ID    string
	Ended int
}

// revoke revokes until the end of the test: revocations outlive configurations.
func (g *gateway) revoke(t *testing.T, body string) (r revocation) {
	t.Helper()
	status, answer := g.adminDo(t, "POST", "/ws_gateway/revocations", "application/json", body)
	if err := json.Unmarshal([]byte(answer), &r); err != nil || status != 201 || r.ID == "" {
		t.Fatalf("revoking %s: %d %s", body, status, answer)
	}
	t.Cleanup(func() { g.adminDo(t, "DELETE", "/ws_gateway/revocations/"+r.ID, "", "") })
	return r
}

func (g *gateway) pardon(t *testing.T, id string) {
	t.Helper()
	if status, answer := g.adminDo(t, "DELETE", "/ws_gateway/revocations/"+id, "", ""); status != 204 {
		t.Fatalf("deleting a revocation: %d %s", status, answer)
	}
}

// issued is a claim for tokenFor.
func issued(at time.Time) string { return fmt.Sprintf(`"iat":%d`, at.Unix()) }

// revokedHere is a place where a credential is verified.
type revokedHere struct {
	path   string
	header http.Header
	revoke string // by what
	user   string
	renew  string // a path to renew at; "" for none
	name   string // of the gateway; "" where none asks
}

func revocationSites(upstream, introspection string) string {
	jwt := fmt.Sprintf("jwt {\n key %q\n leeway 0s\n }", jwtSecret)
	basic := "basic_auth {\n alice " + bcryptOfSecret + "\n }\n"
	gateway := func(name, auth string) string {
		return "ws_gateway " + upstream + " {\n name " + name + "\n " + auth + "\n }\n"
	}
	return "handle /jwt* {\n " + gateway("jwt", "auth {\n renew /jwt/renew\n "+jwt+"\n }") + "}\n" +
		"handle /static* {\n " + gateway("static", "auth {\n renew /static/renew\n bearer static-token-of-alice alice\n }") + "}\n" +
		"handle /optional* {\n " + gateway("optional", "auth {\n optional\n token header\n token query token\n "+jwt+"\n }") + "}\n" +
		"handle /cookies* {\n " + gateway("cookies", "origins any\n auth {\n token cookie session\n "+jwt+"\n }") + "}\n" +
		"handle /introspect* {\n " + gateway("introspect", "auth {\n introspect "+introspection+"\n }") + "}\n" +
		"handle /provider* {\n " + gateway("provider", "auth {\n provider ws_token {\n "+jwt+"\n }\n }") + "}\n" +
		"handle /inherit* {\n ws_token {\n " + jwt + "\n }\n " + gateway("inherit", "auth {\n inherit\n }") + "}\n" +
		"handle /behind* {\n ws_token {\n " + jwt + "\n }\n " + gateway("behind", "") + "}\n" +
		"handle /login* {\n " + basic + gateway("login", "auth {\n inherit\n renew /login/renew\n }") + "}\n" +
		"handle /bare* {\n " + basic + gateway("bare", "") + "}\n" +
		"handle /directive* {\n ws_token {\n " + jwt + "\n }\n reverse_proxy " + upstream + "\n }\n"
}

// TestRevokedIsRefusedWherever a credential is verified, over every protocol, once in
// the log, and by nobody's token in it; and let in again once that is taken back.
func TestRevokedIsRefusedWherever(t *testing.T) {
	b := newBackend(t, echo)
	service := newIntrospector(t)
	service.answer.Store(fmt.Sprintf(`{"active":true,"sub":"alice","iat":%d}`, time.Now().Unix()-10))
	g := startWith(t, "debug", revocationSites(b.addr, service.url))
	login := http.Header{
		"Authorization": {"Basic " + base64.StdEncoding.EncodeToString([]byte("alice:secret"))}, "Origin": {"same"},
	}
	token := tokenFor("alice", time.Hour, `"jti":"t-1"`, issued(time.Now()))
	other := tokenFor("alice", time.Hour, `"jti":"t-2"`, issued(time.Now().Add(time.Second)))
	const byToken, byUser = `{"jti":"t-1"}`, `{"user":"alice"}`
	for name, row := range map[string]revokedHere{
		"jwt, by jti":                      {"/jwt", bearer(token), byToken, "alice", "/jwt/renew", "jwt"},
		"jwt, by user":                     {"/jwt", bearer(token), byUser, "alice", "/jwt/renew", "jwt"},
		"jwt, by user on its gateway":      {"/jwt", bearer(token), `{"user":"alice","gateway":"jwt"}`, "alice", "/jwt/renew", "jwt"},
		"a static token":                   {"/static", bearer("static-token-of-alice"), byUser, "alice", "/static/renew", "static"},
		"optional, by jti":                 {"/optional", bearer(token), byToken, "alice", "", "optional"},
		"introspection":                    {"/introspect", bearer("an-opaque-token-of-alice"), byUser, "alice", "", "introspect"},
		"our provider, by jti":             {"/provider", bearer(token), byToken, "alice", "", "provider"},
		"our provider, by user":            {"/provider", bearer(token), byUser, "alice", "", "provider"},
		"our provider, on its gateway":     {"/provider", bearer(token), `{"jti":"t-1","gateway":"provider"}`, "alice", "", "provider"},
		"inherited, by jti":                {"/inherit", bearer(token), byToken, "alice", "", ""},
		"inherited, by user":               {"/inherit", bearer(token), byUser, "alice", "", ""},
		"inherited, by jti on its gateway": {"/inherit", bearer(token), `{"jti":"t-1","gateway":"inherit"}`, "alice", "", "inherit"},
		"behind, by jti":                   {"/behind", bearer(token), byToken, "alice", "", ""},
		"behind, by jti on its gateway":    {"/behind", bearer(token), `{"jti":"t-1","gateway":"behind"}`, "alice", "", "behind"},
		"a login":                          {"/login", login, byUser, "alice", "/login/renew", "login"},
		"a login without auth":             {"/bare", login, byUser, "alice", "", "bare"},
		"a login, on its gateway":          {"/bare", login, `{"user":"alice","gateway":"bare","code":4003,"reason":"out"}`, "alice", "", "bare"},
		"the directive, by jti":            {"/directive", bearer(token), byToken, "alice", "", ""},
		"the directive, by user":           {"/directive", bearer(token), byUser, "alice", "", ""},
	} {
		t.Run(name, func(t *testing.T) { row.check(t, g, other) })
	}
	assertNoToken(t, []string{token, other, "static-token-of-alice", "an-opaque-token-of-alice"})
}

// check revokes what is live, tries it again, and takes the revocation back.
func (row *revokedHere) check(t *testing.T, g *gateway, other string) {
	relayed := row.path != "/directive"
	conns, ids := map[string]*wsConn{}, map[string]string{}
	if relayed {
		for _, c := range carriers {
			conns[c.name] = c.open(t, g, row.path, sameOrigin(g, c, row.header))
			ids[c.name] = conns[c.name].header.Get("Ws-Gateway-Connection")
		}
		g.waitConnections(t, len(carriers))
	}
	plain := sameOrigin(g, overWS, row.header)
	if a := g.get(t, row.path+"/page", plain); a.status != 200 {
		t.Fatalf("a plain request before: %d %s", a.status, a.body)
	}
	r := g.revoke(t, row.revoke)
	if r.Ended != len(conns) {
		t.Errorf("ended %d, want %d", r.Ended, len(conns))
	}
	for _, conn := range conns {
		code := 3000
		if strings.Contains(row.revoke, "4003") {
			code = 4003
		}
		conn.expectClose(t, code)
		conn.kill()
	}
	before := len(book.find("", "refused"))
	refusals := 0
	refused := func(what string, a answer) {
		t.Helper()
		refusals++
		if challenge := a.header.Get("WWW-Authenticate"); a.status != 401 || !strings.HasPrefix(challenge, "Bearer") || !strings.Contains(challenge, `error="invalid_token"`) && row.name != "" {
			t.Errorf("%s: %d, challenged with %q", what, a.status, challenge)
		}
	}
	for _, c := range carriers {
		refused(c.name, c.do(t, g, row.path, sameOrigin(g, c, row.header)))
	}
	refused("a plain request", g.get(t, row.path+"/page", plain))
	if row.renew != "" {
		refused("a renewal", g.send(t, http.MethodPost, row.renew+"?connection="+ids[overWS.name], plain, ""))
	}
	row.assertLogged(t, before, refusals)
	if strings.Contains(row.revoke, "t-1") {
		if a := g.get(t, row.path+"/page", bearer(other)); a.status != 200 {
			t.Errorf("another token: %d %s", a.status, a.body)
		}
	}
	g.pardon(t, r.ID)
	if a := g.get(t, row.path+"/page", plain); a.status != 200 {
		t.Errorf("a plain request after the revocation was deleted: %d %s", a.status, a.body)
	}
	if relayed {
		overWS.open(t, g, row.path, sameOrigin(g, overWS, row.header)).finish(t)
		g.waitConnections(t, 0)
	}
}

// assertLogged finds one line for each refusal, after so many of before.
func (row *revokedHere) assertLogged(t *testing.T, before, refusals int) {
	t.Helper()
	eventually(t, "lines of refusals", func() bool { return len(book.find("", "refused")) >= before+refusals })
	lines := book.find("", "refused")[before:]
	if len(lines) != refusals {
		t.Errorf("%d lines for %d refusals", len(lines), refusals)
	}
	for _, line := range lines {
		if line.str("reason") != "revoked" || line.str("result") != "unauthorized" || line.num("status") != 401 || line.str("user_id") != row.user ||
			line.str("gateway") != row.name || line.str("remote_ip") != "127.0.0.1" || line.str("proto") == "" || line.str("level") != "info" {
			t.Errorf("logged %s", line.raw)
		}
	}
}

// TestRevocationOfAUserGoesByWhenItWasIssued in the second.
func TestRevocationOfAUserGoesByWhenItWasIssued(t *testing.T) {
	b := newBackend(t, echo)
	g := start(t, jwtSite(b.addr, "", "")+"\n"+strings.Replace(jwtSite(b.addr, "", ""), "ws_gateway", "ws_gateway /named*", 1))
	second := time.Now().Add(-time.Hour).Truncate(time.Second)
	tokens := map[string]string{
		"before":       tokenFor("iris", time.Hour, issued(second.Add(-time.Second))),
		"in it":        tokenFor("iris", time.Hour, issued(second)),
		"late in it":   tokenFor("iris", time.Hour, fmt.Sprintf(`"iat":%d.9`, second.Unix())),
		"after":        tokenFor("iris", time.Hour, issued(second.Add(time.Second))),
		"undated":      tokenFor("iris", time.Hour),
		"another user": tokenFor("iris2", time.Hour, issued(second)),
	}
	conns := map[string]*wsConn{}
	for name, token := range tokens {
		conns[name] = overWS.open(t, g, "/ws", bearer(token))
	}
	g.waitConnections(t, len(conns))
	revoked := map[string]bool{"before": true, "in it": true, "late in it": true, "undated": true}
	body := `{"user":"iris","issued_before":"` + second.Add(500*time.Millisecond).In(time.FixedZone("", 3600)).Format(time.RFC3339Nano) + `"}`
	if r := g.revoke(t, body); r.Ended != len(revoked) {
		t.Errorf("ended %d, want %d", r.Ended, len(revoked))
	}
	for name, conn := range conns {
		a := overWS.do(t, g, "/ws", bearer(tokens[name]))
		if revoked[name] {
			conn.expectClose(t, 3000)
		} else {
			conn.ping(t, "lives")
		}
		if (a.status == 401) != revoked[name] {
			t.Errorf("%s: %d", name, a.status)
		}
	}
}

func TestRevocationOnAGatewayIsForThatAlone(t *testing.T) {
	b := newBackend(t, echo)
	g := start(t, revocationSites(b.addr, "http://127.0.0.1:1"))
	token := bearer(tokenFor("nora", time.Hour, `"jti":"n-1"`))
	stays, ends := overWS.open(t, g, "/jwt", token), overWS.open(t, g, "/optional", token)
	g.waitConnections(t, 2)
	for _, body := range []string{`{"user":"nora","gateway":"optional"}`, `{"jti":"n-1","gateway":"optional"}`} {
		r := g.revoke(t, body)
		overWS.refused(t, g, "/optional", token, 401)
		overWS.refused(t, g, "/optional?token="+token.Get("Authorization")[len("Bearer "):], nil, 401)
		for _, path := range []string{"/jwt", "/provider", "/inherit", "/directive"} {
			if a := g.get(t, path, token); a.status != 200 {
				t.Errorf("%s: %s: %d", body, path, a.status)
			}
		}
		if a := g.get(t, "/optional", nil); a.status != 200 {
			t.Errorf("%s: nobody at all: %d", body, a.status)
		}
		g.pardon(t, r.ID)
	}
	ends.expectClose(t, 3000)
	stays.ping(t, "lives")
	stays.finish(t)
}

// TestGoodCookieBesideARevokedOne lets its user in.
func TestGoodCookieBesideARevokedOne(t *testing.T) {
	b := newBackend(t, echo)
	g := start(t, revocationSites(b.addr, "http://127.0.0.1:1"))
	stolen, good := tokenFor("otto", time.Hour, `"jti":"o-1"`), tokenFor("otto", time.Hour, `"jti":"o-2"`)
	g.revoke(t, `{"jti":"o-1"}`)
	for _, row := range []struct {
		cookies []string
		status  int
	}{
		{[]string{stolen, good}, 200}, {[]string{good, stolen}, 200}, {[]string{stolen}, 401}, {[]string{stolen, stolen}, 401}, {[]string{stolen, "x.y.z"}, 401}, {[]string{"x.y.z", stolen}, 401},
	} {
		header := http.Header{"Cookie": {"session=" + strings.Join(row.cookies, "; session=")}}
		if a := g.get(t, "/cookies", header); a.status != row.status {
			t.Errorf("%d cookies: %d, want %d", len(row.cookies), a.status, row.status)
		}
	}
}

// TestRenewalSavesAConnectionFromTheRevocationOfItsOldToken but not by a revoked one.
func TestRenewalSavesAConnectionFromTheRevocationOfItsOldToken(t *testing.T) {
	b := newBackend(t, echo)
	g := start(t, revocationSites(b.addr, "http://127.0.0.1:1"))
	of := func(jti string) http.Header { return bearer(tokenFor("rita", time.Hour, `"jti":"`+jti+`"`)) }
	conn := overWS.open(t, g, "/jwt", of("r-1"))
	renew := func(jti string, status int) {
		t.Helper()
		a := g.send(t, http.MethodPost, "/jwt/renew?connection="+conn.header.Get("Ws-Gateway-Connection"), of(jti), "")
		if a.status != status {
			t.Errorf("renewing by %s: %d, want %d", jti, a.status, status)
		}
	}
	g.waitConnections(t, 1)
	g.revoke(t, `{"jti":"r-3"}`)
	renew("r-3", 401)
	renew("r-2", 204)
	if r := g.revoke(t, `{"jti":"r-1"}`); r.Ended != 0 {
		t.Errorf("the old token ended %d", r.Ended)
	}
	renew("r-1", 401)
	conn.ping(t, "lives")
	if r := g.revoke(t, `{"jti":"r-2"}`); r.Ended != 1 {
		t.Errorf("the new token ended %d", r.Ended)
	}
	conn.expectClose(t, 3000)
}

// TestRevocationOutlivesReloads also to another storage, and back.
func TestRevocationOutlivesReloads(t *testing.T) {
	b := newBackend(t, echo)
	g := start(t, jwtSite(b.addr, "", ""))
	token := bearer(tokenFor("lea", time.Hour, `"jti":"l-1"`))
	g.setState(t, b.addr, "drain")
	defer g.setState(t, b.addr, "ready")
	id := g.revoke(t, `{"jti":"l-1"}`).ID
	first := g.storage
	for i, storage := range []string{first, t.TempDir(), first, t.TempDir()} {
		g.storage = storage
		g.reload(t, jwtSite(b.addr, "", "")+fmt.Sprintf("\nrespond /%d x", i))
		if a := overWS.do(t, g, "/ws", token); a.status != 401 {
			t.Errorf("reload %d: %d", i, a.status)
		}
		if got := g.shown(t, "default", b.addr).State; got != "drain" {
			t.Errorf("reload %d: the upstream is %s", i, got)
		}
	}
	g.setState(t, b.addr, "ready")
	g.pardon(t, id)
	overWS.open(t, g, "/ws", token).finish(t)
	g.storage = first
	g.reload(t, jwtSite(b.addr, "", ""))
}

// TestUserWithManyConnections loses them all, and none gets in again.
func TestUserWithManyConnections(t *testing.T) {
	long(t)
	b := newBackend(t, echo)
	g := start(t, jwtSite(b.addr, "", ""))
	const n = 500
	token, others := bearer(tokenFor("many", time.Hour, issued(time.Now()))), bearer(tokenFor("few", time.Hour))
	stays := overWS.open(t, g, "/ws", others)
	codes, again := make(chan int, n), make(chan int, n)
	for range n {
		conn := overWS.open(t, g, "/ws", token)
		go func() {
			f, _ := conn.closeFrame()
			codes <- f.closeCode()
			conn.kill()
			a, _ := dialWS(g, "/ws", token)
			again <- a.status
		}()
	}
	g.waitConnections(t, n+1)
	if r := g.revoke(t, `{"user":"many"}`); r.Ended != n {
		t.Errorf("ended %d, want %d", r.Ended, n)
	}
	for range n {
		if code := receive(t, "the end of a connection", codes); code != 3000 {
			t.Errorf("closed with %d", code)
		}
		if status := receive(t, "the answer to another try", again); status != 401 {
			t.Errorf("came back with %d", status)
		}
	}
	stays.ping(t, "lives")
	stays.finish(t)
}
