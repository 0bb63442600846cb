package integration

import (
	"cmp"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/caddyauth"
)

func init() {
	caddy.RegisterModule(new(panicking))
}

// panicking is an authentication provider that panics.
type panicking struct{}

// CaddyModule registers the provider.
func (*panicking) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.authentication.providers.integration_panic",
		New: func() caddy.Module { return new(panicking) },
	}
}

// Authenticate panics.
func (*panicking) Authenticate(http.ResponseWriter, *http.Request) (caddyauth.User, bool, error) {
	panic("a provider panics")
}

// UnmarshalCaddyfile takes nothing.
func (*panicking) UnmarshalCaddyfile(d *caddyfile.Dispenser) error { d.Next(); return nil }

// TestNoTokenIsSeenAnywhere sends good and bad tokens of every kind in every
// way, to handlers that accept, refuse, fail and panic, and then looks for them
// in everything that came out: all logs, metrics, spans, the admin endpoint, and
// what the upstream received.
func TestNoTokenIsSeenAnywhere(t *testing.T) {
	s := startSecretive(t)
	for token, status := range s.tokens {
		for _, way := range []string{"header", "field", "query", "cookie", "subprotocol"} {
			s.play(t, token, way, status)
		}
	}
	book.wait(t, "refused", 10)
	s.look(t, s.collect(t))
}

// secretive is a gateway with every kind of credential and every handler.
type secretive struct {
	*gateway
	upstream, broken *backend
	spans            func() string  // once Caddy has stopped
	tokens           map[string]int // what /ws answers; 0 for a connection
}

func startSecretive(t *testing.T) *secretive {
	t.Helper()
	s := &secretive{
		spans:    captureSpans(t),
		gateway:  newGateway(t, "debug"),
		upstream: newBackend(t, echo),
		broken:   newBackend(t, answering("HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n")),
		tokens: map[string]int{
			"leak-static-token":                            0,
			"leak-opaque-token":                            0,
			"leak-unknown-token":                           401,
			tokenFor("carol", time.Hour, `"scope":"chat"`): 0,
			tokenFor("carol", time.Hour):                   403,
			tokenFor("carol", -time.Hour):                  401,
		},
	}
	service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answer := `{"active":false}`
		if r.FormValue("token") == "leak-opaque-token" {
			answer = `{"active":true,"sub":"dora"}`
		}
		_, _ = io.WriteString(w, answer)
	}))
	t.Cleanup(service.Close)
	config, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(s.caddyfile(s.site(service.URL), bookOutput)), nil)
	if err != nil {
		t.Fatal(err)
	}
	s.runJSON(t, config)
	return s
}

// site has a gateway that accepts, one whose upstream breaks off, and one with
// a provider that panics.
func (s *secretive) site(introspection string) string {
	auth := fmt.Sprintf(`auth {
		token header
		token query token
		token cookie session
		token header X-Token
		token subprotocol
		bearer leak-static-token alice
		introspect %s
		renew /ws/renew
		jwt {
			key %q
			require scope chat
		}
		`, introspection, jwtSecret)
	return strings.NewReplacer("AUTH", auth).Replace(`tracing {
		span gateway
	}
	ws_gateway /ws* ` + s.upstream.addr + ` {
		AUTH}
		header_up X-User {http.auth.user.id}
	}
	ws_gateway /broken ` + s.broken.addr + ` {
		AUTH}
	}
	ws_gateway /panic ` + s.upstream.addr + ` {
		AUTH
		provider integration_panic
		}
	}`)
}

// play sends a token to all of them, and to renew.
func (s *secretive) play(t *testing.T, token, way string, status int) {
	t.Helper()
	query, header := carry(s.gateway, way, token)
	a := overWS.do(t, s.gateway, "/ws"+query, header)
	if (a.conn != nil) != (status == 0) || status != 0 && a.status != status {
		t.Errorf("token %.20s by %s: status %d, want %d", token, way, a.status, status)
	}
	if a.conn != nil {
		a.conn.finish(t)
	}
	overWS.refused(t, s.gateway, "/broken"+query, header, cmp.Or(status, http.StatusBadGateway))
	// A guest is asked about a token that nobody knows.
	if _, err := overWS.try(s.gateway, "/panic"+query, header); err == nil && status == 401 {
		t.Errorf("token %.20s by %s: the provider did not panic", token, way)
	}
	s.send(t, http.MethodPost, "/ws/renew"+query, dropWebSocket(header), "")
}

// collect stops Caddy and returns everything that came out of it.
func (s *secretive) collect(t *testing.T) []string {
	t.Helper()
	pages := []string{s.upstream.receivedBytes(), s.broken.receivedBytes()}
	for _, path := range []string{"/config/", "/metrics", "/reverse_proxy/upstreams", "/debug/vars",
		"/ws_gateway/", "/ws_gateway/connections", "/ws_gateway/connections?sort=age", "/ws_gateway/connections?state=closed"} {
		_, page := s.adminDo(t, "GET", path, "", "")
		pages = append(pages, page)
	}
	for _, query := range []string{"?user=carol", "?jti=x", "/none", "?token=x"} {
		_, page := s.adminDo(t, "DELETE", "/ws_gateway/connections"+query, "", "")
		pages = append(pages, page)
	}
	if err := caddy.Stop(); err != nil {
		t.Fatal(err)
	}
	traced := s.spans()
	if !strings.Contains(traced, "gateway") {
		t.Error("no spans were exported")
	}
	pages = append(pages, traced)
	for _, line := range book.find("", "") {
		pages = append(pages, line.raw)
	}
	return pages
}

// look finds no token in the pages, nor a part of one, but that the provider
// panicked.
func (s *secretive) look(t *testing.T, pages []string) {
	t.Helper()
	panics := 0
	for _, page := range pages {
		if strings.Contains(page, "a provider panics") {
			panics++
		}
		for token := range s.tokens {
			for _, part := range append(strings.Split(token, "."), url.QueryEscape(token)) {
				if len(part) > 15 && !strings.HasPrefix(part, "eyJhbGciOiJI") && strings.Contains(page, part) {
					t.Errorf("%q is in %.2000s", part, page)
				}
			}
		}
	}
	if panics == 0 {
		t.Error("no panic was logged")
	}
}

// runJSON is run for a whole configuration.
func (g *gateway) runJSON(t *testing.T, config []byte) {
	t.Helper()
	book.turn()
	t.Cleanup(func() {
		if t.Failed() {
			book.dump(t)
		}
	})
	if err := caddy.Load(config, true); err != nil {
		t.Fatalf("loading the configuration: %v\n%s", err, config)
	}
	t.Cleanup(func() {
		if err := caddy.Stop(); err != nil {
			t.Errorf("stopping caddy: %v", err)
		}
	})
	g.waitForTLS(t)
}

// carry puts the token into a request.
func carry(g *gateway, way, token string) (query string, header http.Header) {
	switch way {
	case "query":
		return "?a=1&token=" + token, http.Header{}
	case "field":
		return "", http.Header{"X-Token": {token}}
	case "cookie":
		return "", http.Header{"Cookie": {"a=1; session=" + token}, "Origin": {"http://" + g.httpAddr}}
	case "subprotocol":
		return "", http.Header{"Sec-WebSocket-Protocol": {"chat, bearer, " + token}}
	}
	return "", bearer(token)
}

// captureSpans makes Caddy send its spans to where the returned function reads
// them once Caddy has stopped.
func captureSpans(t *testing.T) func() string {
	t.Helper()
	var mu sync.Mutex
	var all strings.Builder
	collector := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		_, _ = io.Copy(&all, r.Body)
	}))
	t.Cleanup(collector.Close)
	t.Setenv("OTEL_TRACES_EXPORTER", "otlp")
	t.Setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.URL)
	return func() string {
		mu.Lock()
		defer mu.Unlock()
		return all.String()
	}
}
