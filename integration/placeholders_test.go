package integration

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"
)

// claimsSite has placeholders of claims in every place of a configuration, for
// the upstream %[1]s and tokens that are signed with %[2]q.
const claimsSite = `handle /front* {
	ws_token {
		jwt {
			key %[2]q
		}
	}
	reverse_proxy %[1]s {
		header_up X-Org "org={http.auth.user.org.name};"
		header_up X-Lone {http.auth.user.lone}
	}
}
handle {
	ws_gateway %[1]s {
		auth {
			jwt {
				key %[2]q
			}
			optional
		}
		rewrite "{uri}?org={http.auth.user.org.name}."
		header_up X-Org "org={http.auth.user.org.name};"
		header_up X-User "u-{http.auth.user.id}"
		header_up X-Both "{http.auth.user.id}{http.auth.user.lone}"
		header_up X-Lone {http.auth.user.lone}
		header_up +X-Added "a{http.auth.user.lone}"
		header_up X-Replaced "with" "{http.auth.user.lone}"
		header_up X-Conn "c{http.ws_gateway.connection}"
		header_down X-Org "org={http.auth.user.org.name};"
		header_down X-Conn "c{http.ws_gateway.connection}"
	}
}
handle_errors {
	header X-Org "org={http.auth.user.org.name};"
	respond "user {http.auth.user.id} at {http.ws_gateway.upstream}{http.ws_gateway.connection}."
}`

// TestMissingClaimsAreEmptyWhereverTheyStand puts placeholders of claims that a
// token has not into every place of a configuration: none of them may be left
// standing as text, which an upstream could take for a user.
func TestMissingClaimsAreEmptyWhereverTheyStand(t *testing.T) {
	b := newBackend(t, echo)
	g := start(t, fmt.Sprintf(claimsSite, b.addr, jwtSecret))
	for name, header := range map[string]http.Header{"anonymous": {}, "alice": bearer(tokenFor("alice", time.Hour))} {
		t.Run(name, func(t *testing.T) {
			user := strings.TrimPrefix(name, "anonymous")
			header.Set("X-Replaced", "sowith")
			check := func(t *testing.T, head string, answered http.Header) {
				t.Helper()
				expectNoPlaceholder(t, head, answered)
				for field, want := range map[string]string{"X-User": "u-" + user, "X-Both": user} {
					if got := strings.Join(headerLines(head, field), "|"); got != want {
						t.Errorf("%s at the backend is %q, want %q", field, got, want)
					}
				}
			}
			eachCarrier(t, func(t *testing.T, c carrier) {
				conn := c.open(t, g, "/ws", header)
				check(t, receive(t, "handshake", b.requests), conn.header)
				conn.finish(t)
			})
			a := g.get(t, "/page", header)
			head := receive(t, "request", b.requests)
			check(t, head, a.header)
			if got := strings.Join(headerLines(head, "X-Conn"), "|"); got != "c" {
				t.Errorf("X-Conn at the backend is %q", got)
			}
		})
	}
	t.Run("by ws_token, for another proxy", func(t *testing.T) {
		g.get(t, "/front", bearer(tokenFor("alice", time.Hour)))
		expectNoPlaceholder(t, receive(t, "request", b.requests), nil)
	})
	t.Run("on an error page", func(t *testing.T) {
		for _, a := range []answer{g.get(t, "/page", bearer("bad")), overWS.refused(t, g, "/ws", bearer("bad"), 401)} {
			if a.body != "user  at ." || a.header.Get("X-Org") != "org=;" {
				t.Errorf("answered %q, %v", a.body, a.header)
			}
		}
		b.kill()
		for _, a := range []answer{g.get(t, "/page", nil), overWS.refused(t, g, "/ws", nil, 503)} {
			if strings.Contains(a.body, "{") || a.header.Get("X-Org") != "org=;" {
				t.Errorf("answered %q, %v", a.body, a.header)
			}
		}
	})
}

// expectNoPlaceholder in what the backend got of claimsSite, and in the answer to
// that.
func expectNoPlaceholder(t *testing.T, head string, answered http.Header) {
	t.Helper()
	if strings.Contains(head, "{") || strings.Contains(head, "http.") || strings.Contains(fmt.Sprint(answered), "{http") {
		t.Errorf("a placeholder is left:\n%s\n%v", head, answered)
	}
	for name, want := range map[string]string{"X-Org": "org=;", "X-Lone": "", "X-Added": "a", "X-Replaced": "so"} {
		if got := strings.Join(headerLines(head, name), "|"); got != want && !strings.HasPrefix(head, "GET /front") {
			t.Errorf("%s at the backend is %q, want %q", name, got, want)
		}
	}
	if got := answered.Get("X-Org"); got != "org=;" && !strings.HasPrefix(head, "GET /front") {
		t.Errorf("X-Org in the answer is %q", got)
	}
}
