package token

import (
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
)

// logText is all that was logged, fields and their names included.
func logText(t *testing.T, logs *observer.ObservedLogs) string {
	t.Helper()
	var b strings.Builder
	encoder := zapcore.NewJSONEncoder(zap.NewProductionEncoderConfig())
	for _, entry := range logs.All() {
		line, err := encoder.EncodeEntry(entry.Entry, entry.Context)
		if err != nil {
			t.Fatal(err)
		}
		b.Write(line.Bytes())
	}
	return b.String()
}

func TestLogsShowAURLWithoutPasswordAndQuery(t *testing.T) {
	t.Parallel()
	const secretURL = "https://user:hush-hush@issuer.example/keys?key=hush-hush#hush-hush"
	for name, answer := range map[string]func(*http.Request) (*http.Response, error){
		"down":     down,
		"slow":     slow(time.Hour, down),
		"status":   respond(500, strings.NewReader("hush-hush")),
		"garbage":  respond(200, strings.NewReader("hush-hush")),
		"redirect": respond(302, strings.NewReader("")),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				core, logs := observer.New(zapcore.DebugLevel)
				client := &http.Client{
					Transport: &keyServer{answer: answer}, Timeout: time.Second,
					CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
				}
				source := newKeySource(secretURL, client, zap.New(core))
				<-source.fetch()
				synctest.Wait()
				options := testOptions()
				options.Logger = zap.New(core)
				i, err := options.newIntrospector(&Introspection{URL: secretURL})
				if err != nil {
					t.Fatal(err)
				}
				i.client = client
				if _, err := i.verify(t.Context(), "token", time.Now()); !errors.Is(err, ErrUnavailable) {
					t.Error(err)
				}
				synctest.Wait()
				text := logText(t, logs)
				if strings.Contains(text, "hush") || strings.Contains(text, "user") {
					t.Errorf("logged:\n%s", text)
				}
				if strings.Count(text, `"url":"https://issuer.example/keys"`) != 2 {
					t.Errorf("it is not said which of them:\n%s", text)
				}
				for _, credential := range append(source.credentials(), i.credential()) {
					if strings.Contains(credential, "hush") {
						t.Errorf("a credential is named %s", credential)
					}
				}
			})
		})
	}
}

// A failure to reach a place comes from net/http, which knows the whole URL.
func TestErrorsOfRequestsShowNoPassword(t *testing.T) {
	t.Parallel()
	service := httptest.NewUnstartedServer(http.NotFoundHandler())
	service.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	service.StartTLS()
	t.Cleanup(service.Close)
	client := newHTTPClient(nil, time.Minute, 0)
	for _, address := range []string{
		strings.Replace(service.URL, "https://", "https://user:hush-hush@", 1), // a certificate of nobody's
		strings.Replace(service.URL, "https://", "http://user:hush-hush@", 1),
		"https://user:hush-hush@127.0.0.1:1/?hush-hush",
	} {
		s := newKeySource(address, client, zap.NewNop())
		if _, _, err := s.download(client); err == nil || strings.Contains(err.Error(), "hush") {
			t.Errorf("%s: %v", address, err)
		}
	}
}

// TestServiceIsTheSameHoweverItsURLIsSpelled, so that a reload that spells it in
// another way does not withdraw what it vouches for.
func TestServiceIsTheSameHoweverItsURLIsSpelled(t *testing.T) {
	t.Parallel()
	for name, credential := range map[string]func(string) string{
		"a key set":     func(address string) string { return (&KeySource{url: address}).credential() },
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
