package integration

import (
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
	spans := captureSpans(t)
	service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answer := `{"active":false}`
		if r.FormValue("token") == "leak-opaque-token" {
			answer = `{"active":true,"sub":"dora"}`
		}
		_, _ = io.WriteString(w, answer)
	}))
	t.Cleanup(service.Close)
	b, broken := newBackend(t, echo), newBackend(t, answering("HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n"))
	auth := fmt.Sprintf(`auth {
		token header
		token query
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
		`, service.URL, jwtSecret)
	auth = strings.Replace(auth, "token query\n", "token query token\n", 1)
	g := newGateway(t, "debug")
	text := g.caddyfile(strings.NewReplacer("AUTH", auth).Replace(`tracing {
		span gateway
	}
	ws_gateway /ws* `+b.addr+` {
		AUTH}
		header_up X-User {http.auth.user.id}
	}
	ws_gateway /broken `+broken.addr+` {
		AUTH}
	}
	ws_gateway /panic `+b.addr+` {
		AUTH
		provider integration_panic
		}
	}`), bookOutput)
	config, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(text), nil)
	if err != nil {
		t.Fatal(err)
	}
	g.runJSON(t, config)

	tokens := map[string]int{ // what /ws answers
		"leak-static-token":                            0,
		"leak-opaque-token":                            0,
		"leak-unknown-token":                           401,
		tokenFor("carol", time.Hour, `"scope":"chat"`): 0,
		tokenFor("carol", time.Hour):                   403,
		tokenFor("carol", -time.Hour):                  401,
	}
	for token, status := range tokens {
		for _, way := range []string{"header", "field", "query", "cookie", "subprotocol"} {
			query, header := carry(g, way, token)
			a := overWS.do(t, g, "/ws"+query, header)
			if (a.conn != nil) != (status == 0) || status != 0 && a.status != status {
				t.Errorf("token %.20s by %s: status %d, want %d", token, way, a.status, status)
			}
			if a.conn != nil {
				a.conn.finish(t)
			}
			want := 502
			if status != 0 {
				want = status
			}
			overWS.refused(t, g, "/broken"+query, header, want)
			// A guest is asked about a token that nobody knows.
			if _, err := overWS.try(g, "/panic"+query, header); err == nil && status == 401 {
				t.Errorf("token %.20s by %s: the provider did not panic", token, way)
			}
			g.send(t, http.MethodPost, "/ws/renew"+query, dropWebSocket(header), "")
		}
	}
	book.wait(t, "refused", 10)
	pages := []string{b.receivedBytes(), broken.receivedBytes()}
	for _, path := range []string{"/config/", "/metrics", "/reverse_proxy/upstreams", "/debug/vars"} {
		_, page := g.adminDo(t, "GET", path, "", "")
		pages = append(pages, page)
	}
	for _, query := range []string{"?user=carol", "?jti=x", "/none", "?token=x"} {
		_, page := g.adminDo(t, "DELETE", "/ws_gateway/connections"+query, "", "")
		pages = append(pages, page)
	}
	if err := caddy.Stop(); err != nil {
		t.Fatal(err)
	}
	traced := spans()
	if !strings.Contains(traced, "gateway") {
		t.Error("no spans were exported")
	}
	pages = append(pages, traced)
	for _, line := range book.find("", "") {
		pages = append(pages, line.raw)
	}
	panics := 0
	for _, page := range pages {
		if strings.Contains(page, "a provider panics") {
			panics++
		}
		for token := range tokens {
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
	book.clear()
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
