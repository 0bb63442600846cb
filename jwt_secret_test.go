package wsgateway

import "testing"

func TestShortSecretsLoadAndAreKnownAsGuessable(t *testing.T) {
	t.Parallel()
	for secret, guessable := range map[string]bool{
		"hush":                             true,
		"0123456789abcdef0123456789abcde":  true,
		"0123456789abcdef0123456789abcdef": false,
	} {
		v, err := newJWTVerifier(&JWT{Keys: []JWTKey{{Key: secret}}}, nil)
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
		if _, err := newVerifyKeys(key, nil); err == nil {
			t.Errorf("%q is accepted for a secret", key)
		}
	}
}
