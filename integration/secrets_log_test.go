package integration

import (
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/caddyauth"
)

func init() {
	caddy.RegisterModule(new(sendingAway))
}

// sendingAway is an authentication provider that sends everyone to a login page
// and back, as those for browsers do.
type sendingAway struct{}

// CaddyModule registers the provider.
func (*sendingAway) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.authentication.providers.integration_away",
		New: func() caddy.Module { return new(sendingAway) },
	}
}

// Authenticate redirects.
func (*sendingAway) Authenticate(w http.ResponseWriter, r *http.Request) (caddyauth.User, bool, error) {
	w.Header().Set("Location", "https://login.example/?back="+url.QueryEscape(r.RequestURI)+"&given="+r.Header.Get("X-Token"))
	w.WriteHeader(http.StatusFound)
	return caddyauth.User{}, false, nil
}

// UnmarshalCaddyfile takes nothing.
func (*sendingAway) UnmarshalCaddyfile(d *caddyfile.Dispenser) error { d.Next(); return nil }

// tokenEverywhere takes tokens from everywhere.
const tokenEverywhere = `token header
	token header X-Token
	token query token
	token cookie session
	token subprotocol
	bearer leak-static-token alice
	bearer "leak static + token" bob
`

// leakySite is a gateway for every outcome, each below a path of its name.
func leakySite(t *testing.T) string {
	t.Helper()
	good := newBackend(t, echo)
	refusing := newBackend(t, answering("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno"))
	invalid := newBackend(t, answering("HTTP/1.1 101 Switching Protocols\r\n\r\n"))
	quiet := newBackend(t, silent)
	handler := func(path, upstream, inAuth, more string) string {
		return fmt.Sprintf("ws_gateway /%s* %s {\n auth {\n %s\n %s\n }\n %s\n }\n", path, upstream, tokenEverywhere, inAuth, more)
	}
	return handler("open", good.addr, "renew /open/renew", "header_up X-User {http.auth.user.id}") +
		handler("scope", good.addr, fmt.Sprintf("jwt {\n key %q\n require scope chat\n }", jwtSecret), "") +
		handler("refused", refusing.addr, "", "") +
		handler("invalid", invalid.addr, "", "") +
		handler("silent", quiet.addr, "", "handshake_timeout 20ms") +
		handler("dead", "127.0.0.1:1", "", "") +
		handler("panic", good.addr, "provider integration_panic", "") +
		handler("away", good.addr, "provider integration_away", "") +
		"handle /inherit* {\n ws_token {\n " + tokenEverywhere + " }\n ws_gateway " + good.addr + " {\n auth {\n inherit\n }\n origins any\n }\n }\n" +
		"handle /static* {\n respond \"no gateway\"\n }\n" +
		"@gateway not path /static*\nlog_append @gateway seen {http.request.uri}\nlog_append @gateway first {http.request.orig_uri}\n"
}

// leakyPaths are the paths of leakySite.
var leakyPaths = []string{"open", "open/renew", "scope", "refused", "invalid", "silent", "dead", "panic", "away", "inherit", "static"}

// leakyTokens are sent to each of them.
func leakyTokens() []string {
	return []string{
		"leak-static-token", "leak static + token", "leak-unknown-token",
		tokenFor("carol", time.Hour), tokenFor("carol", -time.Hour),
	}
}

// leakyWays are the ways to send a token.
func leakyWays(token string) map[string]func() (query string, header http.Header) {
	return map[string]func() (query string, header http.Header){
		"header": func() (string, http.Header) { return "", bearer(token) },
		"field":  func() (string, http.Header) { return "", http.Header{"X-Token": {token}} },
		"query":  func() (string, http.Header) { return "?a=1&token=" + url.QueryEscape(token), http.Header{} },
		"cookie": func() (string, http.Header) { return "", http.Header{"Cookie": {"a=1; session=" + token}} },
		"subprotocol": func() (string, http.Header) {
			return "", http.Header{"Sec-Websocket-Protocol": {"chat, bearer, " + token}}
		},
		"dotted": func() (string, http.Header) { return "", http.Header{"Sec-Websocket-Protocol": {"bearer." + token}} },
		"referer": func() (string, http.Header) {
			return "", http.Header{"Referer": {"https://example.com/page?token=" + url.QueryEscape(token)}}
		},
	}
}

// sendEverywhere sends the token to every path in every way.
func sendEverywhere(t *testing.T, g *gateway, token string) {
	t.Helper()
	for way, carry := range leakyWays(token) {
		if strings.Contains(token, " ") && (way == "subprotocol" || way == "dotted") {
			continue // it is no token of RFC 9110
		}
		for _, path := range leakyPaths {
			query, header := carry()
			for _, c := range []carrier{overWS, overH2, overH3} {
				if c.name != overWS.name && (path == "panic" || way == "dotted") {
					continue // a panic ends the whole connection, and h1 says enough
				}
				if a, err := c.try(g, "/"+path+query, sameOrigin(g, c, withOrigin(header))); err == nil && a.conn != nil {
					a.conn.kill()
				}
			}
			if path != "panic" {
				g.sendPlain(t, "/"+path+query, withOrigin(header))
			}
			bad := header.Clone()
			bad.Set("Sec-WebSocket-Version", "9")
			_, _ = overWS.try(g, "/"+path+query, bad)
		}
	}
}

// sendPlain sends a plain request and does not follow where the answer leads.
func (g *gateway) sendPlain(t *testing.T, path string, header http.Header) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+g.httpAddr+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header = sameOrigin(g, overWS, header)
	transport := &http.Transport{DisableKeepAlives: true}
	res, err := transport.RoundTrip(req)
	if err != nil {
		t.Fatalf("POST %s: %v", path, err)
	}
	_ = res.Body.Close()
}

func withOrigin(header http.Header) http.Header {
	header = header.Clone()
	header.Set("Origin", "same")
	return header
}

// assertNoToken looks for the tokens and their parts in all that was logged.
func assertNoToken(t *testing.T, tokens []string) {
	t.Helper()
	found := map[string]int{}
	for _, line := range book.find("", "") {
		for _, token := range tokens {
			for _, part := range append(strings.Split(token, "."), url.QueryEscape(token), url.QueryEscape(url.QueryEscape(token)), url.PathEscape(token)) {
				if len(part) < 15 || strings.HasPrefix(part, "eyJhbGciOiJI") || !strings.Contains(line.raw, part) {
					continue
				}
				where := fmt.Sprintf("%s %s: %s", line.str("level"), line.str("logger"), line.str("msg"))
				if found[where]++; found[where] == 1 {
					t.Errorf("%q is in %.2000s", part, line.raw)
				}
			}
		}
	}
	for where, n := range found {
		t.Logf("%d × %s", n, where)
	}
}

// assertLogged fails the test where a logger was silent, for then nothing was
// tested.
func assertLogged(t *testing.T, loggers ...string) {
	t.Helper()
	for _, logger := range loggers {
		if len(book.find(logger, "")) == 0 {
			t.Errorf("nothing was logged by %s", logger)
		}
	}
}

// TestNoTokenIsInAnyLog with nothing configured for it and all levels on: not in
// the access log, not in the log of errors, not in those of handlers, whatever
// comes of the request, whatever protocol it came by, and wherever the token was.
func TestNoTokenIsInAnyLog(t *testing.T) {
	long(t)
	for name, errorRoutes := range map[string]string{
		"no error routes":       "",
		"error routes":          "handle_errors {\n respond \"failed\"\n }\n",
		"error routes that err": "handle_errors {\n error \"again\" 500\n }\n",
	} {
		t.Run(name, func(t *testing.T) {
			g := startWith(t, "debug", leakySite(t)+errorRoutes)
			tokens := leakyTokens()
			if errorRoutes != "" {
				tokens = tokens[2:4] // one that is refused for each of two reasons
			}
			for _, token := range tokens {
				sendEverywhere(t, g, token)
			}
			if err := caddy.Stop(); err != nil {
				t.Fatal(err)
			}
			assertLogged(t, accessLogger, "http.log.error", ourLogger)
			assertNoToken(t, tokens)
			statuses := map[float64]bool{}
			for _, line := range append(book.find(accessLogger, ""), book.find("http.log.error", "")...) {
				statuses[line.num("status")] = true
			}
			for _, status := range []float64{101, 200, 302, 401, 403, 426, 502, 503, 504} {
				if !statuses[status] && (errorRoutes == "" || status == 302 || status == 401) {
					t.Errorf("nothing was answered %v", status)
				}
			}
		})
	}
}

// documentedFilter is the filter for logs that docs/operations.md shows.
func documentedFilter(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	_, after, found := strings.Cut(string(text), "\n\tlog default {\n")
	filter, _, closed := strings.Cut(after, "\n\t}\n")
	if !found || !closed {
		t.Fatal("docs/operations.md shows no filter for logs")
	}
	return "output integration_book\n" + strings.Replace(filter, "format filter {", "format filter {\nwrap json\n", 1)
}

// TestFilterKeepsTokensOutOfWhatOthersLog of requests that the gateway has no say
// in: those to servers without one, and those that a handler in front logs.
func TestFilterKeepsTokensOutOfWhatOthersLog(t *testing.T) {
	b := newBackend(t, echo)
	g := newGateway(t, "debug")
	other := freePort(t)
	_, otherPort, _ := net.SplitHostPort(other)
	g.sites = "http://:" + otherPort + " {\n log\n redir /away* https://localhost{uri}\n error /fails* 503\n}\n"
	site := "route {\n rewrite /before* /ws\n forward_auth " + b.addr + " {\n uri /check\n }\n ws_gateway " + b.addr + " {\n auth {\n " + tokenEverywhere + " }\n }\n }"
	config, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(g.caddyfile(site, documentedFilter(t))), nil)
	if err != nil {
		t.Fatal(err)
	}
	g.runJSON(t, config)
	tokens := leakyTokens()
	elsewhere := *g
	elsewhere.httpAddr = other
	for _, token := range tokens {
		for _, path := range []string{"/away", "/fails", "/none"} {
			for _, carry := range leakyWays(token) {
				query, header := carry()
				elsewhere.sendPlain(t, path+query, withOrigin(header))
			}
		}
		for _, carry := range leakyWays(token) {
			query, header := carry()
			g.sendPlain(t, "/before"+query, withOrigin(header))
		}
	}
	if err := caddy.Stop(); err != nil {
		t.Fatal(err)
	}
	assertLogged(t, accessLogger, "http.log.error", "http.handlers.reverse_proxy", "http.handlers.rewrite")
	assertNoToken(t, tokens)
}

// TestLogCredentialsIsTheOperatorsWord for tokens as for cookies.
func TestLogCredentialsIsTheOperatorsWord(t *testing.T) {
	b := newBackend(t, echo)
	g := startWith(t, "servers {\n log_credentials\n }", "ws_gateway "+b.addr+" {\n auth {\n "+tokenEverywhere+" }\n }")
	g.get(t, "/x?token=leak-unknown-token", nil)
	book.waitAccess(t, "/x?token=leak-unknown-token")
}
