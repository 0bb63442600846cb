package token

import (
	"context"
	"errors"
	"os"
	"regexp"
	"strings"
	"testing"

	"go.uber.org/zap"
)

// placeholders are what the options of tests may hold.
var placeholders = regexp.MustCompile(`\{(env|file)\.([^}]*)\}`)

// resolve is a Resolver.
func resolve(what, configured string) (string, error) {
	var failed error
	text := placeholders.ReplaceAllStringFunc(configured, func(placeholder string) string {
		match := placeholders.FindStringSubmatch(placeholder)
		var value string
		var err error
		if match[1] == "file" {
			value, err = ReadSecretFile(match[2])
		} else if value = os.Getenv(match[2]); value == "" {
			err = errors.New(placeholder + " is not set")
		}
		failed = errors.Join(failed, err)
		return value
	})
	if failed == nil && strings.HasPrefix(configured, "{hush.") {
		failed = errors.New(what + " holds an unknown placeholder")
	}
	return text, failed
}

func filesIn(configured string) []string {
	var names []string
	for _, match := range placeholders.FindAllStringSubmatch(configured, -1) {
		if match[1] == "file" {
			names = append(names, match[2])
		}
	}
	return names
}

// testOptions are options without a token that could be good.
func testOptions() *Options {
	return &Options{Resolve: resolve, FilesIn: filesIn, Logger: zap.NewNop()}
}

// newStaticTokens compiles tokens as New does.
func newStaticTokens(configs []Static) (staticTokens, error) {
	return testOptions().newStaticTokens(configs)
}

// newJWTVerifier compiles what is said of JWTs as New does.
func newJWTVerifier(config *JWT, sets []keySet) (*jwtVerifier, error) {
	return testOptions().newJWTVerifier(config, sets)
}

func mustNew(tb testing.TB, options *Options) *Verifier {
	tb.Helper()
	v, err := New(*options)
	if err != nil {
		tb.Fatal(err)
	}
	return v
}

// fixedKeys is a key set that does not change.
type fixedKeys []*verifyKey

// keys implements keySet.
func (f fixedKeys) keys(context.Context) ([]*verifyKey, error) { return f, nil }

// credentials implements keySet.
func (f fixedKeys) credentials() []string {
	names := make([]string, 0, len(f))
	for _, k := range f {
		names = append(names, k.credential)
	}
	return names
}

// renew implements keySet.
func (fixedKeys) renew(context.Context) bool { return false }
