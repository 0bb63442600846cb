package serverlog

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
)

// byName is a log that takes the entries of one logger, as those with include
// and exclude do.
type byName struct {
	zapcore.Core
	name string
}

func (c byName) With(fields []zapcore.Field) zapcore.Core { return byName{c.Core.With(fields), c.name} }

func (c byName) Check(e zapcore.Entry, ce *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if e.LoggerName != c.name {
		return ce
	}
	return c.Core.Check(e, ce)
}

// holding are carriers that hold the tokens wherever they are.
func holding(tokens ...string) Carriers {
	without := func(text string) string {
		for _, token := range tokens {
			text = strings.NewReplacer(token, "", url.QueryEscape(token), "").Replace(text)
		}
		return text
	}
	return Carriers{
		AppendTokens: func(all []string, _ *http.Request) []string { return append(all, tokens...) },
		Strip: func(r *http.Request) {
			u := *r.URL
			u.RawQuery = without(u.RawQuery)
			r.URL, r.RequestURI = &u, u.RequestURI()
			for name, values := range r.Header {
				r.Header[name] = []string{without(strings.Join(values, ", "))}
			}
		},
	}
}

// TestServerLogsGoWhereTheyWentWithoutTokens to each log what is for it.
func TestServerLogsGoWhereTheyWentWithoutTokens(t *testing.T) {
	t.Parallel()
	all, allSeen := observer.New(zapcore.InfoLevel)
	some, someSeen := observer.New(zapcore.ErrorLevel)
	logger := zap.New(zapcore.NewTee(all, byName{some, "errors"}), zap.AddCaller())
	server := &struct{ errorLogger, accessLogger *zap.Logger }{logger.Named("errors"), logger.Named("access")}
	for _, carriers := range []Carriers{holding("first/token"), holding("second-token", "third-token")} {
		if err := KeepOut(server, carriers); err != nil {
			t.Fatal(err)
		}
	}
	r := httptest.NewRequest("GET", "/ws?a=1&token=first%2Ftoken", nil)
	r.Header = http.Header{
		"X-Key": {"second-token"}, "Sec-Websocket-Protocol": {"chat, bearer, third-token"},
		"Authorization": {"Bearer other"}, "Referer": {"https://x/?token=first%2Ftoken"},
	}
	as := func(logger *zap.Logger, credentials bool) *zap.Logger {
		return logger.WithLazy(zap.Object("request", caddyhttp.LoggableHTTPRequest{Request: r, ShouldLogCredentials: credentials}))
	}
	answer := zap.Object("resp_headers", caddyhttp.LoggableHTTPHeader{
		Header: http.Header{"Location": {"https://login/?back=%2Fws%3Ftoken%3Dfirst%252Ftoken", "/?k=second-token"}},
	})
	as(server.accessLogger, false).Info("handled request", answer)
	as(server.errorLogger, false).With(zap.Int("n", 1)).Error("no upstream", answer)
	as(server.errorLogger, false).Debug("too low")
	for _, entry := range slices.Concat(allSeen.All(), someSeen.All()) {
		text := textOf(t, entry)
		for _, part := range []string{"irst", "second", "third"} {
			if strings.Contains(text, part) {
				t.Errorf("%s is in %s", part, text)
			}
		}
		for _, part := range []string{"a=1", "chat", "Authorization", "REDACTED", "serverlog_test.go", "Location"} {
			if !strings.Contains(text, part) {
				t.Errorf("%s is not in %s", part, text)
			}
		}
	}
	if allSeen.Len() != 2 || someSeen.Len() != 1 {
		t.Errorf("%d and %d lines, want 2 and 1", allSeen.Len(), someSeen.Len())
	}
	as(server.accessLogger, true).Info("with credentials")
	if text := textOf(t, allSeen.All()[2]); !strings.Contains(text, "second-token") {
		t.Errorf("an operator who asks for credentials gets %s", text)
	}
	if r.URL.RawQuery == "a=1" || r.Header.Get("X-Key") == "" {
		t.Error("the request itself was changed")
	}
}

// textOf is a line as a log writes it.
func textOf(t *testing.T, entry observer.LoggedEntry) string {
	t.Helper()
	encoded, err := zapcore.NewJSONEncoder(zap.NewProductionEncoderConfig()).EncodeEntry(entry.Entry, entry.Context)
	if err != nil {
		t.Fatal(err)
	}
	return encoded.String()
}
