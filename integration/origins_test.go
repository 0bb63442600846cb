package integration

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// originRows are the origins of pages, and where they may come in.
var originRows = []struct {
	name    string
	origins []string // SELF stands for the site's own host and port
	listed  bool     // origins https://good.com …
	cookie  bool     // only the credential in a cookie
	both    bool     // a cookie, and origins https://good.com same
}{
	{"missing", nil, true, false, false},
	{"own", []string{"http://SELF"}, false, true, true},
	{"own with other scheme", []string{"https://SELF"}, false, false, false},
	{"own with other port", []string{"http://127.0.0.1:444"}, false, false, false},
	{"listed", []string{"https://good.com"}, true, false, true},
	{"listed, in capitals", []string{"HTTPS://GOOD.com"}, true, false, true},
	{"listed, with the default port", []string{"https://good.com:443"}, true, false, true},
	{"evil", []string{"https://evil.com"}, false, false, false},
	{"suffix trick", []string{"https://good.com.evil.com"}, false, false, false},
	{"prefix trick", []string{"https://evilgood.com"}, false, false, false},
	{"user info trick", []string{"https://good.com@evil.com"}, false, false, false},
	{"null", []string{"null"}, false, false, false},
	{"empty", []string{""}, false, false, false},
	{"other scheme", []string{"http://good.com"}, false, false, false},
	{"other port", []string{"https://good.com:444"}, false, false, false},
	{"two lines", []string{"https://good.com", "https://good.com"}, false, false, false},
	{"two lines, evil last", []string{"https://good.com", "https://evil.com"}, false, false, false},
	{"two in one line", []string{"https://good.com https://evil.com"}, false, false, false},
	{"subdomain of a wildcard", []string{"https://a.b.example.com"}, true, false, false},
	{"apex of a wildcard", []string{"https://example.com"}, false, false, false},
	{"wildcard look-alike", []string{"https://evilexample.com"}, false, false, false},
	{"listed port", []string{"http://plain.test:8080"}, true, false, false},
	{"listed host without its port", []string{"http://plain.test"}, false, false, false},
}

// TestCrossSiteWebSocketHijacking tries the origins of pages that must not
// open a WebSocket with the visitor's cookie, and of those that may.
func TestCrossSiteWebSocketHijacking(t *testing.T) {
	b := newBackend(t, echo)
	cookieSite := fmt.Sprintf(`ws_gateway %s {
		auth {
			token cookie session
			token header
			bearer good-token alice
		}
	}`, b.addr)
	listedSite := fmt.Sprintf(`ws_gateway %s {
		origins https://good.com https://*.example.com http://plain.test:8080
	}`, b.addr)
	bothSite := fmt.Sprintf(`ws_gateway %s {
		auth {
			token cookie session
			bearer good-token alice
		}
		origins https://good.com same
	}`, b.addr)
	anySite := fmt.Sprintf(`ws_gateway %s {
		auth {
			token cookie session
			bearer good-token alice
		}
		origins any
	}`, b.addr)

	try := func(t *testing.T, site, origins string, allowed func(i int) bool, header http.Header) {
		t.Helper()
		g := start(t, site)
		for i, row := range originRows {
			t.Run(origins+"/"+row.name, func(t *testing.T) {
				header := header.Clone()
				for _, o := range row.origins {
					header["Origin"] = append(header["Origin"], strings.ReplaceAll(o, "SELF", g.httpAddr))
				}
				if allowed(i) {
					overWS.open(t, g, "/ws", header).ping(t, "hello")
				} else {
					overWS.refused(t, g, "/ws", header, 403)
				}
			})
		}
	}
	cookie := http.Header{"Cookie": {"session=good-token"}}
	try(t, cookieSite, "cookie", func(i int) bool { return originRows[i].cookie }, cookie)
	try(t, cookieSite, "header", func(int) bool { return true }, bearer("good-token"))
	try(t, listedSite, "listed", func(i int) bool { return originRows[i].listed }, http.Header{})
	try(t, bothSite, "cookie and listed", func(i int) bool { return originRows[i].both }, cookie)
	try(t, anySite, "any", func(int) bool { return true }, cookie)
}

// TestSameOriginOverEveryProtocol compares with the scheme and host by which
// the client reached the site.
func TestSameOriginOverEveryProtocol(t *testing.T) {
	b := newBackend(t, echo)
	g := start(t, "ws_gateway "+b.addr+" {\n origins same\n }")
	eachCarrier(t, func(t *testing.T, c carrier) {
		c.open(t, g, "/ws", sameOrigin(g, c, http.Header{"Origin": {"same"}})).ping(t, "hello")
		c.refused(t, g, "/ws", http.Header{"Origin": {"https://evil.com"}}, 403)
	})
}

// TestSameOriginBehindATrustedProxy believes X-Forwarded-Proto,
// X-Forwarded-Host and X-Forwarded-Port only from a proxy that is trusted.
func TestSameOriginBehindATrustedProxy(t *testing.T) {
	b := newBackend(t, echo)
	header := http.Header{
		"Origin": {"https://app.example"}, "X-Forwarded-Proto": {"https"}, "X-Forwarded-Host": {"app.example"},
	}
	g := start(t, "ws_gateway "+b.addr+" {\n origins same\n trusted_proxies 127.0.0.0/8\n }")
	overWS.open(t, g, "/ws", header).ping(t, "hello")
	withPort := header.Clone()
	withPort.Set("Origin", "https://app.example:8443")
	overWS.refused(t, g, "/ws", withPort, 403)
	withPort.Set("X-Forwarded-Port", "8443")
	overWS.open(t, g, "/ws", withPort).ping(t, "hello")
	g.reload(t, "ws_gateway "+b.addr+" {\n origins same\n }")
	if a := overWS.do(t, g, "/ws", header); a.status != 403 {
		t.Errorf("status %d, want 403", a.status)
	}
}

// TestOriginsThatAreNoSites are those of files, applications and extensions, and
// of a developer's own machine.
func TestOriginsThatAreNoSites(t *testing.T) {
	b := newBackend(t, echo)
	site := func(patterns string) string {
		return "ws_gateway " + b.addr + " {\n auth {\n token cookie session\n bearer good-token alice\n }\n origins " + patterns + "\n }"
	}
	from := func(origin string) http.Header {
		return http.Header{"Cookie": {"session=good-token"}, "Origin": {origin}}
	}
	g := start(t, site("file:// capacitor://localhost app:// moz-extension://* http://localhost:*"))
	eachCarrier(t, func(t *testing.T, c carrier) {
		for _, origin := range []string{"file://", "capacitor://localhost", "app://", "moz-extension://0f1e", "http://localhost:5173", "http://localhost"} {
			c.open(t, g, "/ws", from(origin)).ping(t, origin)
		}
		for _, origin := range []string{"null", "file://evil", "ionic://localhost", "app://evil", "http://localhost.evil.com:5173", "https://localhost:5173"} {
			c.refused(t, g, "/ws", from(origin), 403)
		}
	})
	g.reload(t, site("null"))
	if a := overWS.do(t, g, "/ws", from("null")); a.conn == nil {
		t.Errorf("null: status %d", a.status)
	}
	eventually(t, "the warning of null with a cookie", func() bool {
		for _, line := range book.find(ourLogger, "") {
			if line.str("level") == "warn" && strings.HasPrefix(line.str("msg"), "origins: null") {
				return true
			}
		}
		return false
	})
}

// TestRefusedOriginIsInTheLog with what it was compared with.
func TestRefusedOriginIsInTheLog(t *testing.T) {
	b := newBackend(t, echo)
	g := start(t, "ws_gateway "+b.addr+" {\n origins same https://good.com\n }")
	overWS.refused(t, g, "/ws", http.Header{"Origin": {"https://evil.com/<b>"}}, 403)
	want := `its Origin "https://evil.com/\x3cb\x3e" is not allowed: it was compared with same ("http://` + g.httpAddr + `"), https://good.com`
	if got := book.wait(t, "refused", 1).str("reason"); got != want {
		t.Errorf("the reason is %s, want %s", got, want)
	}
}
