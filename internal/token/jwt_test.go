package token

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// noon is when tokens are verified in tests; theirs is valid for an hour.
var noon = time.Unix(1_900_000_000, 0)

const soundClaims = `{"iss":"https://issuer.example","sub":"alice","aud":["ws","api"],"exp":1900003600,"nbf":1899999000,"iat":1899999000,"jti":"id-1","scope":"chat read","email":"alice@example.com","admin":true,"level":7,"realm_access":{"roles":["user","editor"]}}`

// issuerKeys are the keys that tokens in tests are signed with, made once.
var issuerKeys = sync.OnceValue(func() map[string]crypto.PrivateKey {
	keys := make(map[string]crypto.PrivateKey)
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	for _, name := range []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"} {
		keys[name] = rsaKey
	}
	for name, curve := range map[string]elliptic.Curve{"ES256": elliptic.P256(), "ES384": elliptic.P384(), "ES512": elliptic.P521()} {
		if keys[name], err = ecdsa.GenerateKey(curve, rand.Reader); err != nil {
			panic(err)
		}
	}
	if _, keys["EdDSA"], err = ed25519.GenerateKey(rand.Reader); err != nil {
		panic(err)
	}
	for i, name := range []string{"HS256", "HS384", "HS512"} {
		keys[name] = []byte(strings.Repeat(name, 20)[:32+16*i])
	}
	return keys
})

// algorithmNames are those that go-jose signs with.
var algorithmNames = []string{
	"HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA",
}

// signJWT signs with a library that shares no code with what verifies.
func signJWT(tb testing.TB, algorithm string, header map[string]any, payload string) string {
	tb.Helper()
	return signJWTWith(tb, issuerKeys()[algorithm], algorithm, header, payload)
}

func signJWTWith(tb testing.TB, key any, algorithm string, header map[string]any, payload string) string {
	tb.Helper()
	options := (&jose.SignerOptions{}).WithType("JWT")
	for name, value := range header {
		options.WithHeader(jose.HeaderKey(name), value)
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.SignatureAlgorithm(algorithm), Key: key}, options)
	if err != nil {
		tb.Fatal(err)
	}
	object, err := signer.Sign([]byte(payload))
	if err != nil {
		tb.Fatal(err)
	}
	token, err := object.CompactSerialize()
	if err != nil {
		tb.Fatal(err)
	}
	return token
}

// publicText is what an operator configures for an algorithm.
func publicText(tb testing.TB, algorithm string) string {
	tb.Helper()
	private := issuerKeys()[algorithm]
	if secret, ok := private.([]byte); ok {
		return string(secret)
	}
	return publicPEM(tb, private.(crypto.Signer).Public())
}

func publicPEM(tb testing.TB, public crypto.PublicKey) string {
	tb.Helper()
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		tb.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
}

func mustVerifier(tb testing.TB, config *JWT, sets ...keySet) *jwtVerifier {
	tb.Helper()
	v, err := newJWTVerifier(config, sets)
	if err != nil {
		tb.Fatal(err)
	}
	return v
}

// verifierOf accepts one key.
func verifierOf(tb testing.TB, algorithm string) *jwtVerifier {
	tb.Helper()
	return mustVerifier(tb, &JWT{Keys: []Key{{Key: publicText(tb, algorithm)}}})
}

func TestJWTOfEveryAlgorithmIsVerified(t *testing.T) {
	t.Parallel()
	for _, algorithm := range algorithmNames {
		t.Run(algorithm, func(t *testing.T) {
			t.Parallel()
			v := verifierOf(t, algorithm)
			token := signJWT(t, algorithm, map[string]any{"kid": "any"}, soundClaims)
			g, err := v.verify(t.Context(), token, noon)
			if err != nil {
				t.Fatal(err)
			}
			if g.UserID != "alice" || g.JTI != "id-1" || !g.Expires.Equal(noon.Add(time.Hour+defaultLeeway)) {
				t.Errorf("got user %q, jti %q, end %s", g.UserID, g.JTI, g.Expires)
			}
			for _, other := range algorithmNames {
				foreign := signJWT(t, other, nil, soundClaims)
				_, err := v.verify(t.Context(), foreign, noon)
				same := fmt.Sprint(issuerKeys()[other]) == fmt.Sprint(issuerKeys()[algorithm])
				if (err == nil) != (other == algorithm || same) {
					t.Errorf("a token of %s: %v", other, err)
				}
			}
		})
	}
}

func TestJWTAlteredInAnyPlaceIsRefused(t *testing.T) {
	t.Parallel()
	for _, algorithm := range []string{"HS256", "RS256", "PS256", "ES256", "EdDSA"} {
		t.Run(algorithm, func(t *testing.T) {
			t.Parallel()
			v := verifierOf(t, algorithm)
			token := signJWT(t, algorithm, nil, soundClaims)
			for i := range token {
				for _, c := range []byte("AB.") {
					if token[i] == c {
						continue
					}
					altered := token[:i] + string(c) + token[i+1:]
					if _, err := v.verify(t.Context(), altered, noon); err == nil {
						t.Fatalf("accepted with byte %d changed to %q", i, c)
					}
				}
			}
			for _, altered := range []string{
				token + "A", token + "=", token + ".", " " + token, token + "\n", token[:len(token)-1], "." + token,
				strings.Replace(token, ".", ".\r\n", 1), strings.Replace(token, ".", "..", 1),
			} {
				if _, err := v.verify(t.Context(), altered, noon); err == nil {
					t.Errorf("accepted %q", altered)
				}
			}
		})
	}
}

// The examples of RFC 7515, appendices A.1 to A.4, and RFC 8037, appendix A.4.
func TestJWTVectorsOfTheStandards(t *testing.T) {
	t.Parallel()
	const joe = "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ"
	for name, row := range map[string]struct{ key, token string }{
		"A.1 HS256": {
			`{"kty":"oct","k":"AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow"}`,
			"eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9." + joe + ".dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk",
		},
		"A.2 RS256": {
			`{"kty":"RSA","e":"AQAB","n":"ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ"}`,
			"eyJhbGciOiJSUzI1NiJ9." + joe + ".cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw",
		},
		"A.3 ES256": {
			`{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}`,
			"eyJhbGciOiJFUzI1NiJ9." + joe + ".DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q",
		},
		"A4 ES512": {
			`{"kty":"EC","crv":"P-521","x":"AekpBQ8ST8a8VcfVOTNl353vSrDCLLJXmPk06wTjxrrjcBpXp5EOnYG_NjFZ6OvLFV1jSfS9tsz4qUxcWceqwQGk","y":"ADSmRA43Z1DSNx_RvcLI87cdL07l6jQyyBXMoxVg_l2Th-x3S1WDhjDly79ajL4Kkd0AZMaZmh9ubmf63e3kyMj2"}`,
			"eyJhbGciOiJFUzUxMiJ9.UGF5bG9hZA.AdwMgeerwtHoh-l192l60hp9wAHZFVJbLfD_UxMi70cwnZOYaRI1bKPWROc-mZZqwqT2SI-KGDKB34XO0aw_7XdtAG8GaSwFKdCAPZgoXD2YBJZCPEX3xKpRwcdOO8KpEHwJjyqOgzDO7iKvU8vcnwNrmxYbSW9ERBXukOXolLzeO_Jn",
		},
		"RFC 8037 A.4 EdDSA": {
			`{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}`,
			"eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			keys, err := newVerifyKeys(row.key, nil, resolve)
			if err != nil {
				t.Fatal(err)
			}
			token, err := parseJWT(row.token)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := token.signedByOne(keys); err != nil {
				t.Fatal(err)
			}
			v := mustVerifier(t, &JWT{Keys: []Key{{Key: row.key}}, Issuer: []string{"joe"}})
			_, err = v.verify(t.Context(), row.token, time.Unix(1300819379, 0))
			if strings.HasPrefix(name, "A.") && err != nil {
				t.Error(err)
			}
			if !strings.HasPrefix(name, "A.") && !errors.Is(err, errJWTClaims) {
				t.Errorf("a payload that is no claims: %v", err)
			}
		})
	}
	// A.5 is not signed at all.
	v := mustVerifier(t, &JWT{Keys: []Key{{Key: publicText(t, "RS256")}}})
	if _, err := v.verify(t.Context(), "eyJhbGciOiJub25lIn0."+joe+".", time.Unix(1300819379, 0)); err == nil {
		t.Error("the unsecured JWS of A.5 was accepted")
	}
}

func TestJWTTimesIssuerAndAudienceAreChecked(t *testing.T) {
	t.Parallel()
	claim := func(old, replacement string) string { return changedClaims(t, old, replacement) }
	exp := `"exp":1900003600`
	checkClaims(t, []claimsRow{
		{"sound", soundClaims, nil},
		{"expired a second before the leeway ends", claim(exp, `"exp":1899999991`), nil},
		{"expired when the leeway ends", claim(exp, `"exp":1899999990`), errJWTExpired},
		{"expired a second later", claim(exp, `"exp":1899999989`), errJWTExpired},
		{"expired by a fraction", claim(exp, `"exp":1899999990.5`), nil},
		{"no exp", claim(exp+",", ""), errJWTNoExpiry},
		{"exp past 32 bits", claim(exp, `"exp":4294967297`), nil},
		{"exp past 64 bits", claim(exp, `"exp":99999999999999999999`), nil},
		{"exp past a float", claim(exp, `"exp":1e400`), errJWTClaims},
		{"exp negative", claim(exp, `"exp":-1`), errJWTClaims},
		{"exp a string", claim(exp, `"exp":"1900003600"`), errJWTClaims},
		{"exp null", claim(exp, `"exp":null`), errJWTClaims},
		{"exp a list", claim(exp, `"exp":[1900003600]`), errJWTClaims},
		{"nbf within the leeway", claim(`"nbf":1899999000`, `"nbf":1900000010`), nil},
		{"nbf past the leeway", claim(`"nbf":1899999000`, `"nbf":1900000011`), errJWTNotYet},
		{"nbf a string", claim(`"nbf":1899999000`, `"nbf":"1899999000"`), errJWTClaims},
		{"nbf null", claim(`"nbf":1899999000`, `"nbf":null`), nil},
		{"iat in the future", claim(`"iat":1899999000`, `"iat":1900000011`), nil},
		{"iat far in the future", claim(`"iat":1899999000`, `"iat":4294967297`), nil},
		{"iat null", claim(`"iat":1899999000`, `"iat":null`), nil},
		{"iat a string", claim(`"iat":1899999000`, `"iat":"1899999000"`), errJWTClaims},
		{"another issuer", claim("https://issuer.example", "https://issuer.example/"), errJWTIssuer},
		{"no issuer", claim(`"iss":"https://issuer.example",`, ""), errJWTIssuer},
		{"issuer a list", claim(`"https://issuer.example"`, `["https://issuer.example"]`), errJWTIssuer},
		{"audience a string", claim(`["ws","api"]`, `"ws"`), nil},
		{"audience another string", claim(`["ws","api"]`, `"ws "`), errJWTAudience},
		{"audience another list", claim(`["ws","api"]`, `["api"]`), errJWTAudience},
		{"audience an empty list", claim(`["ws","api"]`, `[]`), errJWTAudience},
		{"audience a number", claim(`["ws","api"]`, `7`), errJWTAudience},
		{"no audience", claim(`"aud":["ws","api"],`, ""), errJWTAudience},
	})
}

func TestJWTRequirementsAndUserAreChecked(t *testing.T) {
	t.Parallel()
	claim := func(old, replacement string) string { return changedClaims(t, old, replacement) }
	checkClaims(t, []claimsRow{
		{"scope with the word alone", claim("chat read", "chat"), nil},
		{"scope with the word as a part", claim("chat read", "chatter read"), ErrInsufficient},
		{"scope a list", claim(`"chat read"`, `["read","write"]`), nil},
		{"no scope", claim(`"scope":"chat read",`, ""), ErrInsufficient},
		{"nested list without the value", claim(`"editor"`, `"reader"`), ErrInsufficient},
		{"nested string", claim(`["user","editor"]`, `"editor"`), nil},
		{"nested string with the word", claim(`["user","editor"]`, `"no editor"`), ErrInsufficient},
		{"nested object missing", claim(`"realm_access":`, `"realm":`), ErrInsufficient},
		{"no user", claim(`"sub":"alice",`, ""), nil},
		{"user with a line break", claim(`"alice"`, `"a\r\nX-Admin: 1"`), errJWTUser},
		{"user an object", claim(`"alice"`, `{"id":1}`), errJWTUser},
		{"user null", claim(`"alice"`, `null`), errJWTUser},
		{"a claim twice", claim(`"sub":"alice"`, `"sub":"alice","sub":"admin"`), errJWTClaims},
		{"a claim twice further in", claim(`"roles":`, `"roles":[],"roles":`), errJWTClaims},
		{"not an object", `["sub"]`, errJWTClaims},
		{"nothing", ``, errJWTMalformed},
	})
}

// claimsRow is what a token claims, and what a verifier says to that.
type claimsRow struct {
	name, claims string
	want         error
}

// checkClaims has tokens verified at noon, with a leeway of 10 s.
func checkClaims(t *testing.T, rows []claimsRow) {
	t.Helper()
	leeway := 10 * time.Second
	v := mustVerifier(t, &JWT{
		Keys: []Key{{Key: publicText(t, "HS256")}}, Leeway: &leeway,
		Issuer: []string{"other", "https://issuer.example"}, Audience: []string{"ws"},
		Require: []Requirement{{Claim: "scope", Values: []string{"write", "chat"}}, {Claim: "realm_access.roles", Values: []string{"editor"}}},
	})
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			_, err := v.verify(t.Context(), signJWT(t, "HS256", nil, row.claims), noon)
			if !errors.Is(err, row.want) {
				t.Errorf("got %v, want %v", err, row.want)
			}
		})
	}
}

// changedClaims are sound ones but for one part.
func changedClaims(t *testing.T, old, replacement string) string {
	t.Helper()
	changed := strings.Replace(soundClaims, old, replacement, 1)
	if changed == soundClaims && old != "" {
		t.Fatalf("%s is not in the claims", old)
	}
	return changed
}

func TestJWTSettings(t *testing.T) {
	t.Parallel()
	zero := time.Duration(0)
	key := []Key{{Key: publicText(t, "HS256")}}
	for _, row := range []struct {
		name   string
		config JWT
		claims string
		user   string
		want   error
	}{
		{"no expiry allowed", JWT{AllowNoExpiry: true}, `{"sub":"alice"}`, "alice", nil},
		{"no expiry allowed, and expired", JWT{AllowNoExpiry: true}, `{"sub":"alice","exp":1}`, "", errJWTExpired},
		{"leeway zero", JWT{Leeway: &zero}, `{"exp":1900000000}`, "", errJWTExpired},
		{"user claim", JWT{UserClaim: "email"}, `{"exp":1900000001,"email":"a@b","sub":"x"}`, "a@b", nil},
		{"nested user claim", JWT{UserClaim: "u.id"}, `{"exp":1900000001,"u":{"id":12}}`, "12", nil},
		{"user claim with a dot in its name", JWT{UserClaim: "https://a.example/u"}, `{"exp":1900000001,"https://a.example/u":"x"}`, "x", nil},
		{"require a boolean", JWT{Require: []Requirement{{"verified", []string{"true"}}}}, `{"exp":1900000001,"verified":true}`, "", nil},
		{"require a number", JWT{Require: []Requirement{{"level", []string{"7"}}}}, `{"exp":1900000001,"level":[7]}`, "", nil},
		{"an algorithm that is not listed", JWT{Algorithms: []string{"HS256"}}, "HS512", "", errJWTAlgorithm},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			config := row.config
			config.Keys = key
			algorithm := "HS256"
			if row.claims == "HS512" {
				algorithm = row.claims
			}
			g, err := mustVerifier(t, &config).verify(t.Context(), signJWT(t, algorithm, nil, row.claims), noon)
			if !errors.Is(err, row.want) || err == nil && g.UserID != row.user {
				t.Errorf("got user %q, %v; want %q, %v", g.UserID, err, row.user, row.want)
			}
		})
	}
}

func TestJWTPlaceholdersAreEveryScalarClaim(t *testing.T) {
	t.Parallel()
	token := signJWT(t, "HS256", nil, strings.Replace(soundClaims, `"admin"`, `"evil":"a\r\nX: 1","none":null,"admin"`, 1))
	g, err := verifierOf(t, "HS256").verify(t.Context(), token, noon)
	if err != nil {
		t.Fatal(err)
	}
	got := make(map[string]string)
	g.EachClaim(func(name, value string) { got[name] = value })
	want := map[string]string{
		"iss": "https://issuer.example", "sub": "alice", "exp": "1900003600", "nbf": "1899999000", "iat": "1899999000",
		"jti": "id-1", "scope": "chat read", "email": "alice@example.com", "admin": "true", "level": "7",
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got %v\nwant %v", got, want)
	}
}

func TestVerifyingAllocatesLittleBeyondTheSignature(t *testing.T) {
	for _, algorithm := range []string{"HS256", "RS256", "ES256", "EdDSA"} {
		v := verifierOf(t, algorithm)
		text := signJWT(t, algorithm, map[string]any{"kid": "key-1"}, soundClaims)
		token, err := parseJWT(text)
		if err != nil {
			t.Fatal(err)
		}
		all := testing.AllocsPerRun(50, func() { _, _ = v.verify(t.Context(), text, noon) })
		signature := testing.AllocsPerRun(50, func() { _, _ = token.signedByOne(v.static) })
		if all-signature > 20 {
			t.Errorf("%s: %.0f allocations beyond the %.0f of the signature, want at most 20", algorithm, all-signature, signature)
		}
	}
}

func BenchmarkVerify(b *testing.B) {
	for _, algorithm := range []string{"HS256", "RS256", "ES256", "EdDSA"} {
		keys := []Key{{Key: publicText(b, algorithm)}}
		claims := strings.ReplaceAll(soundClaims, "1899999000", "1600000000")
		text := signJWT(b, algorithm, map[string]any{"kid": "key-1"}, claims)
		b.Run(algorithm, func(b *testing.B) {
			options := testOptions()
			options.JWT = &JWT{
				Keys: keys, Issuer: []string{"https://issuer.example"}, Audience: []string{"ws"},
				Require: []Requirement{{Claim: "scope", Values: []string{"chat"}}},
			}
			v := mustNew(b, options)
			tokens := []string{text}
			b.ReportAllocs()
			for b.Loop() {
				if _, _, err := v.VerifyAny(b.Context(), tokens, time.Now()); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(algorithm+"/signature alone", func(b *testing.B) {
			verify, err := newVerifyKeys(keys[0].Key, nil, resolve)
			if err != nil {
				b.Fatal(err)
			}
			token, err := parseJWT(text)
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				if _, err := token.signedByOne(verify); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
