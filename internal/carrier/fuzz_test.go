package carrier

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/http/httpguts"
)

// FuzzTokenExtraction sends anything in every place a token may be. Whatever
// was found must be gone after strip, and everything else must still be there.
func FuzzTokenExtraction(f *testing.F) {
	f.Add("Bearer abc", "a=1; session=abc; b=2", "a=1&token=abc&b=2", "bearer, abc, chat", "k")
	f.Add("bearer", `session="x"; session=`, "%74oken=abc&token&x=%zz;y&&", "bearer.abc,bearer,bearer", "")
	f.Add("Basic abc", "session ; =; ;a", "token=abc#token=abc?token=abc", ",bearer,,bearer.,bearer", " ")
	f.Add("Bearer \t", "a=session=b", "to%6ben=%2B+", "abc, bearer, abc, bearer.abc", "abc")
	set := mustNew(f, allCarriers()...)
	f.Fuzz(func(t *testing.T, authorization, cookie, query, protocols, key string) {
		for _, value := range []string{authorization, cookie, query, protocols, key} {
			if !httpguts.ValidHeaderFieldValue(value) {
				t.Skip("no server hands such a value on")
			}
		}
		r := httptest.NewRequest(http.MethodGet, "/ws", nil)
		r.URL.RawQuery, r.RequestURI = query, "/ws?"+query
		r.Header = http.Header{
			"Authorization": {authorization},
			"X-Api-Key":     {key},
			CookieField:     {cookie, "z=1"},
			ProtocolField:   strings.SplitN(protocols, "|", 2),
			refererField:    {"https://example.com/?" + query},
		}
		before := r.Clone(t.Context())
		set.Strip(r)

		if found := set.Find(r); len(found.Tokens) > 0 {
			t.Errorf("a credential is left after strip: %q in\n%s", found.Tokens, dumpRequest(r))
		}
		again := dumpRequest(r)
		if set.Strip(r); dumpRequest(r) != again {
			t.Errorf("a second strip changes\n%s\nto\n%s", again, dumpRequest(r))
		}
		checkOthersKept(t, before, r)
		for _, c := range set.carriers {
			checkTokenGone(t, c, before, r)
		}
		if fallback, _ := set.FallbackProtocol(before); fallback != "" {
			checkFallback(t, set, before, fallback)
		}
		checkPutAgain(t, set, before, r)
	})
}

// checkOthersKept compares what the standard library reads from a request
// before and after.
func checkOthersKept(t *testing.T, before, after *http.Request) {
	t.Helper()
	named := func(pair string) bool {
		name, _, _ := strings.Cut(pair, "=")
		return foldParameter(name) == "token"
	}
	var wantPairs []string
	for pair := range strings.SplitSeq(before.URL.RawQuery, "&") {
		if named(pair) {
			continue
		}
		pieces := strings.Split(pair, ";")
		if kept := slices.DeleteFunc(slices.Clone(pieces), named); len(kept) == len(pieces) || strings.Join(kept, ";") != "" {
			wantPairs = append(wantPairs, strings.Join(kept, ";"))
		}
	}
	if want := strings.Join(wantPairs, "&"); after.URL.RawQuery != want {
		t.Errorf("query %q became %q, want %q", before.URL.RawQuery, after.URL.RawQuery, want)
	}
	if strings.Contains(strings.Join(before.Header[CookieField], ""), ",") {
		return // to some servers they are more cookies than to the standard library
	}
	want := slices.DeleteFunc(before.Cookies(), func(c *http.Cookie) bool { return foldParameter(c.Name) == "session" })
	same := func(a, b *http.Cookie) bool { return a.Name == b.Name && a.Value == b.Value && a.Quoted == b.Quoted }
	if got := after.Cookies(); !slices.EqualFunc(got, want, same) {
		t.Errorf("cookies %v became %v, want %v", before.Cookies(), got, want)
	}
}

// checkTokenGone holds that the token one carrier found in the request is not
// in what its field has become, unless it also stood there as something else.
func checkTokenGone(t *testing.T, c carrier, before, after *http.Request) {
	t.Helper()
	found := c.find(before)
	if len(found) == 0 {
		return
	}
	token := found[0]
	switch c := c.(type) {
	case *headerCarrier:
		for _, value := range after.Header[c.field] {
			if _, ours := c.token(value); ours {
				t.Errorf("%s still holds %q", c.field, value)
			}
		}
	case *cookieCarrier:
		if count(before.Header[CookieField], token)-1 < count(after.Header[CookieField], token) {
			t.Errorf("cookie token %q is not gone from %q", token, after.Header[CookieField])
		}
	case *queryCarrier:
		for _, uri := range []string{after.URL.String(), after.RequestURI, after.Header.Get(refererField)} {
			_, query, _ := strings.Cut(uri, "?")
			// What it cannot parse it leaves out, and the rest still counts.
			if values, _ := url.ParseQuery(query); values.Has(c.name) {
				t.Errorf("query token %q is not gone from %q", token, uri)
			}
		}
	case *subprotocolCarrier:
		for _, line := range after.Header[ProtocolField] {
			for entry := range strings.SplitSeq(line, ", ") {
				if entry == token || strings.HasPrefix(strings.ToLower(entry), c.marker.name+".") {
					t.Errorf("subprotocol token %q is not gone from %q", token, line)
				}
			}
		}
	}
}

// checkPutAgain holds that a token that is put where it came is found there again,
// and nothing else is.
func checkPutAgain(t *testing.T, set *Set, before, stripped *http.Request) {
	t.Helper()
	found := set.Find(before)
	for _, token := range found.Tokens {
		r := stripped.Clone(t.Context())
		found.Placed(before, token).PutInto(r)
		again := set.Find(r)
		if again.from != found.from || !slices.Contains(again.Tokens, token) || len(again.Tokens) > 2 {
			t.Errorf("%q, put again, is found as %q in\n%s", token, again.Tokens, dumpRequest(r))
		}
	}
}

func count(values []string, s string) int {
	return strings.Count(strings.Join(values, "\n"), s)
}
