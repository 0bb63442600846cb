package carrier

import (
	"encoding/base64"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
)

const testToken = "s3cret-token-of-alice"

var b64 = base64.RawURLEncoding.EncodeToString

func mustNew(tb testing.TB, places ...Place) *Set {
	tb.Helper()
	set, err := New(places)
	if err != nil {
		tb.Fatalf("New: %v", err)
	}
	return set
}

func requestWithHeader(field string, values ...string) *http.Request {
	r := httptest.NewRequest(http.MethodGet, "/ws", nil)
	for _, value := range values {
		r.Header.Add(field, value)
	}
	return r
}

// allCarriers configures one carrier of each kind.
func allCarriers() []Place {
	return []Place{
		{From: "header"},
		{From: "header", Name: "x-api-key"},
		{From: "cookie", Name: "session"},
		{From: "query", Name: "token"},
		{From: "subprotocol"},
	}
}

func requestWithEveryCredential() *http.Request {
	r := httptest.NewRequest(http.MethodGet, "/ws?a=1&token="+testToken+"&b=2", nil)
	r.Header = http.Header{
		"Authorization": {"Basic YTpi", "Bearer " + testToken},
		"X-Api-Key":     {testToken},
		CookieField:     {"a=1; session=" + testToken + "; b=2"},
		ProtocolField:   {"chat, bearer, " + testToken, "superchat"},
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

func TestStripRemovesEveryCredential(t *testing.T) {
	t.Parallel()
	set := mustNew(t, allCarriers()...)
	r := requestWithEveryCredential()
	set.Strip(r)
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
	if found := set.AppendTokens(nil, r); len(found) > 0 {
		t.Errorf("found once more: %q", found)
	}
}

func TestStripWritesIntoNothingShared(t *testing.T) {
	t.Parallel()
	set := mustNew(t, allCarriers()...)
	original := requestWithEveryCredential()
	before := dumpRequest(original)
	shallow := *original
	shallow.Header = maps.Clone(original.Header)
	set.Strip(&shallow)
	if got := dumpRequest(original); got != before {
		t.Errorf("stripping a copy changed the original from\n%s\nto\n%s", before, got)
	}
}

func TestFirstConfiguredCarrierDecides(t *testing.T) {
	t.Parallel()
	cookie := Place{From: "cookie", Name: "session"}
	query := Place{From: "query", Name: "token"}
	for _, row := range []struct {
		name    string
		places  []Place
		uri     string
		cookie  string
		want    string
		ambient bool
	}{
		{"a cookie before a query", []Place{cookie, query}, "/?token=one", "session=two", "two", true},
		{"a query before a cookie", []Place{query, cookie}, "/?token=one", "session=two", "one", false},
		{"an empty one is absent", []Place{query, cookie}, "/?token=", "session=two", "two", true},
		{"neither", []Place{query, cookie}, "/?token=", "session=", "", false},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			set := mustNew(t, row.places...)
			r := httptest.NewRequest(http.MethodGet, row.uri, nil)
			r.Header.Set(CookieField, row.cookie)
			found := set.Find(r)
			if strings.Join(found.Tokens, " or ") != row.want || found.Ambient() != row.ambient {
				t.Errorf("found %q, ambient %t; want %q, %t", found.Tokens, found.Ambient(), row.want, row.ambient)
			}
			set.Strip(r)
			if r.Header.Get(CookieField) != "" || r.URL.RawQuery != "" || r.RequestURI != "/" {
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

func checkField(t *testing.T, config Place, field string, rows []fieldRow) {
	t.Helper()
	set := mustNew(t, config)
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			r := requestWithHeader(field, row.values...)
			if got := set.Find(r).Tokens; strings.Join(got, " or ") != row.token {
				t.Errorf("token of %q is %q, want %q", row.values, got, row.token)
			}
			set.Strip(r)
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
	checkField(t, Place{From: "header", Name: "authorization", Scheme: "Token"}, "Authorization", []fieldRow{
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
	checkField(t, Place{From: "header", Name: "x-api-key"}, "X-Api-Key", []fieldRow{
		{"plain", []string{" abc "}, "abc", nil},
		{"with blanks inside", []string{"Bearer abc"}, "Bearer abc", nil},
		{"the first that is not empty", []string{"", "abc", "def"}, "abc", nil},
		{"empty", []string{""}, "", nil},
	})
}

func TestCookieCarrier(t *testing.T) {
	t.Parallel()
	checkField(t, Place{From: "cookie", Name: "session"}, "Cookie", []fieldRow{
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
			set := mustNew(t, Place{From: "query", Name: "token"})
			r := httptest.NewRequest(http.MethodGet, "/ws", nil)
			r.URL.RawQuery = row.query
			r.RequestURI = "/ws?" + row.query
			r.Header.Set(refererField, "https://example.com/%2f?"+row.query)
			if got := set.Find(r).Tokens; strings.Join(got, " or ") != row.token {
				t.Errorf("token is %q, want %q", got, row.token)
			}
			set.Strip(r)
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
	checkField(t, Place{From: "subprotocol"}, "Sec-WebSocket-Protocol", []fieldRow{
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
	checkField(t, Place{From: "subprotocol", Name: kubernetes, Base64URL: true}, "Sec-WebSocket-Protocol", []fieldRow{
		{"as Kubernetes offers it", []string{kubernetes + text + ", base64.binary.k8s.io"}, "a/b=c d", []string{"base64.binary.k8s.io"}},
		{"behind others, in another case", []string{"a", strings.ToUpper(kubernetes) + text}, "a/b=c d", []string{"a"}},
		{"the marker as an entry of its own", []string{kubernetes + "," + text + ", a"}, "a/b=c d", []string{"a"}},
		{"with padding", []string{"a, " + kubernetes + b64([]byte("abcd")) + "=="}, "abcd", []string{"a"}},
		{"not encoded", []string{kubernetes + "a.b, a"}, "a.b", []string{"a"}},
		{"nothing behind it", []string{"a, " + kubernetes}, "", []string{"a, " + kubernetes}},
		{"offered again", []string{kubernetes + text + ", " + text + ", a"}, "a/b=c d", []string{"a"}},
		{"another marker", []string{"bearer, " + text}, "", []string{"bearer, " + text}},
	})
	checkField(t, Place{From: "subprotocol", Base64URL: true}, "Sec-WebSocket-Protocol", []fieldRow{
		{"marker and token", []string{"bearer, " + text + ", a"}, "a/b=c d", []string{"a"}},
		{"one entry with a dot", []string{"bearer." + text + ", a"}, "a/b=c d", []string{"a"}},
		{"one entry without", []string{"bearer" + text + ", a"}, "a/b=c d", []string{"a"}},
	})
}

func TestSubprotocolTokenIsNeverSelected(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name, offer, want string
		carriers          []Place
	}{
		{"another protocol", "bearer, " + testToken + ", chat, superchat", "chat", nil},
		{"another protocol before the token", "chat, bearer." + testToken, "chat", nil},
		{"the marker at last", "bearer, " + testToken, "bearer", nil},
		{"the marker as it was offered", "Bearer, " + testToken, "Bearer", nil},
		{"nothing but the token", "bearer." + testToken, "", nil},
		{"the token offered again", "bearer, " + testToken + ", " + testToken, "bearer", nil},
		{"an entry that is no protocol", "a b, bearer, " + testToken + ", chat", "chat", nil},
		{"the token of another marker", "bearer, " + testToken + ", jwt.other, jwt, more, chat", "chat", []Place{{From: "subprotocol"}, {From: "subprotocol", Name: "jwt"}}},
		{"another carrier decided", "bearer, other, chat", "chat", []Place{{From: "header"}, {From: "subprotocol"}}},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			if row.carriers == nil {
				row.carriers = []Place{{From: "subprotocol"}}
			}
			set := mustNew(t, row.carriers...)
			r := requestWithHeader(ProtocolField, row.offer)
			if row.carriers[0].From == "header" {
				r.Header.Set("Authorization", "Bearer "+testToken)
			}
			if tokens := set.Find(r).Tokens; !slices.Equal(tokens, []string{testToken}) {
				t.Errorf("found %q, want %q", tokens, testToken)
			}
			got, nothingElse := set.FallbackProtocol(r)
			if got != row.want || nothingElse != (row.want == "") {
				t.Errorf("fallback is %q, nothing else %t; want %q", got, nothingElse, row.want)
			}
		})
	}
}

func TestNoFallbackWithoutSubprotocolToken(t *testing.T) {
	t.Parallel()
	set := mustNew(t, allCarriers()...)
	for _, offer := range []string{"chat, superchat", "chat, bearer", ""} {
		r := requestWithHeader(ProtocolField, offer)
		tokens := set.AppendTokens(nil, r)
		if name, nothingElse := set.FallbackProtocol(r); name != "" || nothingElse || len(tokens) > 0 {
			t.Errorf("offer %q: fallback is %q, nothing else %t, tokens %q; want none", offer, name, nothingElse, tokens)
		}
	}
}

func TestBrowserAuthenticationSchemesAreAmbient(t *testing.T) {
	t.Parallel()
	for scheme, want := range map[string]bool{"Basic": true, "negotiate": true, "Bearer": false, "": false} {
		set := mustNew(t, Place{From: "header", Scheme: scheme})
		sent := scheme
		if sent == "" {
			sent = "Bearer"
		}
		found := set.Find(requestWithHeader("Authorization", sent+" "+testToken))
		if len(found.Tokens) != 1 || found.Ambient() != want || set.Ambient() != want {
			t.Errorf("scheme %q: found %q, ambient is %t, %t of the set; want %t", scheme, found.Tokens, found.Ambient(), set.Ambient(), want)
		}
	}
}

func TestWrongCarrierConfigurations(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name     string
		carriers []Place
		want     string
	}{
		{"unknown place", []Place{{From: "body"}}, `auth.token[0]: from "body" is unknown: use header, cookie, query or subprotocol`},
		{"no place", []Place{{}}, "use header, cookie, query or subprotocol"},
		{"cookie without a name", []Place{{From: "cookie"}}, "auth.token[0]: name \"\" is not the name of a cookie"},
		{"cookie with a bad name", []Place{{From: "cookie", Name: "a;b"}}, "not the name of a cookie"},
		{"query without a name", []Place{{From: "query"}}, "not the name of a query parameter"},
		{"header with a bad name", []Place{{From: "header", Name: "X Key"}}, "not the name of a header field"},
		{"header with a bad scheme", []Place{{From: "header", Scheme: "To ken"}}, "not an authentication scheme"},
		{"the Cookie header", []Place{{From: "header", Name: "cookie"}}, "use from cookie"},
		{"the protocol header", []Place{{From: "header", Name: "Sec-WebSocket-Protocol"}}, "use from subprotocol"},
		{"a header of the handshake", []Place{{From: "header", Name: "sec-websocket-key"}}, "belongs to the handshake"},
		{"a marker with a comma", []Place{{From: "subprotocol", Name: "a,b"}}, "cannot be a subprotocol"},
		{"base64url in a query", []Place{{From: "query", Name: "a", Base64URL: true}}, "base64url is for subprotocol only"},
		{"the same marker, encoded", []Place{{From: "subprotocol"}, {From: "subprotocol", Base64URL: true}}, "auth.token[1]: the same carrier"},
		{"a scheme in a cookie", []Place{{From: "cookie", Name: "a", Scheme: "Bearer"}}, "scheme is for header only"},
		{"the same header", []Place{{From: "header"}, {From: "header", Name: "authorization", Scheme: "bearer"}}, "auth.token[1]: the same carrier as auth.token[0]"},
		{"the same marker", []Place{{From: "subprotocol"}, {From: "subprotocol", Name: "bearer"}}, "auth.token[1]: the same carrier"},
		{"the same marker in another case", []Place{{From: "subprotocol"}, {From: "subprotocol", Name: "Bearer"}}, "auth.token[1]: the same carrier"},
		{"the same query", []Place{{From: "query", Name: "t"}, {From: "cookie", Name: "t"}, {From: "query", Name: "t"}}, "auth.token[2]: the same carrier as auth.token[0]"},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			_, err := New(row.carriers)
			if err == nil || !strings.Contains(err.Error(), row.want) {
				t.Errorf("error %v does not say %q", err, row.want)
			}
		})
	}
}

func checkFallback(t *testing.T, set *Set, r *http.Request, fallback string) {
	t.Helper()
	offered := false
	for entry := range strings.SplitSeq(strings.Join(r.Header[ProtocolField], ","), ",") {
		offered = offered || strings.Trim(entry, " \t") == fallback
	}
	if !offered {
		t.Errorf("fallback %q was not offered in %q", fallback, r.Header[ProtocolField])
	}
	for _, c := range set.carriers {
		if _, ok := c.(*subprotocolCarrier); ok && slices.Contains(c.find(r), fallback) {
			t.Errorf("fallback %q is the token", fallback)
		}
	}
}
