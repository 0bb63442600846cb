package wsgateway

import (
	"errors"
	"fmt"
	"io/fs"
	"regexp"
	"strings"

	"github.com/caddyserver/caddy/v2"

	"github.com/wsgateway/caddy-ws-gateway/internal/token"
)

// resolveSecret replaces the placeholders in a configured token or key. Caddy's own
// errors are not passed on, because text that looks like a placeholder may be part of
// the secret; only the name of a variable or file is shown.
func resolveSecret(what, configured string) (string, error) {
	if !strings.Contains(configured, "{") {
		return configured, nil
	}
	var failed error
	secret, err := secretReplacer(&failed).ReplaceOrErr(configured, true, true)
	switch {
	case err == nil:
		return secret, nil
	case failed != nil:
		return "", failed
	}
	_, placeholder, _ := strings.Cut(err.Error(), "{")
	placeholder, _, _ = strings.Cut(placeholder, "}")
	switch {
	case strings.HasPrefix(placeholder, "env."):
		return "", fmt.Errorf("the environment variable of {%s} is not set, or empty", placeholder)
	default:
		return "", fmt.Errorf("%s holds an unknown placeholder: use {env.*} or {file.*}, or write a literal brace as \\{", what)
	}
}

const filePlaceholder = "file."

var filePlaceholders = regexp.MustCompile(`\{` + regexp.QuoteMeta(filePlaceholder) + `([^}]*)\}`)

// filesIn names the files that the placeholders in a configured text read.
func filesIn(configured string) []string {
	matches := filePlaceholders.FindAllStringSubmatch(configured, -1)
	names := make([]string, 0, len(matches))
	for _, match := range matches {
		names = append(names, match[1])
	}
	return names
}

// secretReplacer replaces placeholders as Caddy's replacer does, except that it reads
// files as secrets. The first error with a file goes to failed.
func secretReplacer(failed *error) *caddy.Replacer {
	others := caddy.NewReplacer().WithoutFile()
	repl := caddy.NewEmptyReplacer()
	repl.Map(func(name string) (any, bool) {
		file, ok := strings.CutPrefix(name, filePlaceholder)
		if !ok {
			return others.Get(name)
		}
		text, err := token.ReadSecretFile(file)
		if err != nil {
			if *failed == nil {
				*failed = fmt.Errorf("the file of {%s} %w", name, withoutName(err))
			}
			return nil, true
		}
		return text, true
	})
	return repl
}

// withoutName strips the name of the file from an error of token.ReadSecretFile, for a
// text that names the file already.
func withoutName(err error) error {
	if at, ok := errors.AsType[*fs.PathError](err); ok {
		return fmt.Errorf("cannot be read: %w", at.Err)
	}
	return err
}
