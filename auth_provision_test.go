package wsgateway

import (
	"context"
	"encoding/json"
	"testing"

	"github.com/caddyserver/caddy/v2"
)

// TestKeySetAtAURLIsOnePerTrust and is given back by release, however many
// configurations name it.
func TestKeySetAtAURLIsOnePerTrust(t *testing.T) {
	t.Parallel()
	const place = "https://127.0.0.1:1/keys-one-per-trust"
	load := func(trust string) *loadedAuth {
		t.Helper()
		ctx, cancel := caddy.NewContext(caddy.Context{Context: context.Background()})
		t.Cleanup(cancel)
		config := &Auth{JWT: &JWT{JWKS: []KeySetPlace{{Place: place}}}}
		if trust != "" {
			config.JWT.CARaw = json.RawMessage(trust)
		}
		l, err := loadAuth(ctx, config, isRevokedAnywhere)
		t.Cleanup(l.release)
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	const file = `{"provider":"file","pem_files":["testdata/ca.pem"]}`
	one, two, other := load(""), load(""), load(file)
	for trust, want := range map[string]int{"": 2, file: 1} {
		if n, _ := keySources.References(place + "\x00" + trust); n != want {
			t.Errorf("%d configurations hold the set with the trust %q, want %d", n, trust, want)
		}
	}
	if a, b := one.tokens.Credentials(), other.tokens.Credentials(); len(a) != 1 || len(b) != 1 || a[0] != b[0] {
		t.Errorf("credentials are %q and %q, want the same, of the set", a, b)
	}
	for _, l := range []*loadedAuth{one, two, other} {
		l.release()
		l.release()
	}
	for _, trust := range []string{"", file} {
		if n, held := keySources.References(place + "\x00" + trust); held {
			t.Errorf("%d configurations hold the set with the trust %q after all were released", n, trust)
		}
	}
}
