package integration

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// TestNoPasswordOfAURLIsSeenAnywhere names a key set and an introspection service
// by URLs with passwords, of which one fails and the other is not there at all,
// and looks for these in all that came out.
func TestNoPasswordOfAURLIsSeenAnywhere(t *testing.T) {
	failing := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) }))
	t.Cleanup(failing.Close)
	places := map[string]string{"failing": failing.URL, "absent": "http://" + freePort(t)}
	for name, place := range places {
		t.Run(name, func(t *testing.T) {
			t.Setenv("WSGW_TEST_PLACE", strings.Replace(place, "http://", "http://name-leak:word-leak@", 1)+"/x?key=query-leak")
			b := newBackend(t, echo)
			g := startWith(t, "debug", "ws_gateway "+b.addr+` {
				auth {
					introspect {env.WSGW_TEST_PLACE}
					jwt {
						jwks {env.WSGW_TEST_PLACE}
					}
				}
			}`)
			overWS.refused(t, g, "/ws", bearer("opaque"), 503)
			overWS.refused(t, g, "/ws", bearer(tokenFor("alice", 1)), 503)
			book.wait(t, "fetching a key set failed", 1)
			book.wait(t, "the introspection service does not answer as it should", 1)
			var pages []string
			for _, path := range []string{"/config/", "/metrics", "/ws_gateway/", "/ws_gateway/connections", "/debug/vars", "/reverse_proxy/upstreams"} {
				_, page := g.adminDo(t, "GET", path, "", "")
				pages = append(pages, page)
			}
			for _, line := range book.find("", "") {
				pages = append(pages, line.raw)
			}
			for _, page := range append(pages, b.receivedBytes()) {
				if strings.Contains(page, "-leak") {
					t.Errorf("a password is in %.2000s", page)
				}
			}
		})
	}
}
