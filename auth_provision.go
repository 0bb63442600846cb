package wsgateway

import (
	"crypto/tls"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddytls"
	"go.uber.org/zap"

	"github.com/wsgateway/caddy-ws-gateway/internal/carrier"
	"github.com/wsgateway/caddy-ws-gateway/internal/serverlog"
)

// loadedAuth is an Auth, compiled, with what its configuration holds of the
// process.
type loadedAuth struct {
	*authenticator

	sources []string  // held in keySources
	files   rotations // what may change without a reload
}

// loadAuth compiles the configuration. What it returns has to be released, also
// together with an error. It does not wait for the network.
func loadAuth(ctx caddy.Context, config *Auth) (*loadedAuth, error) {
	l := new(loadedAuth)
	var parts authParts
	if config.JWT != nil {
		sets, err := l.loadKeySets(ctx, config.JWT)
		if err != nil {
			return l, fmt.Errorf("auth.jwt.%w", err)
		}
		parts.sets = sets
	}
	if config.Introspect != nil {
		service, err := loadIntrospector(ctx, config.Introspect)
		if err != nil {
			return l, fmt.Errorf("auth.introspect: %w", err)
		}
		parts.service = service
	}
	if len(config.ProvidersRaw) > 0 {
		modules, err := ctx.LoadModule(config, "ProvidersRaw")
		if err != nil {
			return l, fmt.Errorf("auth.providers: %w", err)
		}
		byName, _ := modules.(map[string]any)
		if parts.guests, err = newGuests(byName, ctx.Logger()); err != nil {
			return l, fmt.Errorf("auth.providers: %w", err)
		}
	}
	if config.Renew != "" && !strings.HasPrefix(config.Renew, "/") {
		return l, fmt.Errorf("auth.renew: %q is not a path: begin it with a slash", config.Renew)
	}
	var err error
	l.files.followTokens(config.Bearer)
	if config.JWT != nil {
		l.files.followKeys(config.JWT.Keys)
	}
	if l.authenticator, err = assembleAuthenticator(config, parts); err != nil {
		return l, err
	}
	l.current.Load().warnOfSecrets(ctx.Logger(), l.carriers)
	if compiled := l.current.Load().jwt; compiled != nil {
		warnOfLeftOut(ctx.Logger(), "auth.jwt.keys", compiled.leftOut, nil)
	}
	if server, ok := ctx.Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server); ok {
		if err := serverlog.KeepOut(server, serverlog.Carriers{AppendTokens: l.carriers.AppendTokens, Strip: l.carriers.Strip}); err != nil {
			ctx.Logger().Warn(err.Error())
		}
	}
	return l, nil
}

// watch takes files over that change, until the configuration ends. move makes
// other verifiers the ones in force.
func (l *loadedAuth) watch(ctx caddy.Context, move func(*verifiers)) {
	if len(l.files) == 0 {
		return
	}
	logger := ctx.Logger()
	go l.files.watch(ctx, logger, l.current.Load, func(next *verifiers) {
		next.warnOfSecrets(logger, l.carriers)
		move(next)
	})
}

// warnOfSecrets says, whenever they come into force, which of the secrets can be
// guessed, and which no browser can send by the carriers that there are.
func (v *verifiers) warnOfSecrets(logger *zap.Logger, carriers *carrier.Set) {
	if fields := v.static.which(func(t staticToken) bool { return t.short }); len(fields) > 0 {
		logger.Warn("a static token has fewer than 16 bytes: anyone can try to guess it; "+
			"where a {$VAR} in front of it is not set, it is not the token that was meant: use {env.VAR}",
			zap.Strings("fields", fields))
	}
	if fields := v.static.which(func(t staticToken) bool { return !t.plain }); len(fields) > 0 && carriers.PlainSubprotocol() {
		logger.Warn("a static token has characters that no browser can offer as a subprotocol, such as / or =: "+
			"make one in base64url without padding, or in hexadecimal, or set base64url on the subprotocol",
			zap.Strings("fields", fields))
	}
	if v.jwt.guessable() {
		logger.Warn("a secret of auth.jwt has fewer than 32 bytes: whoever has a token of it can try to guess it")
	}
}

func loadIntrospector(ctx caddy.Context, config *Introspection) (*introspector, error) {
	address, err := resolveSecret("url", config.URL)
	if err != nil {
		return nil, err
	}
	if config.Timeout < 0 {
		return nil, fmt.Errorf("timeout: %s is negative", time.Duration(config.Timeout))
	}
	var authorities any
	if config.CARaw != nil {
		if authorities, err = ctx.LoadModule(config, "CARaw"); err != nil {
			return nil, fmt.Errorf("ca: %w", err)
		}
	}
	client, err := newHTTPClient(authorities, orDefault(config.Timeout, defaultIntrospectTimeout), maxIntrospectCalls)
	if err != nil {
		return nil, fmt.Errorf("ca: %w", err)
	}
	return newIntrospector(config, address, client, ctx.Logger())
}

// release gives back what loadAuth took.
func (l *loadedAuth) release() {
	if l == nil {
		return
	}
	for _, key := range l.sources {
		_, _ = keySources.Delete(key)
	}
	l.sources = nil
	if l.authenticator != nil && l.service != nil {
		l.service.client.CloseIdleConnections()
	}
}

// loadKeySets makes the process hold the key sets at URLs.
func (l *loadedAuth) loadKeySets(ctx caddy.Context, config *JWT) ([]keySet, error) {
	trust := string(config.CARaw)
	var authorities any
	if config.CARaw != nil {
		var err error
		if authorities, err = ctx.LoadModule(config, "CARaw"); err != nil {
			return nil, fmt.Errorf("ca: %w", err)
		}
	}
	client, err := newHTTPClient(authorities, jwksTimeout, 0)
	if err != nil {
		return nil, fmt.Errorf("ca: %w", err)
	}
	var sets []keySet
	for i, place := range config.JWKS {
		var err error
		if place.Place, err = resolveSecret("jwks", place.Place); err != nil {
			return nil, fmt.Errorf("jwks[%d]: %w", i, err)
		}
		set, err := l.loadKeySet(ctx, fmt.Sprintf("auth.jwt.jwks[%d]", i), place, trust, client)
		if err != nil {
			return nil, fmt.Errorf("jwks[%d]: %w", i, err)
		}
		sets = append(sets, set)
	}
	return sets, nil
}

func (l *loadedAuth) loadKeySet(ctx caddy.Context, field string, at KeySetPlace, trust string, client *http.Client) (keySet, error) {
	if !strings.Contains(at.Place, "://") {
		set := &fileKeySet{name: at.Place, logger: ctx.Logger()}
		l.files.followSet(field, set)
		return set, set.read()
	}
	if err := checkJWKSURL(at.Place, at.AllowHTTP); err != nil {
		return nil, err
	}
	key := at.Place + "\x00" + trust
	value, found, err := keySources.LoadOrNew(key, func() (caddy.Destructor, error) {
		s := newKeySource(at.Place, client, ctx.Logger())
		go s.run(s.fetch())
		return s, nil
	})
	if err != nil {
		return nil, err
	}
	l.sources = append(l.sources, key)
	source, ok := value.(*keySource)
	if !ok {
		return nil, fmt.Errorf("the pool holds a %T", value)
	}
	if found {
		source.adopt(client, ctx.Logger())
	}
	return source, nil
}

// newHTTPClient makes a client that trusts the authorities of a module, or the
// system's where that is nil, and keeps up to idle connections for the next
// call. It follows no redirects, which could lead anywhere.
func newHTTPClient(authorities any, timeout time.Duration, idle int) (*http.Client, error) {
	transport := &http.Transport{
		Proxy:                  http.ProxyFromEnvironment,
		DisableKeepAlives:      idle == 0,
		MaxIdleConnsPerHost:    idle,
		IdleConnTimeout:        30 * time.Second,
		TLSHandshakeTimeout:    timeout,
		MaxResponseHeaderBytes: 64 << 10,
		ForceAttemptHTTP2:      true,
	}
	if authorities != nil {
		ca, ok := authorities.(caddytls.CA)
		if !ok {
			return nil, fmt.Errorf("%T is no source of certificate authorities", authorities)
		}
		transport.TLSClientConfig = &tls.Config{RootCAs: ca.CertPool(), MinVersion: tls.VersionTLS12}
	}
	return &http.Client{
		Transport:     transport,
		Timeout:       timeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}, nil
}
