package wsgateway

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
)

// allCarriers configures one carrier of each kind, and testToken.
func allCarriers() *Auth {
	return &Auth{
		Token: []TokenCarrier{
			{From: "header"},
			{From: "header", Name: "x-api-key"},
			{From: "cookie", Name: "session"},
			{From: "query", Name: "token"},
			{From: "subprotocol"},
		},
		Bearer: []BearerToken{{Token: testToken, UserID: "alice"}},
	}
}

func requestWithEveryCredential() *http.Request {
	r := httptest.NewRequest(http.MethodGet, "/ws?a=1&token="+testToken+"&b=2", nil)
	r.Header = http.Header{
		"Authorization": {"Basic YTpi", "Bearer " + testToken},
		"X-Api-Key":     {testToken},
		cookieField:     {"a=1; session=" + testToken + "; b=2"},
		protocolField:   {"chat, bearer, " + testToken, "superchat"},
		refererField:    {"https://example.com/page?token=" + testToken + "&x=y"},
		"X-Other":       {"kept"},
	}
	return r
}

// dumpRequest shows all of a request that an upstream or a log could see.
func dumpRequest(r *http.Request) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n%s\n", r.RequestURI, r.URL)
	for _, field := range slices.Sorted(maps.Keys(r.Header)) {
		fmt.Fprintf(&b, "%s: %q\n", field, r.Header[field])
	}
	return b.String()
}

func TestAuthenticateLeavesTheRequestAsItIs(t *testing.T) {
	t.Parallel()
	a := mustAuthenticator(t, allCarriers())
	r := requestWithEveryCredential()
	before := r.Clone(t.Context())
	if _, err := a.authenticate(r); err != nil {
		t.Fatal(err)
	}
	if got, want := dumpRequest(r), dumpRequest(before); got != want {
		t.Errorf("the request changed from\n%s\nto\n%s", want, got)
	}
}

func TestStripRemovesEveryCredential(t *testing.T) {
	t.Parallel()
	a := mustAuthenticator(t, allCarriers())
	r := requestWithEveryCredential()
	a.strip(r)
	want := `/ws?a=1&b=2
/ws?a=1&b=2
Authorization: ["Basic YTpi"]
Cookie: ["a=1; b=2"]
Referer: ["https://example.com/page?x=y"]
Sec-Websocket-Protocol: ["chat, superchat"]
X-Other: ["kept"]
`
	if got := dumpRequest(r); got != want {
		t.Errorf("stripped request is\n%s\nwant\n%s", got, want)
	}
	if _, err := a.authenticate(r); !errors.Is(err, errNoCredential) {
		t.Errorf("authenticating once more: %v, want %v", err, errNoCredential)
	}
}

func TestStripWritesIntoNothingShared(t *testing.T) {
	t.Parallel()
	a := mustAuthenticator(t, allCarriers())
	original := requestWithEveryCredential()
	before := dumpRequest(original)
	shallow := *original
	shallow.Header = maps.Clone(original.Header)
	a.strip(&shallow)
	if got := dumpRequest(original); got != before {
		t.Errorf("stripping a copy changed the original from\n%s\nto\n%s", before, got)
	}
}

func TestFirstConfiguredCarrierDecides(t *testing.T) {
	t.Parallel()
	cookie := TokenCarrier{From: "cookie", Name: "session"}
	query := TokenCarrier{From: "query", Name: "token"}
	for _, row := range []struct {
		name     string
		carriers []TokenCarrier
		uri      string
		cookie   string
		want     identity
		err      error
	}{
		{"a good one before a bad one", []TokenCarrier{cookie, query}, "/?token=bad", "session=" + testToken, identity{userID: "alice", ambient: true}, nil},
		{"a bad one before a good one", []TokenCarrier{query, cookie}, "/?token=bad", "session=" + testToken, identity{}, errBadCredential},
		{"an empty one is absent", []TokenCarrier{query, cookie}, "/?token=", "session=" + testToken, identity{userID: "alice", ambient: true}, nil},
		{"a query is not ambient", []TokenCarrier{query, cookie}, "/?token=" + testToken, "session=bad", identity{userID: "alice"}, nil},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			a := mustAuthenticator(t, &Auth{Token: row.carriers, Bearer: allCarriers().Bearer})
			r := httptest.NewRequest(http.MethodGet, row.uri, nil)
			r.Header.Set(cookieField, row.cookie)
			got, err := a.authenticate(r)
			got.grant = nil
			if !errors.Is(err, row.err) || got != row.want {
				t.Errorf("authenticate = %+v, %v; want %+v, %v", got, err, row.want, row.err)
			}
			a.strip(r)
			if r.Header.Get(cookieField) != "" || r.URL.RawQuery != "" || r.RequestURI != "/" {
				t.Errorf("left after strip:\n%s", dumpRequest(r))
			}
		})
	}
}

// fieldRow is a carrier's field before and after, and the token in between.
type fieldRow struct {
	name   string
	values []string
	token  string
	left   []string
}

func checkField(t *testing.T, config TokenCarrier, field string, rows []fieldRow) {
	t.Helper()
	set, err := newCarrierSet([]TokenCarrier{config})
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			r := requestWithHeader(field, row.values...)
			if got, _ := set.find(r); strings.Join(got, " or ") != row.token {
				t.Errorf("token of %q is %q, want %q", row.values, got, row.token)
			}
			set.strip(r)
			if got := r.Header.Values(field); !slices.Equal(got, row.left) {
				t.Errorf("%q is stripped to %q, want %q", row.values, got, row.left)
			}
			if _, present := r.Header[http.CanonicalHeaderKey(field)]; present && len(row.left) == 0 {
				t.Error("the field is empty and still there")
			}
		})
	}
}

func TestHeaderCarrierWithScheme(t *testing.T) {
	t.Parallel()
	checkField(t, TokenCarrier{From: "header", Name: "authorization", Scheme: "Token"}, "Authorization", []fieldRow{
		{"plain", []string{"Token abc"}, "abc", nil},
		{"any case and more blanks", []string{" tOKEN \t abc "}, "abc", nil},
		{"among other schemes", []string{"Basic x", "Token abc", "Bearer y"}, "abc", []string{"Basic x", "Bearer y"}},
		{"the first of two", []string{"Token abc", "Token def"}, "abc", nil},
		{"an empty one before a full one", []string{"Token", "Token def"}, "def", nil},
		{"nothing but the scheme", []string{"Token"}, "", nil},
		{"a longer scheme", []string{"Tokens abc"}, "", []string{"Tokens abc"}},
		{"no scheme", []string{"abc"}, "", []string{"abc"}},
		{"in a list of credentials", []string{"Basic x, tOKEN abc", "Digest a=b, c=d"}, "", []string{"Basic x", "Digest a=b, c=d"}},
	})
}

func TestHeaderCarrierWithoutScheme(t *testing.T) {
	t.Parallel()
	checkField(t, TokenCarrier{From: "header", Name: "x-api-key"}, "X-Api-Key", []fieldRow{
		{"plain", []string{" abc "}, "abc", nil},
		{"with blanks inside", []string{"Bearer abc"}, "Bearer abc", nil},
		{"the first that is not empty", []string{"", "abc", "def"}, "abc", nil},
		{"empty", []string{""}, "", nil},
	})
}

func TestCookieCarrier(t *testing.T) {
	t.Parallel()
	checkField(t, TokenCarrier{From: "cookie", Name: "session"}, "Cookie", []fieldRow{
		{"alone", []string{"session=abc"}, "abc", nil},
		{"quoted", []string{`session="abc"`}, "abc", nil},
		{"with an equals sign", []string{"session=abc=="}, "abc==", nil},
		{"among others", []string{"a=1;  session=abc ;b=\"x y\";c"}, "abc", []string{`a=1; b="x y"; c`}},
		{"other lines stay as they are", []string{"a=1;b=2;", "session=abc"}, "abc", []string{"a=1;b=2;"}},
		{"twice", []string{"session=abc; a=1", "session=def; b=2"}, "abc or def", []string{"a=1", "b=2"}},
		{"more often than is looked at", []string{"session=1;session=;session=2; session=3", "session=4; session=5; a=1"}, "1 or 2 or 3 or 4", []string{"a=1"}},
		{"an encoded value", []string{"session=a%2Bb%3D; a=%20"}, "a%2Bb%3D or a+b=", []string{"a=%20"}},
		{"a plus is itself", []string{"session=a+b"}, "a+b", nil},
		{"a broken encoding", []string{"session=a%2"}, "a%2", nil},
		{"blanks around the name", []string{"a=1; session =abc"}, "abc", []string{"a=1"}},
		{"empty before full", []string{"session=; session=abc"}, "abc", nil},
		{"empty", []string{"session=; a=1"}, "", []string{"a=1"}},
		{"no value", []string{"session; a=1"}, "", []string{"a=1"}},
		{"another case, which some servers read", []string{"Session=abc"}, "", nil},
		{"encoded, which some servers read", []string{"s%65ssion=abc; a=1"}, "", []string{"a=1"}},
		{"behind a comma, which some servers read", []string{"a=1, session=abc; b=2,3"}, "", []string{"a=1; b=2,3"}},
		{"a comma in the token", []string{"session=abc,def; a=1"}, "abc,def", []string{"a=1"}},
		{"names that only look alike", []string{"xsession=a; session2=b; __Host-session=c"}, "", []string{"xsession=a; session2=b; __Host-session=c"}},
		{"in the value of another", []string{"a=session=abc"}, "", []string{"a=session=abc"}},
	})
}

func TestQueryTokenLeavesURLAndReferer(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name, query, token, left string
	}{
		{"alone", "token=abc", "abc", ""},
		{"first", "token=abc&a=1", "abc", "a=1"},
		{"last", "a=1&token=abc", "abc", "a=1"},
		{"an encoded name", "%74oken=abc&to%6Ben=def", "abc", ""},
		{"an encoded value", "token=a%2Bb%20c", "a+b c", ""},
		{"a plus that may be a blank", "token=a%2Bb+c", "a+b c or a+b+c", ""},
		{"a broken value", "token=%zz", "%zz", ""},
		{"twice", "token=abc&x=%20+&token=def", "abc", "x=%20+"},
		{"empty before full", "token=&token=abc", "abc", ""},
		{"empty", "token=&a", "", "a"},
		{"no equals sign", "token&a=1", "", "a=1"},
		{"others byte for byte", "b=%7e&&a=%zz;c&token=abc&=&d=?", "abc", "b=%7e&&a=%zz;c&=&d=?"},
		{"behind a semicolon, which some servers read", "a=1;token=abc;b=2&c", "", "a=1;b=2&c"},
		{"a semicolon in the token", "token=abc;a=1", "abc;a=1", ""},
		{"another case, which some servers read", "Token=abc&a", "", "a"},
		{"a list, which some servers read", "token[]=abc&token[0]=abc&a[token]=1", "", "a[token]=1"},
		{"a blank in front, which some servers read", "%20token=abc&+token=abc&a", "", "a"},
		{"encoded twice", "%2574oken=abc", "", "%2574oken=abc"},
		{"in the value of another", "a=token=abc", "", "a=token=abc"},
		{"in front of a fragment", "a=1&token=abc#token", "abc#token", "a=1"},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			set, err := newCarrierSet([]TokenCarrier{{From: "query", Name: "token"}})
			if err != nil {
				t.Fatal(err)
			}
			r := httptest.NewRequest(http.MethodGet, "/ws", nil)
			r.URL.RawQuery = row.query
			r.RequestURI = "/ws?" + row.query
			r.Header.Set(refererField, "https://example.com/%2f?"+row.query)
			if got, _ := set.find(r); strings.Join(got, " or ") != row.token {
				t.Errorf("token is %q, want %q", got, row.token)
			}
			set.strip(r)
			suffix := ""
			if row.left != "" {
				suffix = "?" + row.left
			}
			if r.URL.RawQuery != row.left {
				t.Errorf("query is %q, want %q", r.URL.RawQuery, row.left)
			}
			if want := "/ws" + suffix; r.RequestURI != want {
				t.Errorf("request URI is %q, want %q", r.RequestURI, want)
			}
			if got, want := r.Header.Get(refererField), "https://example.com/%2f"+suffix; got != want {
				t.Errorf("referer is %q, want %q", got, want)
			}
		})
	}
}

func TestSubprotocolCarrier(t *testing.T) {
	t.Parallel()
	checkField(t, TokenCarrier{From: "subprotocol"}, "Sec-WebSocket-Protocol", []fieldRow{
		{"marker and token", []string{"bearer, abc"}, "abc", nil},
		{"over two lines", []string{"chat, bearer", "abc,superchat"}, "abc", []string{"chat, superchat"}},
		{"one entry", []string{"chat,bearer.abc.def"}, "abc.def", []string{"chat"}},
		{"both ways", []string{"bearer.abc, chat, bearer, def"}, "abc", []string{"chat"}},
		{"offered again as a protocol", []string{"bearer, abc, chat, abc"}, "abc", []string{"chat"}},
		{"empty entries", []string{", bearer,, abc ,"}, "abc", nil},
		{"a marker at the end", []string{"chat,  bearer"}, "", []string{"chat,  bearer"}},
		{"a marker at the end, after a token", []string{"bearer.abc,chat,bearer"}, "abc", []string{"chat, bearer"}},
		{"an empty token", []string{"bearer., chat"}, "", []string{"chat"}},
		{"another case", []string{"Bearer, abc, chat"}, "abc", []string{"chat"}},
		{"another case in one entry", []string{"BEARER.abc, chat"}, "abc", []string{"chat"}},
		{"a marker twice", []string{"bearer, bearer, abc"}, "abc", []string{"bearer"}},
		{"a blank for a dot", []string{"bearer abc, chat"}, "", []string{"chat"}},
		{"names that only look alike", []string{"bearerx, xbearer.abc, bearer-abc"}, "", []string{"bearerx, xbearer.abc, bearer-abc"}},
	})
}

func TestSubprotocolCarrierWithEncodedTokens(t *testing.T) {
	t.Parallel()
	const kubernetes = "base64url.bearer.authorization.k8s.io."
	text := b64([]byte("a/b=c d"))
	checkField(t, TokenCarrier{From: "subprotocol", Name: kubernetes, Base64URL: true}, "Sec-WebSocket-Protocol", []fieldRow{
		{"as Kubernetes offers it", []string{kubernetes + text + ", base64.binary.k8s.io"}, "a/b=c d", []string{"base64.binary.k8s.io"}},
		{"behind others, in another case", []string{"a", strings.ToUpper(kubernetes) + text}, "a/b=c d", []string{"a"}},
		{"the marker as an entry of its own", []string{kubernetes + "," + text + ", a"}, "a/b=c d", []string{"a"}},
		{"with padding", []string{"a, " + kubernetes + b64([]byte("abcd")) + "=="}, "abcd", []string{"a"}},
		{"not encoded", []string{kubernetes + "a.b, a"}, "a.b", []string{"a"}},
		{"nothing behind it", []string{"a, " + kubernetes}, "", []string{"a, " + kubernetes}},
		{"offered again", []string{kubernetes + text + ", " + text + ", a"}, "a/b=c d", []string{"a"}},
		{"another marker", []string{"bearer, " + text}, "", []string{"bearer, " + text}},
	})
	checkField(t, TokenCarrier{From: "subprotocol", Base64URL: true}, "Sec-WebSocket-Protocol", []fieldRow{
		{"marker and token", []string{"bearer, " + text + ", a"}, "a/b=c d", []string{"a"}},
		{"one entry with a dot", []string{"bearer." + text + ", a"}, "a/b=c d", []string{"a"}},
		{"one entry without", []string{"bearer" + text + ", a"}, "a/b=c d", []string{"a"}},
	})
}

func TestSubprotocolTokenIsNeverSelected(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name, offer, want string
		carriers          []TokenCarrier
	}{
		{"another protocol", "bearer, " + testToken + ", chat, superchat", "chat", nil},
		{"another protocol before the token", "chat, bearer." + testToken, "chat", nil},
		{"the marker at last", "bearer, " + testToken, "bearer", nil},
		{"the marker as it was offered", "Bearer, " + testToken, "Bearer", nil},
		{"nothing but the token", "bearer." + testToken, "", nil},
		{"the token offered again", "bearer, " + testToken + ", " + testToken, "bearer", nil},
		{"an entry that is no protocol", "a b, bearer, " + testToken + ", chat", "chat", nil},
		{"the token of another marker", "bearer, " + testToken + ", jwt.other, jwt, more, chat", "chat", []TokenCarrier{{From: "subprotocol"}, {From: "subprotocol", Name: "jwt"}}},
		{"another carrier decided", "bearer, other, chat", "chat", []TokenCarrier{{From: "header"}, {From: "subprotocol"}}},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			if row.carriers == nil {
				row.carriers = []TokenCarrier{{From: "subprotocol"}}
			}
			a := mustAuthenticator(t, &Auth{Token: row.carriers, Bearer: allCarriers().Bearer})
			r := requestWithHeader(protocolField, row.offer)
			if row.carriers[0].From == "header" {
				r.Header.Set("Authorization", "Bearer "+testToken)
			}
			got, err := a.authenticate(r)
			got.grant = nil
			if err != nil || got.fallbackProtocol != row.want || got.offersNothingElse != (row.want == "") {
				t.Errorf("fallback is %q, nothing else %t, %v; want %q", got.fallbackProtocol, got.offersNothingElse, err, row.want)
			}
		})
	}
}

func TestNoFallbackWithoutSubprotocolToken(t *testing.T) {
	t.Parallel()
	cfg := allCarriers()
	cfg.Optional = true
	a := mustAuthenticator(t, cfg)
	for _, offer := range []string{"chat, superchat", "chat, bearer", ""} {
		got, err := a.authenticate(requestWithHeader(protocolField, offer))
		got.grant = nil
		if err != nil || got != (identity{anonymous: true}) {
			t.Errorf("offer %q: authenticate = %+v, %v; want anonymous without a fallback", offer, got, err)
		}
	}
}

func TestBrowserAuthenticationSchemesAreAmbient(t *testing.T) {
	t.Parallel()
	for scheme, want := range map[string]bool{"Basic": true, "negotiate": true, "Bearer": false, "": false} {
		a := mustAuthenticator(t, &Auth{
			Token:  []TokenCarrier{{From: "header", Scheme: scheme}},
			Bearer: []BearerToken{{Token: testToken}},
		})
		sent := scheme
		if sent == "" {
			sent = "Bearer"
		}
		got, err := a.authenticate(requestWithHeader("Authorization", sent+" "+testToken))
		got.grant = nil
		if err != nil || got.ambient != want {
			t.Errorf("scheme %q: ambient is %v, %v; want %v", scheme, got.ambient, err, want)
		}
	}
}

func TestWrongCarrierConfigurations(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name     string
		carriers []TokenCarrier
		want     string
	}{
		{"unknown place", []TokenCarrier{{From: "body"}}, `auth.token[0]: from "body" is unknown: use header, cookie, query or subprotocol`},
		{"no place", []TokenCarrier{{}}, "use header, cookie, query or subprotocol"},
		{"cookie without a name", []TokenCarrier{{From: "cookie"}}, "auth.token[0]: name \"\" is not the name of a cookie"},
		{"cookie with a bad name", []TokenCarrier{{From: "cookie", Name: "a;b"}}, "not the name of a cookie"},
		{"query without a name", []TokenCarrier{{From: "query"}}, "not the name of a query parameter"},
		{"header with a bad name", []TokenCarrier{{From: "header", Name: "X Key"}}, "not the name of a header field"},
		{"header with a bad scheme", []TokenCarrier{{From: "header", Scheme: "To ken"}}, "not an authentication scheme"},
		{"the Cookie header", []TokenCarrier{{From: "header", Name: "cookie"}}, "use from cookie"},
		{"the protocol header", []TokenCarrier{{From: "header", Name: "Sec-WebSocket-Protocol"}}, "use from subprotocol"},
		{"a header of the handshake", []TokenCarrier{{From: "header", Name: "sec-websocket-key"}}, "belongs to the handshake"},
		{"a marker with a comma", []TokenCarrier{{From: "subprotocol", Name: "a,b"}}, "cannot be a subprotocol"},
		{"base64url in a query", []TokenCarrier{{From: "query", Name: "a", Base64URL: true}}, "base64url is for subprotocol only"},
		{"the same marker, encoded", []TokenCarrier{{From: "subprotocol"}, {From: "subprotocol", Base64URL: true}}, "auth.token[1]: the same carrier"},
		{"a scheme in a cookie", []TokenCarrier{{From: "cookie", Name: "a", Scheme: "Bearer"}}, "scheme is for header only"},
		{"the same header", []TokenCarrier{{From: "header"}, {From: "header", Name: "authorization", Scheme: "bearer"}}, "auth.token[1]: the same carrier as auth.token[0]"},
		{"the same marker", []TokenCarrier{{From: "subprotocol"}, {From: "subprotocol", Name: "bearer"}}, "auth.token[1]: the same carrier"},
		{"the same marker in another case", []TokenCarrier{{From: "subprotocol"}, {From: "subprotocol", Name: "Bearer"}}, "auth.token[1]: the same carrier"},
		{"the same query", []TokenCarrier{{From: "query", Name: "t"}, {From: "cookie", Name: "t"}, {From: "query", Name: "t"}}, "auth.token[2]: the same carrier as auth.token[0]"},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			_, err := newAuthenticator(&Auth{Token: row.carriers, Bearer: allCarriers().Bearer})
			if err == nil || !strings.Contains(err.Error(), row.want) {
				t.Errorf("error %v does not say %q", err, row.want)
			}
		})
	}
}

func checkFallback(t *testing.T, a *authenticator, r *http.Request, fallback string) {
	t.Helper()
	offered := false
	for entry := range strings.SplitSeq(strings.Join(r.Header[protocolField], ","), ",") {
		offered = offered || strings.Trim(entry, " \t") == fallback
	}
	if !offered {
		t.Errorf("fallback %q was not offered in %q", fallback, r.Header[protocolField])
	}
	for _, c := range a.carriers.carriers {
		if _, ok := c.(*subprotocolCarrier); ok && slices.Contains(c.find(r), fallback) {
			t.Errorf("fallback %q is the token", fallback)
		}
	}
}
