package wsgateway

import (
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyserver/caddy/v2"
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
				i, err := newIntrospector(new(Introspection), secretURL, client, zap.New(core))
				if err != nil {
					t.Fatal(err)
				}
				if _, err := i.verify(t.Context(), "token", time.Now()); !errors.Is(err, errUnavailable) {
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
	client, err := newHTTPClient(nil, time.Minute, 0)
	if err != nil {
		t.Fatal(err)
	}
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
			l, err := loadAuth(ctx, config)
			l.release()
			if err == nil || strings.Contains(err.Error(), "hush") {
				t.Errorf("%s: %v", place, err)
			}
		}
	}
}
