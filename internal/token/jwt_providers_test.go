package token

import (
	"crypto/sha1" // #nosec G505 -- RFC 7517 asks for it
	"crypto/sha256"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"
)

// foreignKeys are of kinds and for uses that are not ours. Every set has them.
func foreignKeys(tb testing.TB) []map[string]any {
	tb.Helper()
	return []map[string]any{
		publicJWK(tb, "RS256", map[string]any{"kid": "enc-1", "use": "enc", "alg": "RSA-OAEP"}),
		{"kty": "OKP", "crv": "X25519", "use": "enc", "kid": "x25519", "x": "hSDwCYkwp1R0i33ctD73Wg2_Og0mOBr066SpjqqbTmo"},
		{"kty": "OKP", "crv": "Ed448", "use": "sig", "kid": "ed448", "x": "X9dEm1m0Yf0s54fsYWrUah2hNCSFpw4fig6nXYDpZ3jt8SR2m0bHBhvWeD3x5Q9s0foavq_oJWGA"},
		{"kty": "EC", "crv": "secp256k1", "use": "sig", "alg": "ES256K", "kid": "koblitz", "x": "AA", "y": "AA"},
		{"kty": "AKP", "alg": "ML-DSA-65", "use": "sig", "kid": "lattice", "pub": "AA"},
		{"kty": "EC", "crv": "P-256", "key_ops": []string{"deriveKey"}, "kid": "derive", "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU", "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"},
	}
}

// withCertificate is the JWK as issuers publish it that also have a certificate of
// the key.
func withCertificate(tb testing.TB, algorithm string, more map[string]any) map[string]any {
	tb.Helper()
	der := certificateOf(tb, algorithm)
	thumb1, thumb256 := sha1.Sum(der), sha256.Sum256(der) // #nosec G401 -- as above
	members := map[string]any{
		"x5c": []string{base64.StdEncoding.EncodeToString(der)}, "x5t": b64(thumb1[:]), "x5t#S256": b64(thumb256[:]),
	}
	maps.Copy(members, more)
	return publicJWK(tb, algorithm, members)
}

// provider is how one of the identity providers issues tokens: the keys that it
// publishes, what a gateway in front of an application of its would be told, and
// what its tokens say.
type provider struct {
	name      string
	algorithm string
	config    JWT
	key       map[string]any // what it publishes; nil where there is a secret
	header    map[string]any
	claims    string
	user      string
	others    map[string]string // placeholders
	refused   map[string]string // by an error, what is replaced in the claims, as "old → new"
}

const lifeOfNoon = `"iat":1899999990,"exp":1900003590`

func providers(tb testing.TB) []provider {
	tb.Helper()
	return slices.Concat(corporateProviders(tb), cloudProviders(tb), otherProviders(tb))
}

// corporateProviders sign in the users of companies and of their applications.
func corporateProviders(tb testing.TB) []provider {
	tb.Helper()
	return []provider{
		{
			name: "Auth0", algorithm: "RS256",
			config: JWT{
				Issuer: []string{"https://tenant.eu.auth0.com/"}, Audience: []string{"https://chat.example"},
				Require: []Requirement{{"permissions", []string{"ws:connect"}}, {"scope", []string{"chat"}}},
			},
			key:    withCertificate(tb, "RS256", map[string]any{"kid": "NjVBRjY5MDlCMUIwNzU4RTA2QzZFMDQ4QzQ2MDAyQjVDNjk1RTM2Qg", "use": "sig", "alg": "RS256"}),
			header: map[string]any{"kid": "NjVBRjY5MDlCMUIwNzU4RTA2QzZFMDQ4QzQ2MDAyQjVDNjk1RTM2Qg"},
			claims: `{"https://chat.example/roles":["admin"],"https://chat.example/tenant":"acme","iss":"https://tenant.eu.auth0.com/","sub":"auth0|64f0c1b2","aud":["https://chat.example","https://tenant.eu.auth0.com/userinfo"],` + lifeOfNoon + `,"azp":"AbCd","scope":"openid profile chat","permissions":["ws:connect"]}`,
			user:   "auth0|64f0c1b2", others: map[string]string{"https://chat.example/tenant": "acme", "azp": "AbCd"},
			refused: map[string]string{
				errJWTAudience.Error():  `"https://chat.example","https://tenant → "https://api.example","https://tenant`,
				errJWTIssuer.Error():    `auth0.com/","sub" → auth0.com","sub"`,
				ErrInsufficient.Error(): `["ws:connect"] → []`,
			},
		},
		{
			name: "Keycloak", algorithm: "RS256",
			config: JWT{
				Issuer: []string{"https://sso.example/realms/demo"}, Audience: []string{"chat-app"}, UserClaim: "preferred_username",
				Require: []Requirement{{"realm_access.roles", []string{"user"}}, {"resource_access.chat-app.roles", []string{"connect"}}},
			},
			key:    withCertificate(tb, "RS256", map[string]any{"kid": "FJ86GcF3jTbNLOco4NvZkUCIUmfYCqoqtOQeMfbhNlE", "use": "sig", "alg": "RS256"}),
			header: map[string]any{"kid": "FJ86GcF3jTbNLOco4NvZkUCIUmfYCqoqtOQeMfbhNlE"},
			claims: `{` + lifeOfNoon + `,"auth_time":1899999980,"jti":"onrtac:1d2","iss":"https://sso.example/realms/demo","aud":["chat-app","account"],"sub":"f:8f:1","typ":"Bearer","azp":"spa","sid":"s","acr":"1","allowed-origins":["https://chat.example"],"realm_access":{"roles":["offline_access","user"]},"resource_access":{"chat-app":{"roles":["connect"]},"account":{"roles":["view-profile"]}},"scope":"email profile","email_verified":false,"preferred_username":"alice","address":{"formatted":"1 Road"}}`,
			user:   "alice", others: map[string]string{"email_verified": "false", "address.formatted": "1 Road", "sub": "f:8f:1"},
			refused: map[string]string{
				ErrInsufficient.Error(): `"roles":["connect"] → "roles":["view"]`,
				errJWTAudience.Error():  `["chat-app","account"] → "account"`,
			},
		},
		{
			name: "Entra ID", algorithm: "RS256",
			config: JWT{
				Issuer:   []string{"https://login.microsoftonline.com/9188040d-6c67-4c5b-b112-36a304b66dad/v2.0", "https://sts.windows.net/9188040d-6c67-4c5b-b112-36a304b66dad/"},
				Audience: []string{"6e74172b-be56-4843-9ff4-e66a39bb12e3", "api://6e74172b-be56-4843-9ff4-e66a39bb12e3"}, UserClaim: "oid",
				Require: []Requirement{{"scp", []string{"access_as_user"}}, {"tid", []string{"9188040d-6c67-4c5b-b112-36a304b66dad"}}},
			},
			// No alg, and members of its own.
			key:    withCertificate(tb, "RS256", map[string]any{"kid": "Mc7l3IzqRd", "use": "sig", "issuer": "https://login.microsoftonline.com/{tenantid}/v2.0", "cloud_instance_name": "microsoftonline.com"}),
			header: map[string]any{"kid": "Mc7l3IzqRd", "x5t": "Mc7l3IzqRd"},
			claims: `{"aud":"api://6e74172b-be56-4843-9ff4-e66a39bb12e3","iss":"https://sts.windows.net/9188040d-6c67-4c5b-b112-36a304b66dad/",` + lifeOfNoon + `,"nbf":1899999990,"acr":"1","aio":"AXQ","amr":["pwd","mfa"],"appid":"a","appidacr":"0","ipaddr":"192.0.2.1","name":"Alice Ålund","oid":"690222be-ff1a-4d56-abd1-7e4f7d38e474","rh":"0.A","scp":"access_as_user Files.Read","sub":"HKZpfaHyWadeOouYlitjrI-KffTm222X5rrV3xDqfKQ","tid":"9188040d-6c67-4c5b-b112-36a304b66dad","uti":"f","ver":"1.0","_claim_names":{"groups":"src1"},"_claim_sources":{"src1":{"endpoint":"https://graph.example/g"}}}`,
			user:   "690222be-ff1a-4d56-abd1-7e4f7d38e474", others: map[string]string{"name": "Alice Ålund", "_claim_sources.src1.endpoint": "https://graph.example/g"},
			refused: map[string]string{
				ErrInsufficient.Error(): `access_as_user Files.Read → Files.Read`,
				errJWTAudience.Error():  `api://6e74172b-be56-4843-9ff4-e66a39bb12e3 → 00000003-0000-0000-c000-000000000000`,
				errJWTIssuer.Error():    `sts.windows.net/9188040d-6c67-4c5b-b112-36a304b66dad/ → sts.windows.net/72f988bf-86f1-41af-91ab-2d7cd011db47/`,
			},
		},
	}
}

// cloudProviders come with a cloud, or with a database.
func cloudProviders(tb testing.TB) []provider {
	tb.Helper()
	return []provider{
		{
			name: "Cognito", algorithm: "RS256",
			// An access token has no aud, but the client's ID.
			config: JWT{
				Issuer:    []string{"https://cognito-idp.eu-west-1.amazonaws.com/eu-west-1_abc"},
				UserClaim: "username",
				Require:   []Requirement{{"client_id", []string{"7lhlkkfbfb4q5kpp90urffao"}}, {"token_use", []string{"access"}}, {"cognito:groups", []string{"chat"}}},
			},
			key:    publicJWK(tb, "RS256", map[string]any{"kid": "abcdefghijklmno+/pqrs=", "use": "sig", "alg": "RS256"}),
			header: map[string]any{"kid": "abcdefghijklmno+/pqrs="},
			claims: `{"sub":"a1b2","cognito:groups":["chat","admin"],"iss":"https://cognito-idp.eu-west-1.amazonaws.com/eu-west-1_abc","version":2,"client_id":"7lhlkkfbfb4q5kpp90urffao","origin_jti":"o","token_use":"access","scope":"aws.cognito.signin.user.admin chat/read","auth_time":1899999990,` + lifeOfNoon + `,"jti":"j","username":"alice"}`,
			user:   "alice", others: map[string]string{"version": "2", "jti": "j"},
			refused: map[string]string{ErrInsufficient.Error(): `"token_use":"access" → "token_use":"id"`},
		},
		{
			name: "Firebase", algorithm: "RS256",
			config: JWT{
				Issuer: []string{"https://securetoken.google.com/chat-project"}, Audience: []string{"chat-project"}, UserClaim: "user_id",
				Require: []Requirement{{"firebase.sign_in_provider", []string{"google.com", "password"}}, {"firebase.identities.google.com", []string{"1234567890"}}},
			},
			key:    publicJWK(tb, "RS256", map[string]any{"kid": "a96ad8a3", "use": "sig", "alg": "RS256"}),
			header: map[string]any{"kid": "a96ad8a3"},
			claims: `{"name":"Alice","level":3,"iss":"https://securetoken.google.com/chat-project","aud":"chat-project","auth_time":1899999990,"user_id":"mFG7","sub":"mFG7",` + lifeOfNoon + `,"email":"a@example.com","email_verified":true,"firebase":{"identities":{"google.com":["1234567890"],"email":["a@example.com"]},"sign_in_provider":"google.com","tenant":"t-1"}}`,
			user:   "mFG7", others: map[string]string{"firebase.sign_in_provider": "google.com", "firebase.tenant": "t-1", "level": "3", "email_verified": "true"},
			refused: map[string]string{
				ErrInsufficient.Error(): `"sign_in_provider":"google.com" → "sign_in_provider":"anonymous"`,
				errJWTAudience.Error():  `"aud":"chat-project" → "aud":"other-project"`,
			},
		},
		{
			name: "Supabase", algorithm: "ES256",
			config: JWT{
				Issuer: []string{"https://ref.supabase.co/auth/v1"}, Audience: []string{"authenticated"},
				Require: []Requirement{{"role", []string{"authenticated"}}, {"app_metadata.providers", []string{"email", "github"}}, {"is_anonymous", []string{"false"}}},
			},
			key:    publicJWK(tb, "ES256", map[string]any{"kid": "c1b2a3", "use": "sig", "alg": "ES256", "key_ops": []string{"verify"}, "ext": true}),
			header: map[string]any{"kid": "c1b2a3"},
			claims: `{"aal":"aal1","amr":[{"method":"password","timestamp":1899999990}],"app_metadata":{"provider":"email","providers":["email"]},"aud":"authenticated","email":"a@example.com",` + lifeOfNoon + `,"is_anonymous":false,"iss":"https://ref.supabase.co/auth/v1","phone":"","role":"authenticated","session_id":"s","sub":"11111111-2222-3333-4444-555555555555","user_metadata":{"email_verified":true,"seats":12}}`,
			user:   "11111111-2222-3333-4444-555555555555", others: map[string]string{"user_metadata.seats": "12", "app_metadata.provider": "email", "phone": ""},
			refused: map[string]string{ErrInsufficient.Error(): `"is_anonymous":false → "is_anonymous":true`},
		},
		{
			name: "Supabase with its old secret", algorithm: "HS256",
			config: JWT{Audience: []string{"authenticated"}},
			header: map[string]any{"kid": "Lq/abc+"},
			claims: `{"aud":"authenticated",` + lifeOfNoon + `,"sub":"11111111-2222-3333-4444-555555555555","role":"authenticated","app_metadata":{"provider":"email"}}`,
			user:   "11111111-2222-3333-4444-555555555555",
		},
	}
}

// otherProviders are those that are in no group.
func otherProviders(tb testing.TB) []provider {
	tb.Helper()
	return []provider{
		{
			name: "Okta", algorithm: "RS256",
			config: JWT{
				Issuer: []string{"https://dev-1.okta.com/oauth2/default"}, Audience: []string{"api://default"}, UserClaim: "uid",
				Require: []Requirement{{"scp", []string{"chat"}}, {"groups", []string{"Everyone"}}},
			},
			key:    publicJWK(tb, "RS256", map[string]any{"kid": "g1-K2o", "use": "sig", "alg": "RS256"}),
			header: map[string]any{"kid": "g1-K2o", "typ": "application/okta-internal-at+jwt"},
			claims: `{"ver":1,"jti":"AT.0mP4JKAZX1iACIT4vbEDF7LpvDVjxypPMf0D7uX39RE","iss":"https://dev-1.okta.com/oauth2/default","aud":"api://default",` + lifeOfNoon + `,"cid":"0oa1","uid":"00u1","scp":["openid","chat"],"auth_time":1899999990,"sub":"alice@example.com","groups":["Everyone"]}`,
			user:   "00u1", others: map[string]string{"ver": "1", "sub": "alice@example.com"},
			refused: map[string]string{ErrInsufficient.Error(): `["openid","chat"] → "openid chatter"`},
		},
		{
			name: "an issuer of numbers and nulls", algorithm: "EdDSA",
			config: JWT{UserClaim: "user.id", Require: []Requirement{{"level", []string{"12345678901234567890"}}}},
			key:    publicJWK(tb, "EdDSA", map[string]any{"use": "sig"}),
			header: map[string]any{"kid": nil},
			claims: `{"user":{"id":42,"name":null},"level":12345678901234567890,"share":0.5,"exp":1900003590.25,"nbf":null,"iat":1900000600,"aud":null}`,
			user:   "42", others: map[string]string{"level": "12345678901234567890", "share": "0.5", "exp": "1900003590.25"},
			refused: map[string]string{ErrInsufficient.Error(): `12345678901234567890 → 12345678901234567891`},
		},
	}
}

func TestTokensAndKeySetsOfIdentityProviders(t *testing.T) {
	t.Parallel()
	for _, p := range providers(t) {
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			v := verifierOfProvider(t, p)
			g, err := v.verify(t.Context(), signJWT(t, p.algorithm, p.header, p.claims), noon)
			if err != nil {
				t.Fatal(err)
			}
			if g.UserID != p.user {
				t.Errorf("the user is %q, want %q", g.UserID, p.user)
			}
			placeholders := make(map[string]string)
			g.EachClaim(func(name, value string) { placeholders[name] = value })
			for name, want := range p.others {
				if got, set := placeholders[name]; got != want || !set {
					t.Errorf("the placeholder %s is %q, want %q", name, got, want)
				}
			}
			for reason, change := range p.refused {
				old, replacement, _ := strings.Cut(change, " → ")
				changed := strings.Replace(p.claims, old, replacement, 1)
				if changed == p.claims {
					t.Fatalf("%s is not in the claims", old)
				}
				if _, err := v.verify(t.Context(), signJWT(t, p.algorithm, p.header, changed), noon); err == nil || err.Error() != reason {
					t.Errorf("with %s: %v, want %s", replacement, err, reason)
				}
			}
			if _, err := v.verify(t.Context(), signJWT(t, "PS384", p.header, p.claims), noon); err == nil {
				t.Error("accepted with another algorithm")
			}
		})
	}
}

// verifierOfProvider knows its key set, or its secret.
func verifierOfProvider(t *testing.T, p provider) *jwtVerifier {
	t.Helper()
	config := p.config
	if p.key == nil {
		config.Keys = []Key{{Key: publicText(t, p.algorithm), Algorithms: []string{p.algorithm}}}
		return mustVerifier(t, &config)
	}
	config.Algorithms = []string{p.algorithm}
	keys, err := keysFromSet([]byte(setOf(t, append(foreignKeys(t), p.key)...)))
	if err != nil || len(keys) != 1 {
		t.Fatalf("%d keys, %v", len(keys), err)
	}
	return mustVerifier(t, &config, fixedKeys(keys))
}

// Certificates come out of consoles and files in many dresses.
func TestCertificatesAsPeopleCopyThem(t *testing.T) {
	t.Parallel()
	der := certificateOf(t, "RS256")
	text := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	other := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificateOf(t, "ES256")}))
	for name, dressed := range map[string]string{
		"CRLF":                   strings.ReplaceAll(text, "\n", "\r\n"),
		"line breaks at the end": strings.ReplaceAll(text, "\n", "\r\n") + "\r\n\r\n",
		"indented by tabs":       "\t\t\t" + strings.ReplaceAll(text, "\n", "\n\t\t\t"),
		"indented, with CRLF":    "    " + strings.ReplaceAll(text, "\n", "\r\n    "),
		"blanks behind lines":    strings.ReplaceAll(text, "\n", "  \n"),
		"no line break at last":  strings.TrimSpace(text),
		"with its chain":         text + other,
		"what openssl says":      "Bag Attributes\r\n    localKeyID: 01\r\nsubject=CN = issuer\r\n" + strings.ReplaceAll(text, "\n", "\r\n"),
	} {
		v, err := newJWTVerifier(&JWT{Keys: []Key{{Key: dressed}}}, nil)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if _, err := v.verify(t.Context(), signJWT(t, "RS256", nil, soundClaims), noon); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := v.verify(t.Context(), signJWT(t, "ES256", nil, soundClaims), noon); !errors.Is(err, errJWTKey) {
			t.Errorf("%s: a key of the chain is taken: %v", name, err)
		}
	}
	zero := time.Duration(0)
	if _, err := newJWTVerifier(&JWT{Keys: []Key{{Key: strings.Replace(text, "MII", "MI!", 1)}}, Leeway: &zero}, nil); err == nil {
		t.Error("a damaged one is accepted")
	}
}
