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
