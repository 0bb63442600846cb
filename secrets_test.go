package wsgateway

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
)

// writeFile makes a file for a test and returns its name.
func writeFile(tb testing.TB, name, content string) string {
	tb.Helper()
	if !filepath.IsAbs(name) {
		name = filepath.Join(tb.TempDir(), name)
	}
	if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
		tb.Fatal(err)
	}
	return name
}

// TestErrorsOfSecretFilesSayWhatToDo and show nothing of the secret.
func TestErrorsOfSecretFilesSayWhatToDo(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for content, want := range map[string]string{
		" hush-hush":               "begins with white space",
		"\xff\xfeh\x00u\x00":       "UTF-16",
		"hush-hush\x00\xff\n":      "base64",
		"\n":                       "empty",
		"hush-hush\nand a second":  "control characters",
		strings.Repeat("h", 17000): "longer than",
	} {
		name := writeFile(t, filepath.Join(dir, "secret"), content)
		_, err := newAuthenticator(&Auth{Bearer: []BearerToken{{Token: "{file." + name + "}"}}})
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hush") {
			t.Errorf("%.20q: %v, want one that says %q", content, err, want)
		}
	}
	_, err := newAuthenticator(&Auth{Bearer: []BearerToken{{Token: "{file." + filepath.Join(dir, "none") + "}"}}})
	if err == nil || !strings.Contains(err.Error(), "none} cannot be read: no such file") {
		t.Errorf("a file that is not there: %v", err)
	}
	var failed error
	if text, err := secretReplacer(&failed).ReplaceOrErr("a{file."+writeFile(t, "part", "b\r\n")+"}c", true, true); err != nil || text != "abc" {
		t.Errorf("a part of a text: %q, %v", text, err)
	}
}

func TestErrorsOfWrongPlacesShowNoPassword(t *testing.T) {
	ctx, cancel := caddy.NewContext(caddy.Context{Context: t.Context()})
	t.Cleanup(cancel)
	for _, place := range []string{
		"https:/user:hush-hush@issuer.example/keys", "https//user:hush-hush@issuer.example/keys", "user:hush-hush@issuer.example/keys",
		"https://user:hush-hush@/keys", "https://user:hush-hush@%zz/keys", "https://user:hush-hush", "https://user:hush/hush@issuer.example",
		"ftp://user:hush-hush@issuer.example", "http://user:hush-hush@issuer.example/keys", "issuer.example/keys?key=hush-hush",
	} {
		t.Setenv("WSGATEWAY_TEST_PLACE", place)
		for _, config := range []*Auth{
			{JWT: &JWT{JWKS: []KeySetPlace{{Place: place}}}}, {JWT: &JWT{JWKS: []KeySetPlace{{Place: "{env.WSGATEWAY_TEST_PLACE}"}}}},
			{Introspect: &Introspection{URL: place}}, {Introspect: &Introspection{URL: "{env.WSGATEWAY_TEST_PLACE}"}},
		} {
			l, err := loadAuth(ctx, config, isRevokedAnywhere)
			l.release()
			if err == nil || strings.Contains(err.Error(), "hush") {
				t.Errorf("%s: %v", place, err)
			}
		}
	}
}
