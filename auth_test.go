package wsgateway

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/wsgateway/caddy-ws-gateway/internal/carrier"
	"github.com/wsgateway/caddy-ws-gateway/internal/revocation"
	"github.com/wsgateway/caddy-ws-gateway/internal/token"
)

const testToken = "s3cret-token-of-alice"

// newAuthenticator compiles a configuration that holds nothing of the process.
func newAuthenticator(cfg *Auth) (*authenticator, error) {
	ctx, cancel := caddy.NewContext(caddy.Context{Context: context.Background()})
	defer cancel()
	l, err := loadAuth(ctx, cfg, isRevokedAnywhere)
	return l.authenticator, err
}

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

// hs256Secret is the key of hs256.
const hs256Secret = "a secret of no fewer than 32 bytes"

// hs256 makes a JWT of claims.
func hs256(claims string) string {
	encode := base64.RawURLEncoding.EncodeToString
	signed := encode([]byte(`{"alg":"HS256"}`)) + "." + encode([]byte(claims))
	mac := hmac.New(sha256.New, []byte(hs256Secret))
	mac.Write([]byte(signed))
	return signed + "." + encode(mac.Sum(nil))
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
		{"a hash is not a token", "Bearer " + hexHash("bobs"), identity{}, token.ErrBadCredential},
		{"a hash with its prefix is not a token", "Bearer sha256:" + hexHash("bobs"), identity{}, token.ErrBadCredential},
		{"a prefix of a token", "Bearer " + testToken[:len(testToken)-1], identity{}, token.ErrBadCredential},
		{"a token and more", "Bearer " + testToken + "x", identity{}, token.ErrBadCredential},
		{"a token in another case", "Bearer " + strings.ToUpper(testToken), identity{}, token.ErrBadCredential},
		{"two tokens in one line", "Bearer " + testToken + ", Bearer " + testToken, identity{}, token.ErrBadCredential},
		{"a token of a megabyte", "Bearer " + strings.Repeat("a", 1<<20), identity{}, token.ErrBadCredential},
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
		{"bad", requestWithHeader("Authorization", "Bearer nope"), identity{}, token.ErrBadCredential},
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
	now := time.Now().Unix()
	good := hs256(fmt.Sprintf(`{"sub":"carol","exp":%d,"scope":"chat"}`, now+3600))
	weak := hs256(fmt.Sprintf(`{"sub":"carol","exp":%d}`, now+3600))
	old := hs256(fmt.Sprintf(`{"sub":"carol","exp":%d,"scope":"chat"}`, now-3600))
	a := mustAuthenticator(t, &Auth{
		Token:  []TokenCarrier{{From: "cookie", Name: "session"}, {From: "query", Name: "token"}},
		Bearer: []BearerToken{{Token: special, UserID: "alice"}, {Token: "s3cret token of bob", UserID: "bob"}},
		JWT: &JWT{
			Keys:    []JWTKey{{Key: hs256Secret}},
			Require: []Requirement{{Claim: "scope", Values: []string{"chat"}}},
		},
	})
	for _, row := range []struct {
		name, cookie, query, user string
		err                       string
	}{
		{"a cookie as it is", "session=" + special, "", "alice", ""},
		{"an encoded cookie", "session=" + url.QueryEscape(special), "", "alice", ""},
		{"the second of two", "session=other; session=" + special, "", "alice", ""},
		{"the fourth", "session=1; session=2; session=3; session=" + good, "", "carol", ""},
		{"the fifth", "session=1; session=2; session=3; session=4; session=" + good, "", "", "the token is neither a known one nor a JWT"},
		{"a good one before a bad one", "session=" + good + "; session=bad", "", "carol", ""},
		{"a plus in the query", "", "token=s3cret+token/of=alice", "alice", ""},
		{"an encoded plus in the query", "", "token=s3cret%2Btoken%2Fof%3Dalice", "alice", ""},
		{"a blank in the query", "", "token=s3cret+token+of+bob", "bob", ""},
		{"what says most is the reason: insufficient", "session=bad; session=" + weak + "; session=" + old, "", "", token.ErrInsufficient.Error()},
		{"what says most is the reason: expired", "session=bad; session=" + old + "; session=worse", "", "", "the token has expired"},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			r := httptest.NewRequest(http.MethodGet, "/ws?"+row.query, nil)
			r.Header.Set(carrier.CookieField, row.cookie)
			got, err := a.authenticate(r)
			reason := ""
			if err != nil {
				reason = err.Error()
			}
			if reason != row.err || got.userID != row.user {
				t.Errorf("authenticate = %q, %q; want %q, %q", got.userID, reason, row.user, row.err)
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
	if _, err := a.authenticate(requestWithHeader("Authorization", "Bearer {env.WSGATEWAY_TEST_TOKEN}")); !errors.Is(err, token.ErrBadCredential) {
		t.Errorf("a placeholder sent by a client: %v, want %v", err, token.ErrBadCredential)
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
		{"a bad one before a good one", []TokenCarrier{query, cookie}, "/?token=bad", "session=" + testToken, identity{}, token.ErrBadCredential},
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

func BenchmarkAuthenticate(b *testing.B) {
	for name, row := range map[string]struct {
		token  string
		config *Auth
	}{
		"static": {testToken, &Auth{Bearer: []BearerToken{{Token: testToken, UserID: "alice"}}}},
		"HS256": {
			hs256(`{"iss":"https://issuer.example","sub":"alice","aud":["ws","api"],"exp":4000000000,"scope":"chat read"}`),
			&Auth{JWT: &JWT{
				Keys: []JWTKey{{Key: hs256Secret}}, Issuer: []string{"https://issuer.example"}, Audience: []string{"ws"},
				Require: []Requirement{{Claim: "scope", Values: []string{"chat"}}},
			}},
		},
	} {
		b.Run(name, func(b *testing.B) {
			a := mustAuthenticator(b, row.config)
			r := requestWithHeader("Authorization", "Bearer "+row.token)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := a.authenticate(r); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkAuthenticateWithRevocations is to show no difference.
func BenchmarkAuthenticateWithRevocations(b *testing.B) {
	a := mustAuthenticator(b, &Auth{JWT: &JWT{Keys: []JWTKey{{Key: hs256Secret}}}})
	r := requestWithHeader("Authorization", "Bearer "+hs256(`{"sub":"alice","exp":4000000000,"iat":1000000000,"jti":"0d0c8b1e"}`))
	for _, n := range []int{0, revocation.Most} {
		for i := range n {
			rev := revocation.Revocation{JTI: fmt.Sprint(i), Until: time.Now().Add(time.Hour)}
			if i%2 == 0 {
				rev.JTI, rev.User, rev.IssuedBefore = "", fmt.Sprint(i), time.Now()
			}
			process.Revocations.Learn(rev.Identify())
		}
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := a.authenticate(r); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	for r := range process.Revocations.All() {
		process.Revocations.Remove(r.ID)
	}
}
