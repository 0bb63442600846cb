package token

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"maps"
	"math/big"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-jose/go-jose/v4"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
)

// certificateOf is a certificate of the key of an algorithm, in DER.
func certificateOf(tb testing.TB, algorithm string) []byte {
	tb.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "issuer"},
		NotBefore: time.Unix(0, 0), NotAfter: time.Unix(1<<33, 0),
	}
	key := issuerKeys()[algorithm].(crypto.Signer)
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		tb.Fatal(err)
	}
	return der
}

// belowZero gives a certificate a serial number that no parser takes.
func belowZero(tb testing.TB, der []byte) []byte {
	tb.Helper()
	changed := bytes.Replace(der, []byte{0xa0, 3, 2, 1, 2, 2, 1, 1}, []byte{0xa0, 3, 2, 1, 2, 2, 1, 0xff}, 1)
	if _, err := x509.ParseCertificate(changed); err == nil {
		tb.Fatal("the certificate is none that is refused")
	}
	return changed
}

// publicJWK is the JWK of the public key of an algorithm with further members.
func publicJWK(tb testing.TB, algorithm string, more map[string]any) map[string]any {
	tb.Helper()
	text, err := json.Marshal(jose.JSONWebKey{Key: issuerKeys()[algorithm].(crypto.Signer).Public()})
	if err != nil {
		tb.Fatal(err)
	}
	var members map[string]any
	if err := json.Unmarshal(text, &members); err != nil {
		tb.Fatal(err)
	}
	maps.Copy(members, more)
	return members
}

// setOf is the JWK set of these.
func setOf(tb testing.TB, keys ...map[string]any) string {
	tb.Helper()
	text, err := json.Marshal(map[string]any{"keys": keys})
	if err != nil {
		tb.Fatal(err)
	}
	return string(text)
}

func TestJWKIsJudgedByItsKey(t *testing.T) {
	t.Parallel()
	der := certificateOf(t, "RS256")
	b64std := base64.StdEncoding.EncodeToString
	for name, more := range map[string]map[string]any{
		"a certificate":                      {"x5c": []string{b64std(der)}},
		"a serial number below zero":         {"x5c": []string{b64std(belowZero(t, der))}},
		"a certificate in PEM":               {"x5c": []string{string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))}},
		"base64 with line breaks":            {"x5c": []string{b64std(der)[:60] + "\r\n" + b64std(der)[60:]}},
		"a certificate of another key":       {"x5c": []string{b64std(certificateOf(t, "ES256"))}},
		"no certificates":                    {"x5c": []string{}},
		"a text for the chain":               {"x5c": b64std(der)},
		"null":                               {"x5c": nil, "x5t": nil, "x5u": nil, "use": nil, "key_ops": nil, "alg": nil, "kid": nil},
		"a thumbprint of another length":     {"x5t": "aGVsbG8"},
		"a thumbprint in hexadecimal":        {"x5t": strings.Repeat("AB", 20)},
		"a thumbprint that is no base64":     {"x5t#S256": "***"},
		"a thumbprint of another":            {"x5c": []string{b64std(der)}, "x5t": base64.RawURLEncoding.EncodeToString(make([]byte, 20))},
		"an address that is none":            {"x5u": "http://%zz"},
		"members that nobody knows":          {"issuer": "https://issuer.example", "nbf": 1, "exp": "x", "https://a.example/b": []int{1}},
		"a use and operations":               {"use": "sig", "key_ops": []string{"verify"}},
		"operations beside verification":     {"key_ops": []string{"verify", "encrypt"}},
		"an algorithm, and an ID with signs": {"alg": "RS256", "kid": "ключ/+ =1"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			jwk := publicJWK(t, "RS256", more)
			keys, err := keysFromSet([]byte(setOf(t, jwk)))
			if err != nil {
				t.Fatal(err)
			}
			kid, _ := more["kid"].(string)
			token, err := parseJWT(signJWT(t, "RS256", map[string]any{"kid": kid}, soundClaims))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := token.signedByOne(keys); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestCertificateWithAStrangeSerialNumberIsAKey(t *testing.T) {
	t.Parallel()
	for _, algorithm := range []string{"RS256", "ES256", "EdDSA"} {
		der := belowZero(t, certificateOf(t, algorithm))
		text := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
		v := mustVerifier(t, &JWT{Keys: []Key{{Key: text}}})
		if _, err := v.verify(t.Context(), signJWT(t, algorithm, nil, soundClaims), noon); err != nil {
			t.Errorf("%s: %v", algorithm, err)
		}
		for _, damaged := range [][]byte{der[:len(der)-1], append(der, 0), der[10:], nil, []byte("hello")} {
			if key, err := keyOfCertificate(damaged); err == nil {
				t.Errorf("%s: a damaged certificate gives %T", algorithm, key)
			}
		}
	}
}

// Tokens that such a key signs are refused, and nobody would know why.
func TestSigningKeyThatIsLeftOutIsSaidOnce(t *testing.T) {
	t.Parallel()
	ours := publicJWK(t, "ES256", map[string]any{"kid": "ours"})
	curve := map[string]any{"kty": "EC", "crv": "secp256k1", "kid": "koblitz", "use": "sig", "alg": "ES256K", "x": "AA", "y": "AA"}
	foreign := []map[string]any{
		publicJWK(t, "RS256", map[string]any{"kid": "enc", "use": "enc"}),
		publicJWK(t, "RS256", map[string]any{"kid": "oaep", "alg": "RSA-OAEP"}),
		publicJWK(t, "RS256", map[string]any{"kid": "wrap", "key_ops": []string{"wrapKey"}}),
		{"kty": "OKP", "crv": "X25519", "kid": "x25519", "use": "enc", "x": "AA"},
		{"kty": "EC", "crv": "P-256", "kid": "ecdh", "alg": "ECDH-ES+A128KW", "x": "AA", "y": "AA"},
	}
	served := func(keys ...map[string]any) func(*http.Request) (*http.Response, error) {
		body := setOf(t, append(append(keys, foreign...), ours)...)
		return func(r *http.Request) (*http.Response, error) { return respond(200, strings.NewReader(body))(r) }
	}
	secret := map[string]any{"kty": "oct", "k": b64(make([]byte, 64)), "kid": "served"}
	synctest.Test(t, func(t *testing.T) {
		core, logs := observer.New(zapcore.InfoLevel)
		s := &keyServer{answer: served(curve)}
		source := newKeySource("https://issuer.example/keys", &http.Client{Transport: s}, zap.New(core))
		saidOf := func() string {
			<-source.fetch()
			synctest.Wait()
			var said []string
			for _, entry := range logs.TakeAll() {
				said = append(said, fmt.Sprint(entry.ContextMap()["kid"], " ", entry.ContextMap()["place"]))
			}
			return strings.Join(said, " ")
		}
		for i, want := range []string{"koblitz https://issuer.example/keys", "", ""} {
			if said := saidOf(); said != want {
				t.Errorf("fetch %d: said %q, want %q", i+1, said, want)
			}
		}
		s.set(served(curve, secret))
		if said := saidOf(); said != "served https://issuer.example/keys" {
			t.Errorf("of another key: said %q", said)
		}
		s.set(down)
		_ = saidOf()
		s.set(served(curve, secret))
		if said := saidOf(); said != "" {
			t.Errorf("after an outage: said %q", said)
		}
	})
}
