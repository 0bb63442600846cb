package wsgateway

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http/httpguts"
)

const testToken = "s3cret-token-of-alice"

func mustAuthenticator(tb testing.TB, cfg *Auth) *authenticator {
	tb.Helper()
	a, err := newAuthenticator(cfg)
	if err != nil {
		tb.Fatalf("newAuthenticator: %v", err)
	}
	return a
}

func requestWithHeader(field string, values ...string) *http.Request {
	r := httptest.NewRequest(http.MethodGet, "/ws", nil)
	for _, value := range values {
		r.Header.Add(field, value)
	}
	return r
}

func hexHash(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:])
}

func TestAuthenticateStaticTokens(t *testing.T) {
	t.Parallel()
	a := mustAuthenticator(t, &Auth{Bearer: []BearerToken{
		{Token: "anonymous-machine"},
		{Token: testToken, UserID: "alice"},
		{Token: "sha256:" + strings.ToUpper(hexHash("bobs")), UserID: "bob"},
	}})
	for _, row := range []struct {
		name, header string
		want         identity
		err          error
	}{
		{"the token of a user", "Bearer " + testToken, identity{userID: "alice"}, nil},
		{"a token known by its hash", "Bearer bobs", identity{userID: "bob"}, nil},
		{"a token without a user", "Bearer anonymous-machine", identity{}, nil},
		{"the scheme in another case", "bEARER   " + testToken, identity{userID: "alice"}, nil},
		{"a hash is not a token", "Bearer " + hexHash("bobs"), identity{}, errBadCredential},
		{"a hash with its prefix is not a token", "Bearer sha256:" + hexHash("bobs"), identity{}, errBadCredential},
		{"a prefix of a token", "Bearer " + testToken[:len(testToken)-1], identity{}, errBadCredential},
		{"a token and more", "Bearer " + testToken + "x", identity{}, errBadCredential},
		{"a token in another case", "Bearer " + strings.ToUpper(testToken), identity{}, errBadCredential},
		{"two tokens in one line", "Bearer " + testToken + ", Bearer " + testToken, identity{}, errBadCredential},
		{"a token of a megabyte", "Bearer " + strings.Repeat("a", 1<<20), identity{}, errBadCredential},
		{"another scheme", "Basic " + testToken, identity{}, errNoCredential},
		{"the scheme glued to the token", "Bearer" + testToken, identity{}, errNoCredential},
		{"the scheme alone", "Bearer", identity{}, errNoCredential},
		{"no scheme", testToken, identity{}, errNoCredential},
		{"an empty header", "", identity{}, errNoCredential},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			got, err := a.authenticate(requestWithHeader("Authorization", row.header))
			got.grant = nil
			if !errors.Is(err, row.err) || got != row.want {
				t.Errorf("authenticate = %+v, %v; want %+v, %v", got, err, row.want, row.err)
			}
		})
	}
}

func TestAuthenticateLongestTokenIsAccepted(t *testing.T) {
	t.Parallel()
	longest := strings.Repeat("x", maxTokenSize)
	a := mustAuthenticator(t, &Auth{Bearer: []BearerToken{{Token: longest}}})
	if _, err := a.authenticate(requestWithHeader("Authorization", "Bearer "+longest)); err != nil {
		t.Errorf("a token of %d bytes: %v", len(longest), err)
	}
	if _, err := newAuthenticator(&Auth{Bearer: []BearerToken{{Token: longest + "x"}}}); err == nil {
		t.Error("a token that is never accepted was configured without an error")
	}
}

func TestOptionalLetsOnlyAbsentCredentialsPass(t *testing.T) {
	t.Parallel()
	a := mustAuthenticator(t, &Auth{Bearer: []BearerToken{{Token: testToken, UserID: "alice"}}, Optional: true})
	for _, row := range []struct {
		name string
		r    *http.Request
		want identity
		err  error
	}{
		{"none", httptest.NewRequest(http.MethodGet, "/", nil), identity{anonymous: true}, nil},
		{"empty", requestWithHeader("Authorization", "Bearer "), identity{anonymous: true}, nil},
		{"another scheme", requestWithHeader("Authorization", "Basic YTpi"), identity{anonymous: true}, nil},
		{"bad", requestWithHeader("Authorization", "Bearer nope"), identity{}, errBadCredential},
		{"good", requestWithHeader("Authorization", "Bearer "+testToken), identity{userID: "alice"}, nil},
	} {
		got, err := a.authenticate(row.r)
		got.grant = nil
		if !errors.Is(err, row.err) || got != row.want {
			t.Errorf("%s: authenticate = %+v, %v; want %+v, %v", row.name, got, err, row.want, row.err)
		}
	}
}

func TestEverythingThatATokenMayBeIsTried(t *testing.T) {
	t.Parallel()
	const special = "s3cret+token/of=alice"
	jwt := func(claims string) string { return signJWT(t, "HS256", nil, claims) }
	now := time.Now().Unix()
	good := jwt(fmt.Sprintf(`{"sub":"carol","exp":%d,"scope":"chat"}`, now+3600))
	weak := jwt(fmt.Sprintf(`{"sub":"carol","exp":%d}`, now+3600))
	old := jwt(fmt.Sprintf(`{"sub":"carol","exp":%d,"scope":"chat"}`, now-3600))
	a := mustAuthenticator(t, &Auth{
		Token:  []TokenCarrier{{From: "cookie", Name: "session"}, {From: "query", Name: "token"}},
		Bearer: []BearerToken{{Token: special, UserID: "alice"}, {Token: "s3cret token of bob", UserID: "bob"}},
		JWT: &JWT{
			Keys:    []JWTKey{{Key: publicText(t, "HS256")}},
			Require: []Requirement{{Claim: "scope", Values: []string{"chat"}}},
		},
	})
	for _, row := range []struct {
		name, cookie, query, user string
		err                       error
	}{
		{"a cookie as it is", "session=" + special, "", "alice", nil},
		{"an encoded cookie", "session=" + url.QueryEscape(special), "", "alice", nil},
		{"the second of two", "session=other; session=" + special, "", "alice", nil},
		{"the fourth", "session=1; session=2; session=3; session=" + good, "", "carol", nil},
		{"the fifth", "session=1; session=2; session=3; session=4; session=" + good, "", "", errBadCredential},
		{"a good one before a bad one", "session=" + good + "; session=bad", "", "carol", nil},
		{"a plus in the query", "", "token=s3cret+token/of=alice", "alice", nil},
		{"an encoded plus in the query", "", "token=s3cret%2Btoken%2Fof%3Dalice", "alice", nil},
		{"a blank in the query", "", "token=s3cret+token+of+bob", "bob", nil},
		{"what says most is the reason: insufficient", "session=bad; session=" + weak + "; session=" + old, "", "", errInsufficient},
		{"what says most is the reason: expired", "session=bad; session=" + old + "; session=worse", "", "", errJWTExpired},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			r := httptest.NewRequest(http.MethodGet, "/ws?"+row.query, nil)
			r.Header.Set(cookieField, row.cookie)
			got, err := a.authenticate(r)
			right := err == row.err                 //nolint:errorlint // which of them matters
			if row.err == error(errBadCredential) { //nolint:errorlint // as above
				right = errors.Is(err, errBadCredential)
			}
			if !right || got.userID != row.user {
				t.Errorf("authenticate = %q, %v; want %q, %v", got.userID, err, row.user, row.err)
			}
		})
	}
}

func TestTokensFromEnvironmentAndFiles(t *testing.T) {
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte("from-file\r\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("WSGATEWAY_TEST_TOKEN", "from-env")
	t.Setenv("WSGATEWAY_TEST_HASH", "sha256:"+hexHash("from-hash"))
	cfg := new(Auth)
	for user, configured := range map[string]string{
		"env":      "{env.WSGATEWAY_TEST_TOKEN}",
		"file":     "{file." + file + "}",
		"hash":     "{env.WSGATEWAY_TEST_HASH}",
		"prefixed": "prefix-{env.WSGATEWAY_TEST_TOKEN}",
		"braces":   `a\{b\}`,
	} {
		cfg.Bearer = append(cfg.Bearer, BearerToken{Token: configured, UserID: user})
	}
	a := mustAuthenticator(t, cfg)
	for value, user := range map[string]string{
		"from-env": "env", "from-file": "file", "from-hash": "hash",
		"prefix-from-env": "prefixed", "a{b}": "braces",
	} {
		got, err := a.authenticate(requestWithHeader("Authorization", "Bearer "+value))
		got.grant = nil
		if err != nil || got.userID != user {
			t.Errorf("%s: authenticate = %+v, %v; want user %s", value, got, err, user)
		}
	}
	if _, err := a.authenticate(requestWithHeader("Authorization", "Bearer {env.WSGATEWAY_TEST_TOKEN}")); !errors.Is(err, errBadCredential) {
		t.Errorf("a placeholder sent by a client: %v, want %v", err, errBadCredential)
	}
}

func TestWrongBearerConfigurations(t *testing.T) {
	const secret = "hunter2hunter2"
	dir := t.TempDir()
	empty := filepath.Join(dir, "empty")
	if err := os.WriteFile(empty, []byte("\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("WSGATEWAY_TEST_BAD", secret+"\n"+secret)
	t.Setenv("WSGATEWAY_TEST_SECRET", secret)
	for _, row := range []struct {
		name   string
		tokens []BearerToken
		want   string
	}{
		{"none", nil, "auth accepts nothing"},
		{"an empty token", []BearerToken{{Token: ""}}, "auth.bearer[0]: token is empty"},
		{"an unset variable", []BearerToken{{Token: secret + "{env.WSGATEWAY_TEST_UNSET}"}}, "{env.WSGATEWAY_TEST_UNSET} is not set"},
		{"an empty file", []BearerToken{{Token: "{file." + empty + "}"}}, "auth.bearer[0]: the file of {file." + empty + "} cannot be read, or is empty"},
		{"a missing file", []BearerToken{{Token: "{file." + dir + "/none}"}}, "auth.bearer[0]: the file of"},
		{"braces in a token", []BearerToken{{Token: "x{" + secret + "}"}}, "auth.bearer[0]: token holds an unknown placeholder"},
		{"a line break in a variable", []BearerToken{{Token: "{env.WSGATEWAY_TEST_BAD}"}}, "auth.bearer[0]: token has control characters"},
		{"white space around", []BearerToken{{Token: secret + " "}}, "auth.bearer[0]: token has control characters, or white space"},
		{"a short hash", []BearerToken{{Token: "sha256:abcd"}}, "auth.bearer[0]: token begins with sha256:"},
		{"a long hash", []BearerToken{{Token: "sha256:" + hexHash(secret) + "00"}}, "auth.bearer[0]: token begins with sha256:"},
		{"a hash that is none", []BearerToken{{Token: "sha256:" + secret}}, "auth.bearer[0]: token begins with sha256:"},
		{"twice the same", []BearerToken{{Token: secret, UserID: "a"}, {Token: secret, UserID: "b"}}, "auth.bearer[1]: the same token as auth.bearer[0]"},
		{"a token and its hash", []BearerToken{{Token: secret}, {Token: "sha256:" + hexHash(secret)}}, "auth.bearer[1]: the same token"},
		{"a token and its variable", []BearerToken{{Token: secret}, {Token: "{env.WSGATEWAY_TEST_SECRET}"}}, "auth.bearer[1]: the same token"},
		{"a user with a line break", []BearerToken{{Token: secret, UserID: "a\r\nX-Admin: 1"}}, "auth.bearer[0]: user_id"},
	} {
		t.Run(row.name, func(t *testing.T) {
			for _, optional := range []bool{false, true} {
				_, err := newAuthenticator(&Auth{Bearer: row.tokens, Optional: optional})
				if err == nil || !strings.Contains(err.Error(), row.want) {
					t.Fatalf("error %v does not say %q", err, row.want)
				}
				if strings.Contains(err.Error(), secret) {
					t.Errorf("the error shows the token: %v", err)
				}
			}
		})
	}
}

func TestNewAuthenticatorLeavesTheConfigurationAsItIs(t *testing.T) {
	t.Parallel()
	cfg := &Auth{
		Token:  []TokenCarrier{{From: "header"}, {From: "subprotocol"}},
		Bearer: []BearerToken{{Token: testToken}},
	}
	mustAuthenticator(t, cfg)
	if cfg.Token[0] != (TokenCarrier{From: "header"}) || cfg.Token[1] != (TokenCarrier{From: "subprotocol"}) {
		t.Errorf("defaults were written into the configuration: %+v", cfg.Token)
	}
	if cfg.Bearer[0].Token != testToken {
		t.Errorf("the token in the configuration became %q", cfg.Bearer[0].Token)
	}
}

func TestChallenge(t *testing.T) {
	t.Parallel()
	a := mustAuthenticator(t, &Auth{Bearer: []BearerToken{{Token: testToken}}})
	for _, row := range []struct {
		realm string
		err   error
		want  string
	}{
		{"default", errNoCredential, `Bearer realm="default"`},
		{"default", errBadCredential, `Bearer realm="default", error="invalid_token", error_description="the token is not valid"`},
		{"a\"b\\c\r\nX: y", errNoCredential, `Bearer realm="a\"b\\cX: y"`},
	} {
		if got := a.challenge(row.realm, row.err); got != row.want {
			t.Errorf("challenge(%q, %v) = %s, want %s", row.realm, row.err, got, row.want)
		}
	}
}

// The time a comparison takes must not tell how much of a guess is right.
// Noise on a shared machine hides what a measurement would show, so this holds
// the shape of the code: hashes, compared in constant time, without a way out
// of the loop.
func TestTimingAttackFindsNoEarlyExit(t *testing.T) {
	t.Parallel()
	file, err := parser.ParseFile(token.NewFileSet(), "auth.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var loops, compares int
	for _, decl := range file.Decls {
		fn, ok := decl.(*ast.FuncDecl)
		if !ok || fn.Name.Name != "verify" {
			continue
		}
		ast.Inspect(fn.Body, func(n ast.Node) bool {
			loop, ok := n.(*ast.RangeStmt)
			if !ok {
				return true
			}
			loops++
			ast.Inspect(loop.Body, func(n ast.Node) bool {
				switch n := n.(type) {
				case *ast.ReturnStmt, *ast.BranchStmt, *ast.IfStmt, *ast.SwitchStmt, *ast.BinaryExpr:
					t.Errorf("%T in the loop that compares tokens", n)
				case *ast.SelectorExpr:
					if n.Sel.Name == "ConstantTimeCompare" {
						compares++
					}
				}
				return true
			})
			return false
		})
	}
	if loops != 1 || compares != 1 {
		t.Errorf("found %d loops and %d constant-time comparisons in verify, want one of each", loops, compares)
	}
}

// FuzzTokenExtraction sends anything in every place a token may be. Whatever
// was found must be gone after strip, and everything else must still be there.
func FuzzTokenExtraction(f *testing.F) {
	f.Add("Bearer abc", "a=1; session=abc; b=2", "a=1&token=abc&b=2", "bearer, abc, chat", "k")
	f.Add("bearer", `session="x"; session=`, "%74oken=abc&token&x=%zz;y&&", "bearer.abc,bearer,bearer", "")
	f.Add("Basic abc", "session ; =; ;a", "token=abc#token=abc?token=abc", ",bearer,,bearer.,bearer", " ")
	f.Add("Bearer \t", "a=session=b", "to%6ben=%2B+", "abc, bearer, abc, bearer.abc", "abc")
	a, err := newAuthenticator(allCarriers())
	if err != nil {
		f.Fatal(err)
	}
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
			cookieField:     {cookie, "z=1"},
			protocolField:   strings.SplitN(protocols, "|", 2),
			refererField:    {"https://example.com/?" + query},
		}
		before := r.Clone(t.Context())
		a.strip(r)

		if tokens, _ := a.carriers.find(r); len(tokens) > 0 {
			t.Errorf("a credential is left after strip: %q in\n%s", tokens, dumpRequest(r))
		}
		again := dumpRequest(r)
		if a.strip(r); dumpRequest(r) != again {
			t.Errorf("a second strip changes\n%s\nto\n%s", again, dumpRequest(r))
		}
		checkOthersKept(t, before, r)
		for _, c := range a.carriers.carriers {
			checkTokenGone(t, c, before, r)
		}
		if id, err := a.authenticate(before); err == nil && id.fallbackProtocol != "" {
			checkFallback(t, a, before, id.fallbackProtocol)
		}
		checkPutAgain(t, a, before, r)
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
	if strings.Contains(strings.Join(before.Header[cookieField], ""), ",") {
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
		if count(before.Header[cookieField], token)-1 < count(after.Header[cookieField], token) {
			t.Errorf("cookie token %q is not gone from %q", token, after.Header[cookieField])
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
		for _, line := range after.Header[protocolField] {
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
func checkPutAgain(t *testing.T, a *authenticator, before, stripped *http.Request) {
	t.Helper()
	tokens, from := a.carriers.find(before)
	for _, token := range tokens {
		r := stripped.Clone(t.Context())
		placed{from, from.rawOf(before, token)}.putInto(r)
		again, where := a.carriers.find(r)
		if where != from || !slices.Contains(again, token) || len(again) > 2 {
			t.Errorf("%q, put again, is found as %q in\n%s", token, again, dumpRequest(r))
		}
	}
}

func count(values []string, s string) int {
	return strings.Count(strings.Join(values, "\n"), s)
}
