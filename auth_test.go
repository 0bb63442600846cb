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
	"strings"
	"testing"
	"time"

	"github.com/wsgateway/caddy-ws-gateway/internal/carrier"
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
			r.Header.Set(carrier.CookieField, row.cookie)
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

func TestAuthenticateLeavesTheRequestAsItIs(t *testing.T) {
	t.Parallel()
	a := mustAuthenticator(t, &Auth{
		Token: []TokenCarrier{
			{From: "header"}, {From: "header", Name: "x-api-key"}, {From: "cookie", Name: "session"},
			{From: "query", Name: "token"}, {From: "subprotocol"},
		},
		Bearer: []BearerToken{{Token: testToken, UserID: "alice"}},
	})
	r := httptest.NewRequest(http.MethodGet, "/ws?a=1&token="+testToken+"&b=2", nil)
	r.Header = http.Header{
		"Authorization":       {"Basic YTpi", "Bearer " + testToken},
		"X-Api-Key":           {testToken},
		carrier.CookieField:   {"a=1; session=" + testToken + "; b=2"},
		carrier.ProtocolField: {"chat, bearer, " + testToken, "superchat"},
		"Referer":             {"https://example.com/page?token=" + testToken + "&x=y"},
	}
	before := r.Clone(t.Context())
	if _, err := a.authenticate(r); err != nil {
		t.Fatal(err)
	}
	if got, want := fmt.Sprint(r.RequestURI, r.URL, r.Header), fmt.Sprint(before.RequestURI, before.URL, before.Header); got != want {
		t.Errorf("the request changed from\n%s\nto\n%s", want, got)
	}
}

func TestTokenOfTheFirstCarrierDecides(t *testing.T) {
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
			a := mustAuthenticator(t, &Auth{Token: row.carriers, Bearer: []BearerToken{{Token: testToken, UserID: "alice"}}})
			r := httptest.NewRequest(http.MethodGet, row.uri, nil)
			r.Header.Set(carrier.CookieField, row.cookie)
			got, err := a.authenticate(r)
			got.grant = nil
			if !errors.Is(err, row.err) || got != row.want {
				t.Errorf("authenticate = %+v, %v; want %+v, %v", got, err, row.want, row.err)
			}
		})
	}
}

func TestSubprotocolForTheClientIsAnOfferedOne(t *testing.T) {
	t.Parallel()
	a := mustAuthenticator(t, &Auth{
		Token:    []TokenCarrier{{From: "subprotocol"}},
		Bearer:   []BearerToken{{Token: testToken, UserID: "alice"}},
		Optional: true,
	})
	for _, row := range []struct {
		offer string
		want  identity
	}{
		{"bearer, " + testToken + ", chat", identity{userID: "alice", fallbackProtocol: "chat"}},
		{"bearer." + testToken, identity{userID: "alice", offersNothingElse: true}},
		{"chat, bearer", identity{anonymous: true}},
	} {
		got, err := a.authenticate(requestWithHeader(carrier.ProtocolField, row.offer))
		got.grant = nil
		if err != nil || got != row.want {
			t.Errorf("offer %q: authenticate = %+v, %v; want %+v", row.offer, got, err, row.want)
		}
	}
}
