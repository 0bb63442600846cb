package wsgateway

import (
	"context"
	"crypto/tls"
	"net/http"
	"net/http/httptest"
	"reflect"
	"testing"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/headers"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/wsgateway/caddy-ws-gateway/internal/carrier"
	"github.com/wsgateway/caddy-ws-gateway/internal/handshake"
	"github.com/wsgateway/caddy-ws-gateway/internal/origin"
)

func TestAttackSpoofedSpellingsOfAssertedHeadersAreRemoved(t *testing.T) {
	t.Parallel()
	a := newAliases(&headers.HeaderOps{
		Set:    http.Header{"X-User-Id": {"{http.auth.user.id}"}},
		Add:    http.Header{"X-Group": {"staff"}},
		Delete: []string{"X-Admin"},
	})
	for _, name := range []string{
		"X_User_Id", "X.User.Id", "x_user.id", "X_USER_ID", "X-User_Id",
		"X_Group", "X.Admin", "X_Forwarded_For", "X.Forwarded.Host", "x_forwarded_proto",
	} {
		h := http.Header{name: {"root"}, http.CanonicalHeaderKey(name): {"root"}}
		a.strip(h)
		if len(h) != 0 {
			t.Errorf("%s is left of it: %v", name, h)
		}
	}
	h := http.Header{"X-User-Id": {"1"}, "X-Group": {"2"}, "X-Other": {"3"}, "X_Other": {"4"}}
	a.strip(h)
	if len(h) != 4 {
		t.Errorf("what nobody asserts, or the operation replaces itself, was removed: %v", h)
	}
}

// requestOverPeer has the variables that Caddy's server sets.
func requestOverPeer(remote string, trusted bool) *http.Request {
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.RemoteAddr, r.Host = remote, "gw.example.com"
	return r.WithContext(context.WithValue(r.Context(), caddyhttp.VarsCtxKey, map[string]any{
		caddyhttp.TrustedProxyVarKey: trusted,
		caddyhttp.ClientIPVarKey:     "203.0.113.9",
	}))
}

func TestForwardedHeaders(t *testing.T) {
	t.Parallel()
	spoofed := http.Header{"X-Forwarded-For": {"198.51.100.7"}, "X-Forwarded-Proto": {"https"}, "X-Forwarded-Host": {"front.example.com"}}
	for name, row := range map[string]struct {
		remote  string
		trusted bool
		ranges  []string
		want    [3]string
	}{
		"from anyone":            {"192.0.2.1:5000", false, nil, [3]string{"192.0.2.1", "http", "gw.example.com"}},
		"from a trusted server":  {"192.0.2.1:5000", true, nil, [3]string{"198.51.100.7, 192.0.2.1", "https", "front.example.com"}},
		"from a trusted range":   {"10.1.2.3:5000", false, []string{"10.0.0.0/8"}, [3]string{"198.51.100.7, 10.1.2.3", "https", "front.example.com"}},
		"from a trusted address": {"[::1]:5000", false, []string{"::1"}, [3]string{"198.51.100.7, ::1", "https", "front.example.com"}},
		"from another range":     {"11.1.2.3:5000", false, []string{"10.0.0.0/8"}, [3]string{"11.1.2.3", "http", "gw.example.com"}},
		"from a socket":          {"@", false, nil, [3]string{"", "", ""}},
		"from a trusted socket":  {"@", true, nil, [3]string{"198.51.100.7", "https", "front.example.com"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := requestOverPeer(row.remote, row.trusted)
			r.Header = spoofed.Clone()
			out := r.Header.Clone()
			newForwarder(row.ranges).forward(r, out)
			got := [3]string{out.Get("X-Forwarded-For"), out.Get("X-Forwarded-Proto"), out.Get("X-Forwarded-Host")}
			if got != row.want {
				t.Errorf("got %q, want %q", got, row.want)
			}
			if out.Get("Via") != "1.1 Caddy" {
				t.Errorf("Via is %q", out.Get("Via"))
			}
		})
	}
}

func TestOwnOriginIsThatOfTheClientsView(t *testing.T) {
	t.Parallel()
	r := requestOverPeer("192.0.2.1:5000", false)
	r.Header.Set("X-Forwarded-Host", "evil.example.com")
	r.TLS = new(tls.ConnectionState)
	if got := (forwarder{}).origin(r); got != (origin.Self{Scheme: "https", Host: "gw.example.com"}) {
		t.Errorf("got %v", got)
	}
	r = requestOverPeer("192.0.2.1:5000", true)
	r.Header.Set("X-Forwarded-Host", "front.example.com")
	r.Header.Set("X-Forwarded-Proto", "https")
	if got := (forwarder{}).origin(r); got != (origin.Self{Scheme: "https", Host: "front.example.com"}) {
		t.Errorf("behind a trusted proxy: got %v", got)
	}
}

func TestPortOfATrustedProxyCompletesTheOwnOrigin(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		trusted bool
		header  map[string]string
		want    string
	}{
		"a port beside the host":          {true, map[string]string{"X-Forwarded-Port": "8443"}, "https://gw.example.com:8443"},
		"a port beside a forwarded host":  {true, map[string]string{"X-Forwarded-Port": "8443", "X-Forwarded-Host": "front.example.com"}, "https://front.example.com:8443"},
		"the host says the port itself":   {true, map[string]string{"X-Forwarded-Port": "443", "X-Forwarded-Host": "front.example.com:8443"}, "https://front.example.com:8443"},
		"an IPv6 address":                 {true, map[string]string{"X-Forwarded-Port": "8443", "X-Forwarded-Host": "[2001:db8::1]"}, "https://[2001:db8::1]:8443"},
		"an IPv6 address that says it":    {true, map[string]string{"X-Forwarded-Port": "443", "X-Forwarded-Host": "[2001:db8::1]:8443"}, "https://[2001:db8::1]:8443"},
		"several, the last is the next's": {true, map[string]string{"X-Forwarded-Port": "80, 8443"}, "https://gw.example.com:8443"},
		"no port":                         {true, map[string]string{"X-Forwarded-Port": "x"}, "https://gw.example.com"},
		"no proxy that is trusted":        {false, map[string]string{"X-Forwarded-Port": "8443"}, "https://gw.example.com"},
	} {
		r := requestOverPeer("192.0.2.1:5000", row.trusted)
		r.TLS = new(tls.ConnectionState)
		for name, value := range row.header {
			r.Header.Set(name, value)
		}
		got := (forwarder{}).pageOrigin(r)
		if text := got.Scheme + "://" + got.Host; text != row.want {
			t.Errorf("%s: %s, want %s", name, text, row.want)
		}
	}
}

func TestAssertedFieldsWithoutAValueAreLeftOut(t *testing.T) {
	t.Parallel()
	a := newAsserted(&headers.HeaderOps{Set: http.Header{
		"X-User-Id": {"{http.auth.user.id}"}, "X-Role": {"{http.auth.user.role}"}, "X-Empty": {""}, "X-Static": {"v"},
	}})
	h := http.Header{"X-User-Id": {""}, "X-Role": {"{http.auth.user.role}"}, "X-Empty": {""}, "X-Static": {"v"}}
	a.dropEmpty(h)
	if len(h) != 2 || h["X-Empty"] == nil || h["X-Static"] == nil {
		t.Errorf("left: %v", h)
	}
	h = http.Header{"X-User-Id": {"alice"}, "X-Role": {"admin"}}
	a.dropEmpty(h)
	if len(h) != 2 {
		t.Errorf("left of those with a value: %v", h)
	}
}

func FuzzNoSpellingOfAnAssertedHeaderSurvives(f *testing.F) {
	a := newAliases(&headers.HeaderOps{Set: http.Header{"X-User-Id": {"{http.auth.user.id}"}}})
	f.Add("X_User_Id")
	f.Add("x.user-id")
	f.Fuzz(func(t *testing.T, name string) {
		h := http.Header{name: {"root"}}
		a.strip(h)
		for left := range h {
			if left != "X-User-Id" && handshake.Fold(left) == "x-user-id" {
				t.Fatalf("%q survives", left)
			}
		}
	})
}

func TestRequestForUpstreamsLeavesThatOfTheClientAsItIs(t *testing.T) {
	t.Parallel()
	for name, place := range map[string]carrier.Place{
		"a header":      {From: "header"},
		"a cookie":      {From: "cookie", Name: "a"},
		"a parameter":   {From: "query", Name: "t"},
		"a subprotocol": {From: "subprotocol"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			carriers, err := carrier.New([]carrier.Place{place})
			if err != nil {
				t.Fatal(err)
			}
			r := httptest.NewRequest(http.MethodGet, "http://localhost/chat?t=1&room=2", nil)
			r.Header = http.Header{
				"Connection": {"Upgrade"}, "Upgrade": {"websocket"}, "Authorization": {"Other c", "Bearer b"}, "Cookie": {"a=1; b=2"},
				carrier.ProtocolField: {"bearer, x, chat"}, "Via": {"1.0 other"}, "X-Forwarded-For": {"192.0.2.7"},
			}
			found := carriers.Find(r)
			credential := found.Placed(r, found.Tokens[0])
			header, target := r.Header.Clone(), r.URL.String()
			out, err := (&Handler{running: new(running), Proxy: new(reverseproxy.Handler)}).outgoing(r)
			if err != nil {
				t.Fatal(err)
			}
			credential.PutInto(out)
			if !reflect.DeepEqual(r.Header, header) || r.URL.String() != target {
				t.Errorf("the request is %s, %v now, and was %s, %v", r.URL, r.Header, target, header)
			}
			for _, name := range forwardedFields { // which are made together
				if values := out.Header[name]; len(values) != 1 || cap(values) != 1 {
					t.Errorf("%s is %q, with room for %d", name, values, cap(values))
				}
			}
		})
	}
}
