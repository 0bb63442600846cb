package token

import (
	"encoding/base64"
	"strings"
	"testing"
)

func TestShortSecretsLoadAndAreKnownAsGuessable(t *testing.T) {
	t.Parallel()
	for secret, guessable := range map[string]bool{
		"hush":                             true,
		"0123456789abcdef0123456789abcde":  true,
		"0123456789abcdef0123456789abcdef": false,
	} {
		v, err := newJWTVerifier(&JWT{Keys: []Key{{Key: secret}}}, nil)
		if err != nil {
			t.Fatalf("a secret of %d bytes: %v", len(secret), err)
		}
		if v.guessable() != guessable {
			t.Errorf("a secret of %d bytes: guessable is %t", len(secret), v.guessable())
		}
	}
	if (*jwtVerifier)(nil).guessable() {
		t.Error("no verifier has a secret that can be guessed")
	}
}

func TestNamesOfAlgorithmsAreNoKeys(t *testing.T) {
	t.Setenv("WSGATEWAY_TEST_KEY", "HS256")
	for _, key := range []string{"HS256", "hs512", "RS256", "EdDSA", "eddsa", "none", "None", " HS256 ", "{env.WSGATEWAY_TEST_KEY}"} {
		if _, err := newVerifyKeys(key, nil, resolve); err == nil {
			t.Errorf("%q is accepted for a secret", key)
		}
	}
}

func TestSecretsThatWereHandedOutEncodedAreDecoded(t *testing.T) {
	secret := []byte("{~~~\xff\xfe\xfb?>?>?>?> of 37 bytes, any of them")
	std, url := base64.StdEncoding.EncodeToString(secret), base64.URLEncoding.EncodeToString(secret)
	if !strings.ContainsAny(std, "+/") || !strings.Contains(std, "=") {
		t.Fatalf("%s has nothing special", std)
	}
	t.Setenv("WSGATEWAY_TEST_KEY", std)
	t.Setenv("WSGATEWAY_TEST_WHOLE", "base64url:"+url+"\n")
	token := signJWTWith(t, secret, "HS256", nil, soundClaims)
	for _, key := range []string{
		"base64:" + std, "BASE64:" + strings.TrimRight(std, "="), "base64:" + std[:20] + "\r\n\t " + std[20:] + "\n", "base64: " + std,
		"base64url:" + url, "base64url:" + strings.TrimRight(url, "="), "base64:{env.WSGATEWAY_TEST_KEY}", "{env.WSGATEWAY_TEST_WHOLE}",
	} {
		v := mustVerifier(t, &JWT{Keys: []Key{{Key: key}}})
		if _, err := v.verify(t.Context(), token, noon); err != nil {
			t.Errorf("%q: %v", key, err)
		}
	}
	for _, key := range []string{"base64:", "base64url: ", "base64:" + url, "base64url:" + std, "base64:hush hush!", "base64:A"} {
		if _, err := newVerifyKeys(key, nil, resolve); err == nil || strings.Contains(err.Error(), "hush") {
			t.Errorf("%q: %v", key, err)
		}
	}
	// What is encoded may be a public key, which must not be taken for a secret.
	for name, text := range map[string]string{"PEM": publicText(t, "RS256"), "a JWK": setOf(t, publicJWK(t, "RS256", nil))} {
		v := mustVerifier(t, &JWT{Keys: []Key{{Key: "base64:" + base64.StdEncoding.EncodeToString([]byte(text))}}})
		if _, err := v.verify(t.Context(), signJWT(t, "RS256", nil, soundClaims), noon); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := v.verify(t.Context(), signJWTWith(t, []byte(text), "HS256", nil, soundClaims), noon); err == nil {
			t.Errorf("%s is taken for a secret", name)
		}
	}
	if v := mustVerifier(t, &JWT{Keys: []Key{{Key: "base64:" + base64.StdEncoding.EncodeToString(secret[:31])}}}); !v.guessable() {
		t.Error("31 bytes are not known as guessable")
	}
}
