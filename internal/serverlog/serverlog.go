// Package serverlog keeps credentials out of the access log and the error log of
// Caddy's server. The server logs requests as they came: it copies a request before
// any handler runs, and no handler can reach the copy.
//
// The package knows Caddy, because the loggers and the requests in their lines are
// Caddy's.
package serverlog

import (
	"errors"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"sync"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/wsgateway/caddy-ws-gateway/internal/caddyinsides"
)

// errServerLoggers tells operators that the server's loggers cannot be reached.
var errServerLoggers = errors.New("this version of Caddy does not let the gateway keep tokens out of the access log and the error log: " +
	"filter both, as README shows under Access logs")

// Carriers are the places of a request in which a handler takes credentials.
type Carriers struct {
	AppendTokens func(tokens []string, r *http.Request) []string // appends the credentials in r
	Strip        func(r *http.Request)                           // removes them from r
}

// KeepOut makes a server leave the credentials in the carriers out of its access log
// and its error log, as long as the server lives. The error is for operators.
func KeepOut(server any, carriers Carriers) error {
	loggers, ok := caddyinsides.Loggers(server)
	if !ok {
		return errServerLoggers
	}
	secret := new(secretPlaces)
	for _, logger := range loggers {
		if core, ok := (*logger).Core().(*discreetCore); ok { // of another handler of this server
			secret = core.secret
		}
	}
	secret.add(carriers)
	for _, logger := range loggers {
		*logger = (*logger).WithOptions(zap.WrapCore(func(core zapcore.Core) zapcore.Core {
			if _, ok := core.(*discreetCore); ok {
				return core
			}
			return &discreetCore{Core: core, secret: secret}
		}))
	}
	return nil
}

// secretPlaces are where requests to a server may have credentials: the carriers
// of all its handlers.
type secretPlaces struct {
	mu   sync.RWMutex
	sets []Carriers
}

func (p *secretPlaces) add(set Carriers) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sets = append(p.sets, set)
}

// shownByCaddy are the fields that Caddy logs without their values.
var shownByCaddy = [...]string{"Authorization", "Cookie", "Proxy-Authorization"}

// clean returns the request without credentials, and the credentials that it had.
func (p *secretPlaces) clean(r *http.Request) (*http.Request, []string) {
	p.mu.RLock()
	defer p.mu.RUnlock()
	var tokens []string
	cleaned := r.WithContext(r.Context())
	cleaned.Header = maps.Clone(r.Header)
	for _, set := range p.sets {
		tokens = set.AppendTokens(tokens, r)
		set.Strip(cleaned)
	}
	for _, name := range shownByCaddy {
		if values, ok := r.Header[name]; ok {
			cleaned.Header[name] = values
		}
	}
	return cleaned, tokens
}

// discreetCore leaves credentials out of the requests that are logged, and out of the
// header of their answers, where a redirect may repeat them. Where Caddy is
// configured to log credentials, they are logged.
type discreetCore struct {
	zapcore.Core
	secret *secretPlaces
	tokens []string // of the request that is logged
}

// With implements zapcore.Core.
func (c *discreetCore) With(fields []zapcore.Field) zapcore.Core {
	tokens := c.tokens
	cleaned := make([]zapcore.Field, len(fields))
	for i, field := range fields {
		if logged, ok := field.Interface.(caddyhttp.LoggableHTTPRequest); ok && !logged.ShouldLogCredentials {
			logged.Request, tokens = c.secret.clean(logged.Request)
			field.Interface = logged
		}
		cleaned[i] = field
	}
	return &discreetCore{Core: c.Core.With(cleaned), secret: c.secret, tokens: tokens}
}

// Check implements zapcore.Core.
func (c *discreetCore) Check(entry zapcore.Entry, checked *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if len(c.tokens) == 0 {
		return c.Core.Check(entry, checked)
	}
	inner := c.Core.Check(entry, nil) // some of the logs may not want it
	if inner == nil {
		return checked
	}
	return checked.AddCore(entry, discreetEntry{c, inner})
}

// discreetEntry writes a line to the logs that inner has checked it for.
type discreetEntry struct {
	*discreetCore
	inner *zapcore.CheckedEntry
}

// Write implements zapcore.Core.
func (e discreetEntry) Write(entry zapcore.Entry, fields []zapcore.Field) error {
	cleaned := make([]zapcore.Field, len(fields))
	for i, field := range fields {
		if logged, ok := field.Interface.(caddyhttp.LoggableHTTPHeader); ok && !logged.ShouldLogCredentials {
			logged.Header = withoutTokens(logged.Header, e.tokens)
			field.Interface = logged
		}
		cleaned[i] = field
	}
	e.inner.Entry = entry
	e.inner.Write(cleaned...)
	return nil
}

// minRepeated is the least length of a token that is looked for in a header; a shorter
// text may stand there by chance.
const minRepeated = 8

// withoutTokens copies a header without the tokens, however they are encoded as
// parts of a URL.
func withoutTokens(header http.Header, tokens []string) http.Header {
	var pairs []string
	for _, token := range tokens {
		if len(token) < minRepeated {
			continue
		}
		once := url.QueryEscape(token)
		for _, form := range [...]string{token, once, url.PathEscape(token), url.QueryEscape(once)} {
			pairs = append(pairs, form, "REDACTED")
		}
	}
	replacer := strings.NewReplacer(pairs...)
	cleaned := header.Clone()
	for _, values := range cleaned {
		for i, value := range values {
			values[i] = replacer.Replace(value)
		}
	}
	return cleaned
}

// Interface guards
var (
	_ zapcore.Core = (*discreetCore)(nil)
	_ zapcore.Core = discreetEntry{}
)
