package wsgateway

import (
	"testing"
)

// TestServiceIsTheSameHoweverItsURLIsSpelled, so that a reload that spells it in
// another way does not withdraw what it vouches for.
func TestServiceIsTheSameHoweverItsURLIsSpelled(t *testing.T) {
	t.Parallel()
	for name, credential := range map[string]func(string) string{
		"a key set":     func(address string) string { return (&keySource{url: address}).credential() },
		"introspection": func(address string) string { return (&introspector{url: address}).credential() },
	} {
		const one = "https://issuer.example/keys?a=%2f"
		for other, same := range map[string]bool{
			"HTTPS://Issuer.Example:443/keys?a=%2f": true,
			"https://issuer.example/keys?a=%2f#x":   true,
			"https://issuer.example:444/keys?a=%2f": false,
			"http://issuer.example/keys?a=%2f":      false,
			"https://issuer.example/Keys?a=%2f":     false,
			"https://issuer.example/keys?a=/":       false,
			"https://u@issuer.example/keys?a=%2f":   false,
		} {
			if (credential(one) == credential(other)) != same {
				t.Errorf("%s: %s and %s: %s and %s", name, one, other, credential(one), credential(other))
			}
		}
		if credential("http://[::1]") != credential("http://[::1]:80/") {
			t.Errorf("%s: %s", name, credential("http://[::1]"))
		}
	}
}
