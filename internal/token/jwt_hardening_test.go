package token

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"
)

var b64 = base64.RawURLEncoding.EncodeToString

func forge(header string, signature []byte) string {
	return b64([]byte(header)) + "." + b64([]byte(soundClaims)) + "." + b64(signature)
}

// signHMAC signs with whatever bytes are given for a secret.
func signHMAC(header string, secret []byte) string {
	signed := b64([]byte(header)) + "." + b64([]byte(soundClaims))
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte(signed))
	return signed + "." + b64(mac.Sum(nil))
}

func TestJWTAttackAlgorithmNone(t *testing.T) {
	t.Parallel()
	for _, algorithm := range []string{"RS256", "HS256", "ES256", "EdDSA"} {
		v := verifierOf(t, algorithm)
		signature := strings.Split(signJWT(t, algorithm, nil, soundClaims), ".")[2]
		for _, header := range []string{
			`{"alg":"none"}`, `{"alg":"None"}`, `{"alg":"NONE"}`, `{"alg":"nOnE"}`, `{"alg":""}`, `{"alg":null}`, `{"alg":["none"]}`,
			`{}`, `{"alg":" none"}`, `{"ALG":"none"}`, `{"typ":"JWT"}`,
		} {
			for _, rest := range []string{"", ".", ".AA", "." + signature} {
				token := b64([]byte(header)) + "." + b64([]byte(soundClaims)) + rest
				if _, err := v.verify(t.Context(), token, noon); err == nil {
					t.Errorf("%s: accepted %s", algorithm, header)
				}
			}
		}
	}
}

func TestJWTAttackPublicKeyAsSecret(t *testing.T) {
	t.Parallel()
	for _, algorithm := range []string{"RS256", "PS256", "ES256", "EdDSA"} {
		v := verifierOf(t, algorithm)
		public := issuerKeys()[algorithm].(crypto.Signer).Public()
		der, err := x509.MarshalPKIXPublicKey(public)
		if err != nil {
			t.Fatal(err)
		}
		jwk, err := json.Marshal(jose.JSONWebKey{Key: public})
		if err != nil {
			t.Fatal(err)
		}
		text := publicPEM(t, public)
		for name, secret := range map[string][]byte{
			"PEM": []byte(text), "PEM without the last line break": []byte(strings.TrimSpace(text)), "DER": der, "JWK": jwk, "nothing": nil,
		} {
			if _, err := v.verify(t.Context(), signHMAC(`{"alg":"HS256"}`, secret), noon); err == nil {
				t.Errorf("%s: accepted a token signed with the %s for a secret", algorithm, name)
			}
		}
		if _, err := newVerifyKeys(text, []string{"HS256"}, resolve); err == nil {
			t.Errorf("%s: the PEM loads for HS256", algorithm)
		}
	}
}

func TestJWTAttackKeyFromTheToken(t *testing.T) {
	t.Parallel()
	mine, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	v := mustVerifier(t, &JWT{Keys: []Key{{Key: publicText(t, "RS256")}}})
	for name, header := range map[string]map[string]any{
		"jwk": {"jwk": jose.JSONWebKey{Key: &mine.PublicKey}},
		"jku": {"jku": "http://127.0.0.1:1/keys"},
		"x5u": {"x5u": "http://127.0.0.1:1/cert"},
		"x5c": {"x5c": []string{"MIIB"}},
		"kid": {"kid": "../../../../dev/null"},
	} {
		if _, err := v.verify(t.Context(), signJWTWith(t, mine, "RS256", header, soundClaims), noon); !errors.Is(err, errJWTSignature) {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := v.verify(t.Context(), signJWT(t, "RS256", header, soundClaims), noon); err != nil {
			t.Errorf("%s in a good token is not ignored: %v", name, err)
		}
	}
}

func TestJWTAttackWrongKeyWithTheSameKid(t *testing.T) {
	t.Parallel()
	public := issuerKeys()["ES256"].(crypto.Signer).Public()
	jwk, err := json.Marshal(jose.JSONWebKey{Key: public, KeyID: "one"})
	if err != nil {
		t.Fatal(err)
	}
	v := mustVerifier(t, &JWT{Keys: []Key{{Key: string(jwk)}}})
	mine, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		key  any
		kid  string
		want error
	}{
		{issuerKeys()["ES256"], "one", nil},
		{mine, "one", errJWTSignature},
		{issuerKeys()["ES256"], "two", errJWTKey},
		{issuerKeys()["ES256"], "ONE", errJWTKey},
	} {
		_, err := v.verify(t.Context(), signJWTWith(t, row.key, "ES256", map[string]any{"kid": row.kid}, soundClaims), noon)
		if !errors.Is(err, row.want) {
			t.Errorf("kid %s: %v, want %v", row.kid, err, row.want)
		}
	}
}

func TestJWTAttackHeaders(t *testing.T) {
	t.Parallel()
	secret := []byte(publicText(t, "HS256"))
	v := verifierOf(t, "HS256")
	for name, row := range map[string]struct {
		header string
		want   error
	}{
		"sound":                  {`{"alg":"HS256"}`, nil},
		"unknown crit":           {`{"alg":"HS256","crit":["exp"],"exp":1}`, errJWTCritical},
		"empty crit":             {`{"alg":"HS256","crit":[]}`, errJWTCritical},
		"null crit":              {`{"alg":"HS256","crit":null}`, errJWTCritical},
		"b64":                    {`{"alg":"HS256","b64":false,"crit":["b64"]}`, errJWTCritical},
		"alg twice":              {`{"alg":"HS256","alg":"none"}`, errJWTHeader},
		"alg twice, escaped":     {`{"alg":"HS256","\u0061lg":"none"}`, errJWTHeader},
		"kid twice":              {`{"alg":"HS256","kid":"a","kid":"b"}`, errJWTHeader},
		"kid null":               {`{"alg":"HS256","kid":null}`, nil},
		"kid a number":           {`{"alg":"HS256","kid":1}`, errJWTHeader},
		"kid an object":          {`{"alg":"HS256","kid":{"$ne":1}}`, errJWTHeader},
		"not an object":          {`"HS256"`, errJWTHeader},
		"something behind it":    {`{"alg":"HS256"}{}`, errJWTHeader},
		"another algorithm":      {`{"alg":"HS384"}`, errJWTSignature},
		"an unknown algorithm":   {`{"alg":"HS1"}`, errJWTAlgorithm},
		"an encryption":          {`{"alg":"dir","enc":"A128GCM"}`, errJWTAlgorithm},
		"deep nesting":           {`{"alg":"HS256","x":` + strings.Repeat("[", 5000) + strings.Repeat("]", 5000) + `}`, errJWTHeader},
		"text that is not UTF-8": {"{\"alg\":\"HS256\",\"kid\":\"\xff\"}", errJWTHeader},
	} {
		if _, err := v.verify(t.Context(), signHMAC(row.header, secret), noon); !errors.Is(err, row.want) {
			t.Errorf("%s: %v, want %v", name, err, row.want)
		}
	}
}

func TestJWTAttackSignatures(t *testing.T) {
	t.Parallel()
	key := issuerKeys()["ES256"].(*ecdsa.PrivateKey)
	signed := b64([]byte(`{"alg":"ES256"}`)) + "." + b64([]byte(soundClaims))
	hash := sha256.Sum256([]byte(signed))
	der, err := ecdsa.SignASN1(rand.Reader, key, hash[:])
	if err != nil {
		t.Fatal(err)
	}
	order := elliptic.P256().Params().N.FillBytes(make([]byte, 32))
	over := new(big.Int).Add(elliptic.P256().Params().N, big.NewInt(1)).FillBytes(make([]byte, 32))
	v := verifierOf(t, "ES256")
	for name, signature := range map[string][]byte{
		"DER": der, "all zero": make([]byte, 64), "the order of the group": append(order, order...),
		"past the order": append(over, over...), "one byte": {0}, "too short": make([]byte, 63), "too long": make([]byte, 65),
	} {
		if _, err := v.verify(t.Context(), signed+"."+b64(signature), noon); !errors.Is(err, errJWTSignature) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, token := range map[string]string{
		"no signature": signed + ".", "no third part": signed, "five parts": signed + ".AA.AA.AA", "empty": "", "dots": "..",
		"a megabyte": signed + "." + strings.Repeat("A", 1<<20),
	} {
		if _, err := v.verify(t.Context(), token, noon); !errors.Is(err, errJWTMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestJWTErrorsShowNothingOfTheToken(t *testing.T) {
	t.Parallel()
	v := mustVerifier(t, &JWT{Keys: []Key{{Key: publicText(t, "HS256")}}, Audience: []string{"x"}})
	const hush = "hush-hush"
	for _, token := range []string{
		hush, signJWT(t, "HS256", map[string]any{"kid": hush}, `{"sub":"`+hush+`","exp":1}`),
		signJWT(t, "HS256", nil, `{"sub":"`+hush+`","exp":1900003600,"aud":"`+hush+`"}`), forge(`{"alg":"`+hush+`"}`, []byte(hush)),
		signHMAC(`{"alg":"HS256","kid":"`+hush+`"}`, []byte(hush)),
	} {
		if _, err := v.verify(t.Context(), token, noon); err == nil || strings.Contains(fmt.Sprintf("%+v", err), hush) {
			t.Errorf("error %v", err)
		}
	}
}

func TestJWTKeysThatDoNotLoad(t *testing.T) {
	t.Parallel()
	weak, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	curve, err := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for name, row := range map[string]struct {
		text       string
		algorithms []string
		want       string
	}{
		"weak RSA":                     {publicPEM(t, &weak.PublicKey), nil, "1024 bits"},
		"another curve":                {publicPEM(t, &curve.PublicKey), nil, "P-224"},
		"nothing":                      {"", nil, "is empty"},
		"PEM of something else":        {"-----BEGIN CERTIFICATE REQUEST-----\naHVzaA==\n-----END CERTIFICATE REQUEST-----", nil, "give a PUBLIC KEY"},
		"two keys in one PEM":          {publicText(t, "ES256") + publicText(t, "ES384"), nil, "several keys"},
		"RSA for EC":                   {publicText(t, "RS256"), []string{"ES256"}, "not for an RSA key"},
		"P-256 for ES384":              {publicText(t, "ES256"), []string{"ES384"}, "not for an EC key on P-256"},
		"JWK for encryption":           {`{"kty":"oct","k":"` + b64(make([]byte, 64)) + `","use":"enc"}`, nil, "not for signatures"},
		"JWK for signing alone":        {`{"kty":"oct","k":"` + b64(make([]byte, 64)) + `","key_ops":["sign"]}`, nil, "not for signatures"},
		"JWK with alg none":            {`{"kty":"oct","k":"` + b64(make([]byte, 64)) + `","alg":"none"}`, nil, "none"},
		"JWK with another's algorithm": {`{"kty":"oct","k":"` + b64(make([]byte, 64)) + `","alg":"RS256"}`, nil, "not for a secret"},
		"JWK not on its curve":         {`{"kty":"EC","crv":"P-256","x":"` + b64(make([]byte, 32)) + `","y":"` + b64(make([]byte, 32)) + `"}`, nil, "damaged"},
		"JWK of an unknown type":       {`{"kty":"XYZ"}`, nil, "unknown type"},
		"an empty set":                 {`{"keys":[]}`, nil, "is empty"},
		"unknown placeholder":          {"{hush.hush}", nil, "unknown placeholder"},
		"a variable that is not set":   {"{env.WSGW_NO_SUCH}", nil, "WSGW_NO_SUCH"},
	} {
		_, err := newVerifyKeys(row.text, row.algorithms, resolve)
		if err == nil || !strings.Contains(err.Error(), row.want) || strings.Contains(err.Error(), "hush-hush") {
			t.Errorf("%s: error %v, want %q in it", name, err, row.want)
		}
	}
}

func TestServedKeySetIsTakenWithCare(t *testing.T) {
	t.Parallel()
	good, err := json.Marshal(jose.JSONWebKey{Key: issuerKeys()["ES256"], KeyID: "private, so half of it"})
	if err != nil {
		t.Fatal(err)
	}
	secret := `{"kty":"oct","k":"` + b64(make([]byte, 64)) + `"}`
	keys, err := keysFromSet([]byte(`{"keys":[{"kty":"new"},` + secret + `,5,` + string(good) + `]}`))
	if err != nil || len(keys) != 1 {
		t.Fatalf("got %d keys, %v; want the one that can be used", len(keys), err)
	}
	if _, ok := keys[0].key.(*ecdsa.PublicKey); !ok {
		t.Errorf("kept a %T", keys[0].key)
	}
	for name, text := range map[string]string{
		"a secret alone": `{"keys":[` + secret + `]}`, "garbage": "<html>", "null": "null", "no keys": "{}", "a list": "[]",
		"too many keys": `{"keys":[` + strings.Repeat(string(good)+",", maxSetKeys) + string(good) + `]}`,
	} {
		if keys, err := keysFromSet([]byte(text)); err == nil {
			t.Errorf("%s: took %d keys", name, len(keys))
		}
	}
}

// FuzzJWT holds that nothing is accepted but what the issuer signed, and that
// no error shows the token.
func FuzzJWT(f *testing.F) {
	v := verifierOf(f, "HS256")
	good := signJWT(f, "HS256", nil, soundClaims)
	f.Add(good)
	f.Add(signHMAC(`{"alg":"HS256","crit":["x"]}`, []byte("x")))
	f.Add("a.b.c")
	f.Fuzz(func(t *testing.T, token string) {
		_, err := v.verify(t.Context(), token, noon)
		if (err == nil) != (token == good) {
			t.Fatalf("%q: %v", token, err)
		}
		if err != nil && !errors.Is(err, ErrBadCredential) {
			t.Fatalf("%q: %v is not a bad credential", token, err)
		}
	})
}

// FuzzJWKS holds that every key taken from a set is fit to verify with.
func FuzzJWKS(f *testing.F) {
	for _, algorithm := range []string{"RS256", "ES256", "EdDSA"} {
		jwk, err := json.Marshal(jose.JSONWebKey{Key: issuerKeys()[algorithm].(crypto.Signer).Public(), KeyID: "k"})
		if err != nil {
			f.Fatal(err)
		}
		f.Add([]byte(`{"keys":[` + string(jwk) + `]}`))
	}
	f.Add([]byte(`{"keys":[{"kty":"oct","k":"AAAA"}]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		keys, err := keysFromSet(text)
		if (err == nil) != (len(keys) > 0) {
			t.Fatalf("%d keys and %v", len(keys), err)
		}
		for _, k := range keys {
			if _, secret := k.key.([]byte); secret || len(k.algorithms) == 0 {
				t.Fatalf("%T for %v", k.key, k.algorithms)
			}
			for _, algorithm := range k.algorithms {
				if signingMethods[algorithm].Verify("a.b", []byte("signature"), k.key) == nil {
					t.Fatal("anything is a signature")
				}
			}
		}
	})
}
