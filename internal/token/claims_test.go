package token

import (
	"fmt"
	"testing"

	"github.com/wsgateway/caddy-ws-gateway/internal/strictjson"
)

func mustClaims(t *testing.T, text string) claims {
	t.Helper()
	object, err := strictjson.ParseObject([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return claims{object}
}

// What a name with dots means must not depend on who asks: a requirement, the
// user claim or a placeholder.
func TestDottedNamesAreReadInOneWay(t *testing.T) {
	t.Parallel()
	for _, row := range []struct{ claims, name, want string }{
		{`{"a":{"b":"path"}}`, "a.b", "path"},
		{`{"a.b":"name"}`, "a.b", "name"},
		{`{"a.b":"name","a":{"b":"path"}}`, "a.b", "name"},
		{`{"a":{"b":"path"},"a.b":"name"}`, "a.b", "name"},
		{`{"a":{"b":{"c":"path"},"b.c":"inner name"}}`, "a.b.c", "inner name"},
		{`{"a":{"b.c":"first"},"a.b":{"c":"second"}}`, "a.b.c", "first"},
		{`{"a.b":{"c":"second"},"a":{"b":{"c":"first"}}}`, "a.b.c", "first"},
		{`{"a.b":{"c":"second"},"a":{"x":1}}`, "a.b.c", "second"},
		{`{"a.b":["a list"],"a":{"b":"path"}}`, "a.b", ""},
		{`{"a":{"b":"path"},"a.b":{"x":1}}`, "a.b", ""},
		{`{"a":{"b":"path"},"a.b":null}`, "a.b", ""},
		{`{"a.b":"line\nbreak","a":{"b":"path"}}`, "a.b", ""},
		{`{"a.":"x","a":{"":"y"}}`, "a.", "x"},
		{`{"https://x.example/roles":"r","https://x":{"example/roles":"s"}}`, "https://x.example/roles", "r"},
	} {
		c := mustClaims(t, row.claims)
		placeholder, times := "", 0
		c.each(func(name, value string) {
			if name == row.name {
				placeholder, times = value, times+1
			}
		})
		if placeholder != row.want || times > 1 {
			t.Errorf("%s: the placeholder %s is %q, set %d times, want %q", row.claims, row.name, placeholder, times, row.want)
		}
		user, ok := c.userID(row.name)
		if ok && user != row.want || !ok && row.want != "" {
			t.Errorf("%s: the user of %s is %q, %t, want %q", row.claims, row.name, user, ok, row.want)
		}
		for _, value := range []string{"path", "name", "inner name", "first", "second", "x", "y", "r", "s"} {
			if met := (Requirement{row.name, []string{value}}).met(c); met != (value == row.want) {
				t.Errorf("%s: requiring %s of %s: %t", row.claims, value, row.name, met)
			}
		}
	}
}

func BenchmarkPlaceholdersOfClaims(b *testing.B) {
	for _, text := range []string{soundClaims, `{"sub":"a","https://hasura.io/jwt/claims":{"x-hasura-user-id":"1","x-hasura-default-role":"user"}}`} {
		object, err := strictjson.ParseObject([]byte(text))
		if err != nil {
			b.Fatal(err)
		}
		b.Run(fmt.Sprint(len(object)), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				claims{object}.each(func(string, string) {})
			}
		})
	}
}
