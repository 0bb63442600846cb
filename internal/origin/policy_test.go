package origin

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"unicode"
)

func mustPolicy(tb testing.TB, patterns ...string) *Policy {
	tb.Helper()
	policy, err := New(patterns)
	if err != nil {
		tb.Fatalf("New: %v", err)
	}
	return policy
}

func requestFrom(origins ...string) *http.Request {
	r := httptest.NewRequest(http.MethodGet, "/ws", nil)
	if len(origins) > 0 {
		r.Header["Origin"] = origins
	}
	return r
}

// Cross-site WebSocket hijacking: a page of another site opens a socket, and
// the browser adds the cookie.
func TestCrossSiteHijackingIsRefused(t *testing.T) {
	t.Parallel()
	attacks := []struct {
		name    string
		origins []string
	}{
		{"another site", []string{"https://evil.com"}},
		{"our name as its subdomain", []string{"https://good.com.evil.com"}},
		{"our name at its end", []string{"https://evilgood.com"}},
		{"our name as its user", []string{"https://good.com@evil.com"}},
		{"our name with its port", []string{"https://good.com:evil.com"}},
		{"our name in its path", []string{"https://evil.com/good.com"}},
		{"our name in its query", []string{"https://evil.com?https://good.com"}},
		{"our name in its fragment", []string{"https://evil.com#good.com"}},
		{"our name behind a backslash", []string{`https://evil.com\good.com`}},
		{"a dot that is any character", []string{"https://goodxcom"}},
		{"null", []string{"null"}},
		{"plain HTTP", []string{"http://good.com"}},
		{"plain HTTP on our port", []string{"http://good.com:443"}},
		{"another port", []string{"https://good.com:444"}},
		{"an empty port", []string{"https://good.com:"}},
		{"two lines, ours first", []string{"https://good.com", "https://evil.com"}},
		{"two lines, both ours", []string{"https://good.com", "https://good.com"}},
		{"two in one line", []string{"https://good.com https://evil.com"}},
		{"two in one line with a comma", []string{"https://good.com,https://evil.com"}},
		{"an empty one", []string{""}},
		{"no scheme", []string{"good.com"}},
		{"a path", []string{"https://good.com/"}},
		{"percent encoding", []string{"https://good%2ecom"}},
		{"two trailing dots", []string{"https://good.com.."}},
		{"a zero byte", []string{"https://good.com\x00.evil.com"}},
		{"letters that look alike", []string{"https://g\u043e\u043ed.com"}},
		{"a subdomain", []string{"https://a.good.com"}},
	}
	self := Self{Scheme: "https", Host: "good.com"}
	for name, policy := range map[string]*Policy{
		"default": mustPolicy(t),
		"same":    mustPolicy(t, "same"),
		"listed":  mustPolicy(t, "https://good.com"),
	} {
		for _, handshake := range []bool{true, false} {
			for _, attack := range attacks {
				if policy.Allow(requestFrom(attack.origins...), self, true, handshake) {
					t.Errorf("policy %s, handshake %v: %s is let in", name, handshake, attack.name)
				}
			}
			if !policy.Allow(requestFrom("https://good.com"), self, true, handshake) {
				t.Errorf("policy %s, handshake %v: our own page is refused", name, handshake)
			}
		}
		if policy.Allow(requestFrom(), self, true, true) {
			t.Errorf("policy %s: a handshake with a cookie and without an origin is let in", name)
		}
	}
}

// matching lists patterns with origins that they allow and origins that they forbid.
var matching = []struct {
	pattern   string
	allowed   []string
	forbidden []string
}{
	{
		"https://good.com",
		[]string{"https://good.com", "https://GOOD.com", "HTTPS://good.com", "https://good.com.", "https://good.com:443", "https://good.com:0443", "wss://good.com"},
		[]string{"http://good.com", "https://good.com:8443", "https://www.good.com", "https://com"},
	},
	{
		"http://good.com:8080",
		[]string{"http://good.com:8080", "ws://good.com.:8080"},
		[]string{"http://good.com", "https://good.com:8080", "http://good.com:80", "http://good.com:18080", "http://good.com:8080x", "http://good.com:-1", "http://good.com:+8080", "http://good.com:73616"},
	},
	{"wss://Good.com.:443", []string{"https://good.com"}, []string{"http://good.com"}},
	{
		"https://*.good.com",
		[]string{"https://a.good.com", "https://a.b.GOOD.com.", "https://a.good.com:443", "https://a_b.good.com"},
		[]string{"https://good.com", "https://.good.com", "https://a..good.com", "https://evilgood.com", "https://a.good.com.evil.com", "http://a.good.com", "https://a.good.com:444", "https://*.good.com"},
	},
	{
		"http://*.localhost:3000",
		[]string{"http://app.localhost:3000"},
		[]string{"http://localhost:3000", "http://app.localhost"},
	},
	{
		"https://[2001:DB8::1]:8443",
		[]string{"https://[2001:db8::1]:8443", "https://[2001:db8:0:0::1]:8443"},
		[]string{"https://[2001:db8::2]:8443", "https://[2001:db8::1]", "https://2001:db8::1:8443", "https://[2001:db8::1%25eth0]:8443", "https://[2001:db8::1", "https://[2001:db8::1]8443", "https://[]:8443"},
	},
	{
		"http://127.0.0.1",
		[]string{"http://127.0.0.1:80"},
		[]string{"http://127.0.0.1.evil.com", "http://[::ffff:127.0.0.1]", "http://localhost"},
	},
	{
		"null",
		[]string{"null"},
		[]string{"NULL", "Null", "null ", "https://null", ""},
	},
	{
		"file://",
		[]string{"file://", "FILE://"},
		[]string{"file:///", "file://host", "file://localhost", "file:", "null"},
	},
	{
		"app://",
		[]string{"app://", "APP://"},
		[]string{"app://host", "app://.", "app:///", "app:", "apps://", "https://"},
	},
	{"app://.", []string{"app://."}, []string{"app://", "app://..", "app://a."}},
	{"app://-", []string{"app://-"}, []string{"app://", "app://--"}},
	{"capacitor://localhost", []string{"capacitor://localhost", "capacitor://LOCALHOST"}, []string{"capacitor://", "ionic://localhost", "capacitor://localhost:1", "http://localhost"}},
	{"com.example.app://", []string{"com.example.app://"}, []string{"com.example.apps://", "com.example.app://x"}},
	{
		"moz-extension://*",
		[]string{"moz-extension://4c5e7a4b-5a3b-4f7e-9d5e-0a3c1b2d4e5f", "moz-extension://x"},
		[]string{"moz-extension://", "chrome-extension://x", "moz-extension://x/", "moz-extension://*"},
	},
	{
		"http://localhost:*",
		[]string{"http://localhost", "http://localhost:3000", "http://LOCALHOST.:65535", "ws://localhost:1"},
		[]string{"https://localhost:3000", "http://localhost:0", "http://localhost:*", "http://localhost:65536", "http://a.localhost:3000", "http://localhost.evil.com:3000", "http://127.0.0.1:3000"},
	},
	{"https://*.localhost:*", []string{"https://a.localhost:3000", "https://a.b.localhost"}, []string{"https://localhost:3000", "http://a.localhost", "https://a.localhost.evil.com"}},
	{"http://127.0.0.1:*", []string{"http://127.0.0.1:3000"}, []string{"http://127.0.0.2:3000", "http://localhost:3000", "http://127.0.0.1.evil.com:3000"}},
	{"http://[::1]:*", []string{"http://[::1]:3000", "http://[0:0::1]"}, []string{"http://[::2]:3000", "http://localhost:3000"}},
	{
		"chrome-extension://abcdefgh",
		[]string{"chrome-extension://abcdefgh"},
		[]string{"https://abcdefgh", "chrome-extension://abcdefg", "chrome-extension://abcdefgh:1"},
	},
}

func TestOriginMatching(t *testing.T) {
	t.Parallel()
	for _, row := range matching {
		t.Run(row.pattern, func(t *testing.T) {
			t.Parallel()
			policy := mustPolicy(t, "https://unrelated.example", row.pattern)
			for _, origin := range row.allowed {
				if !policy.Allow(requestFrom(origin), Self{}, true, true) {
					t.Errorf("%q is refused", origin)
				}
			}
			for _, origin := range row.forbidden {
				if policy.Allow(requestFrom(origin), Self{}, false, true) {
					t.Errorf("%q is allowed", origin)
				}
			}
		})
	}
}

func TestSameOrigin(t *testing.T) {
	t.Parallel()
	policy := mustPolicy(t, "same", "https://partner.com")
	for _, row := range []struct {
		origin string
		self   Self
		want   bool
	}{
		{"https://good.com", Self{"https", "good.com"}, true},
		{"https://good.com", Self{"https", "GOOD.com.:443"}, true},
		{"http://good.com:80", Self{"http", "good.com"}, true},
		{"https://good.com:8443", Self{"https", "good.com:8443"}, true},
		{"http://[::1]:8080", Self{"http", "[0:0::1]:8080"}, true},
		{"https://partner.com", Self{"https", "good.com"}, true},
		{"https://good.com", Self{"http", "good.com"}, false},
		{"https://good.com", Self{"https", "good.com:8443"}, false},
		{"https://good.com", Self{"https", ""}, false},
		{"https://good.com", Self{"", "good.com"}, false},
		{"null", Self{"https", "null"}, false},
		{"https://", Self{"https", ""}, false},
	} {
		if got := policy.Allow(requestFrom(row.origin), row.self, false, true); got != row.want {
			t.Errorf("origin %q against %+v: allowed is %v, want %v", row.origin, row.self, got, row.want)
		}
	}
}

func TestWhenOriginsAreCompared(t *testing.T) {
	t.Parallel()
	self := Self{Scheme: "https", Host: "good.com"}
	const none, foreign, unparsable = "", "https://evil.com", "%"
	for _, row := range []struct {
		name      string
		patterns  []string
		origin    string
		ambient   bool
		handshake bool
		want      bool
	}{
		{"nothing configured, a token the page knew", nil, foreign, false, true, true},
		{"nothing configured, unparsable", nil, unparsable, false, true, true},
		{"nothing configured, a cookie", nil, foreign, true, true, false},
		{"nothing configured, a cookie and plain HTTP", nil, foreign, true, false, false},
		{"empty list, a cookie", []string{}, foreign, true, true, false},
		{"configured, a token the page knew", []string{"same"}, foreign, false, true, false},
		{"missing, no cookie", []string{"same"}, none, false, true, true},
		{"missing, a cookie", []string{"same"}, none, true, true, false},
		{"missing, a cookie, listed", []string{"https://good.com"}, none, true, true, false},
		{"missing, a cookie and plain HTTP", []string{"same"}, none, true, false, true},
		{"missing, a cookie and plain HTTP, nothing configured", nil, none, true, false, true},
		{"any, foreign", []string{"any"}, foreign, true, true, true},
		{"any, missing", []string{"any"}, none, true, true, true},
		{"any, null", []string{"any"}, "null", true, true, true},
		{"any, unparsable", []string{"any"}, unparsable, true, true, true},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			r := requestFrom()
			if row.origin != none {
				r = requestFrom(row.origin)
			}
			if got := mustPolicy(t, row.patterns...).Allow(r, self, row.ambient, row.handshake); got != row.want {
				t.Errorf("allowed is %v, want %v", got, row.want)
			}
		})
	}
}

func TestWrongOriginPatterns(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		patterns []string
		want     string
	}{
		{[]string{"good.com"}, `origins: "good.com" has no scheme: write scheme://host[:port]`},
		{[]string{"good.com:443"}, "has no scheme"},
		{[]string{""}, "has no scheme"},
		{[]string{"*"}, `or "any"`},
		{[]string{"null", "null"}, `origins: "null" is there twice`},
		{[]string{"file://host"}, "file:// has no host"},
		{[]string{"file:///"}, "has a path"},
		{[]string{"file://*"}, `"*" that is not the first label`},
		{[]string{"app://*.x:*"}, "names of this machine"},
		{[]string{"app://..x"}, "has a bad host"},
		{[]string{"app:"}, "has no scheme"},
		{[]string{"http://good.com:*"}, `origins: "http://good.com:*" has a port "*", which is for names of this machine alone`},
		{[]string{"http://*.good.com:*"}, "names of this machine"},
		{[]string{"http://localhost.good.com:*"}, "names of this machine"},
		{[]string{"http://128.0.0.1:*"}, "names of this machine"},
		{[]string{"http://evil-localhost:*"}, "names of this machine"},
		{[]string{"http://localhost:8*"}, `"*" that is not the first label`},
		{[]string{"http://localhost:*", "ws://LOCALHOST:*"}, "is there twice"},
		{[]string{"://good.com"}, "has no valid scheme"},
		{[]string{"ht tp://good.com"}, "has no valid scheme"},
		{[]string{"https://good.com/"}, "has a path"},
		{[]string{"https://good.com/*"}, "has a path"},
		{[]string{"https://good.com?a"}, "has a query"},
		{[]string{"https://good.com#a"}, "has a fragment"},
		{[]string{"https://me@good.com"}, "has a user name"},
		{[]string{"https://"}, "has a bad host"},
		{[]string{"https://a..com"}, "has a bad host"},
		{[]string{"https://bücher.example"}, "xn--"},
		{[]string{"https://2001:db8::1"}, "has a bad port"},
		{[]string{"https://[good.com]"}, "has a bad IPv6 address"},
		{[]string{"https://[::1]x"}, "behind its IPv6 address"},
		{[]string{"https://good.com:"}, "has a bad port"},
		{[]string{"https://good.com:0"}, "has a bad port"},
		{[]string{"https://good.com:65536"}, "has a bad port"},
		{[]string{"https://good.com:https"}, "has a bad port"},
		{[]string{"https://*"}, `"*" that is not the first label`},
		{[]string{"https://*:443"}, `"*" that is not the first label`},
		{[]string{"https://*good.com"}, `"*" that is not the first label`},
		{[]string{"https://a.*.good.com"}, `"*" that is not the first label`},
		{[]string{"https://*.*.good.com"}, `"*" that is not the first label`},
		{[]string{"https://*.127.0.0.1"}, "IP address"},
		{[]string{"https://*.[::1]"}, "IP address"},
		{[]string{"https://*."}, "has a bad host"},
		{[]string{"any", "https://good.com"}, `origins: "any" lets every page in: it must stand alone`},
		{[]string{"same", "any"}, "must stand alone"},
		{[]string{"any", "any"}, `origins: "any" is there twice`},
		{[]string{"same", "same"}, `origins: "same" is there twice`},
		{[]string{"https://good.com", "wss://GOOD.com:443"}, `origins: "wss://GOOD.com:443" is there twice`},
		{[]string{"https://*.good.com", "https://good.com", "https://*.good.com"}, "is there twice"},
	} {
		_, err := New(row.patterns)
		if err == nil || !strings.Contains(err.Error(), row.want) {
			t.Errorf("%q: error %v does not say %q", row.patterns, err, row.want)
		}
	}
}

func TestRefusedOriginIsExplained(t *testing.T) {
	t.Parallel()
	self := Self{Scheme: "http", Host: "gw.example:8080"}
	long := strings.Repeat("x", 10_000)
	var many []string
	for i := range 200 {
		many = append(many, fmt.Sprintf("https://host%d.example", i))
	}
	for name, row := range map[string]struct {
		patterns, origins []string
		want              []string
	}{
		"listed":          {[]string{"https://a.example", "same", "http://localhost:*"}, []string{"https://evil.example"}, []string{`"https://evil.example"`, `https://a.example, same ("http://gw.example:8080"), http://localhost:*`}},
		"a cookie's":      {nil, []string{"https://evil.example"}, []string{`"https://evil.example"`, `with same ("http://gw.example:8080")`}},
		"control":         {[]string{"same"}, []string{"a\r\n\x00\x1b[31m\u202e<b>"}, []string{`"a\r\n\x00\x1b[31m\u202e`, `\x3cb\x3e`}},
		"long":            {[]string{"same"}, []string{long}, []string{`xxx…"`}},
		"many patterns":   {many, []string{"https://evil.example"}, []string{"https://host0.example, ", "…"}},
		"missing":         {[]string{"same"}, nil, []string{"no Origin"}},
		"several":         {[]string{"same"}, []string{"https://a", "https://b"}, []string{"2 Origin fields"}},
		"an alien's host": {[]string{"same"}, []string{"null"}, []string{`"null"`}},
	} {
		got := mustPolicy(t, row.patterns...).Explain(requestFrom(row.origins...), self)
		for _, want := range row.want {
			if !strings.Contains(got, want) {
				t.Errorf("%s: %q does not say %s", name, got, want)
			}
		}
		if len(got) > 1000 || strings.ContainsFunc(got, unicode.IsControl) || strings.ContainsAny(got, "<>\u202e") {
			t.Errorf("%s: %d bytes: %q", name, len(got), got)
		}
	}
}

// FuzzOrigin holds that whatever is allowed reads, to the standard library's
// parser, as one of the origins on the list.
func FuzzOrigin(f *testing.F) {
	for _, seed := range []string{
		"https://good.com", "https://good.com.:443", "wss://a.good.com", "https://a.b.good.com", "http://[2001:db8::1]:8080",
		"https://good.com.evil.com", "https://evilgood.com", "null", "https://good.com@evil.com", `https://evil.com\.good.com`,
		"file://", "file:///", "app://", "app://.", "moz-extension://x", "http://localhost:3000", "http://localhost.evil.com:3000",
		"https://good.com:444", "https://evil.com#.good.com", "", "https://.good.com", "http://[2001:db8::1%25a]:8080",
	} {
		f.Add(seed)
	}
	policy := mustPolicy(f, "https://good.com", "https://*.good.com", "http://[2001:db8::1]:8080", "file://", "app://", "http://localhost:*", "moz-extension://*")
	f.Fuzz(func(t *testing.T, origin string) {
		if !policy.Allow(requestFrom(origin), Self{Scheme: "https", Host: origin}, true, true) {
			return
		}
		u, err := url.Parse(origin)
		if err != nil {
			t.Fatalf("%q is allowed and no URL: %v", origin, err)
		}
		if u.User != nil || u.Path != "" || u.RawQuery != "" || u.ForceQuery || u.Fragment != "" {
			t.Fatalf("%q is allowed and more than an origin", origin)
		}
		host := strings.TrimSuffix(strings.ToLower(u.Hostname()), ".")
		port := strings.TrimLeft(u.Port(), "0")
		switch u.Scheme {
		case "https", "wss":
			if (host != "good.com" && !strings.HasSuffix(host, ".good.com")) || !slices.Contains([]string{"", "443"}, port) {
				t.Errorf("%q is allowed", origin)
			}
		case "http", "ws":
			if host == "localhost" {
				return
			}
			if !slices.Contains([]string{"2001:db8::1", "2001:db8:0:0:0:0:0:1"}, host) && !strings.HasPrefix(host, "2001:") || port != "8080" {
				t.Errorf("%q is allowed", origin)
			}
		case "file", "app":
			if u.Host != "" {
				t.Errorf("%q is allowed", origin)
			}
		case "moz-extension":
			if host == "" {
				t.Errorf("%q is allowed", origin)
			}
		default:
			t.Errorf("%q is allowed", origin)
		}
	})
}
