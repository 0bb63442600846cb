package wsgateway

import (
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddytls"

	"github.com/wsgateway/caddy-ws-gateway/internal/carrier"
	"github.com/wsgateway/caddy-ws-gateway/internal/panics"
	"github.com/wsgateway/caddy-ws-gateway/internal/serverlog"
	"github.com/wsgateway/caddy-ws-gateway/internal/token"
)

// keySources are the JWK sets at URLs that the loaded configurations name. What
// was fetched belongs to the process, so that a reload fetches nothing anew.
var keySources = caddy.NewUsagePool()

// pooledKeySource is a JWK set in keySources.
type pooledKeySource struct{ *token.KeySource }

// Destruct implements caddy.Destructor: no loaded configuration names the set.
func (s pooledKeySource) Destruct() error {
	s.Close()
	return nil
}

// loadedAuth is an Auth, compiled, with what its configuration holds of the
// process.
type loadedAuth struct {
	*authenticator

	sources []string // held in keySources
}

// loadAuth compiles the configuration, and does not wait for the network. The caller
// has to release the result, also where there is an error.
//
// revoked reports whether what a good token grants was revoked.
func loadAuth(ctx caddy.Context, config *Auth, revoked func(*token.Grant) bool) (*loadedAuth, error) {
	l := new(loadedAuth)
	carriers, err := newCarriers(config.Token)
	if err != nil {
		return l, err
	}
	if !config.acceptsAnyone() {
		return l, errors.New("auth accepts nothing, so that nobody could ever pass: add bearer, jwt, introspect, a provider or inherit")
	}
	options, err := l.tokenOptions(ctx, config, carriers)
	if err != nil {
		return l, err
	}
	options.Revoked = revoked
	tokens, err := token.New(options)
	if err != nil {
		return l, err
	}
	l.authenticator = &authenticator{
		carriers: carriers, tokens: tokens,
		revoked: revoked, inherit: config.Inherit, optional: config.Optional, forward: config.Forward, preflight: config.CORSPreflight,
	}
	if len(config.ProvidersRaw) > 0 {
		modules, err := ctx.LoadModule(config, "ProvidersRaw")
		if err != nil {
			return l, fmt.Errorf("auth.providers: %w", err)
		}
		byName, _ := modules.(map[string]any)
		if l.providers, err = newProviders(byName, ctx.Logger()); err != nil {
			return l, fmt.Errorf("auth.providers: %w", err)
		}
	}
	if config.Renew != "" && !strings.HasPrefix(config.Renew, "/") {
		return l, fmt.Errorf("auth.renew: %q is not a path: begin it with a slash", config.Renew)
	}
	if server, ok := ctx.Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server); ok {
		if err := serverlog.KeepOut(server, serverlog.Carriers{AppendTokens: carriers.AppendTokens, Strip: carriers.Strip}); err != nil {
			ctx.Logger().Warn(err.Error())
		}
	}
	return l, nil
}

// newCarriers compiles the places where tokens may be.
func newCarriers(config []TokenCarrier) (*carrier.Set, error) {
	places := make([]carrier.Place, 0, len(config))
	for _, c := range config {
		places = append(places, carrier.Place(c))
	}
	return carrier.New(places)
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
	if l.authenticator != nil {
		l.tokens.Close()
	}
}

// tokenOptions makes the options of a token.Verifier out of the configuration.
func (l *loadedAuth) tokenOptions(ctx caddy.Context, config *Auth, carriers *carrier.Set) (options token.Options, err error) {
	logger := ctx.Logger()
	options = token.Options{
		MayBeSubprotocol: carriers.PlainSubprotocol(),
		Resolve:          resolveSecret,
		FilesIn:          filesIn,
		Logger:           logger,
		ReportPanic:      func(p *panics.Panic) { reportPanic(logger, p) },
	}
	for _, t := range config.Bearer {
		options.Static = append(options.Static, token.Static(t))
	}
	if config.JWT != nil {
		options.JWT = config.JWT.options()
		trust := string(config.JWT.CARaw) // loading clears it
		authorities, err := loadAuthorities(ctx, config.JWT, config.JWT.CARaw)
		if err != nil {
			return options, fmt.Errorf("auth.jwt.ca: %w", err)
		}
		options.KeySource = func(address string) (*token.KeySource, error) {
			return l.holdKeySource(ctx, address, trust, authorities)
		}
	}
	if config.Introspect != nil {
		authorities, err := loadAuthorities(ctx, config.Introspect, config.Introspect.CARaw)
		if err != nil {
			return options, fmt.Errorf("auth.introspect: ca: %w", err)
		}
		options.Introspection = &token.Introspection{
			URL:         config.Introspect.URL,
			AllowHTTP:   config.Introspect.AllowHTTP,
			Cache:       (*time.Duration)(config.Introspect.Cache),
			Timeout:     time.Duration(config.Introspect.Timeout),
			Authorities: authorities,
		}
	}
	return options, nil
}

// options returns the options for JWTs of a token.Verifier.
func (j *JWT) options() *token.JWT {
	o := &token.JWT{
		Algorithms:    j.Algorithms,
		Issuer:        j.Issuer,
		Audience:      j.Audience,
		UserClaim:     j.UserClaim,
		Leeway:        (*time.Duration)(j.Leeway),
		AllowNoExpiry: j.AllowNoExpiry,
	}
	for _, key := range j.Keys {
		o.Keys = append(o.Keys, token.Key(key))
	}
	for _, place := range j.JWKS {
		o.JWKS = append(o.JWKS, token.KeySetPlace(place))
	}
	for _, requirement := range j.Require {
		o.Require = append(o.Require, token.Requirement(requirement))
	}
	return o
}

// loadAuthorities loads the module in the CARaw of a configuration; nil stands for
// the authorities of the system.
func loadAuthorities(ctx caddy.Context, config any, raw json.RawMessage) (*x509.CertPool, error) {
	if raw == nil {
		return nil, nil
	}
	module, err := ctx.LoadModule(config, "CARaw")
	if err != nil {
		return nil, err
	}
	authorities, ok := module.(caddytls.CA)
	if !ok {
		return nil, fmt.Errorf("%T is no source of certificate authorities", module)
	}
	return authorities.CertPool(), nil
}

// holdKeySource makes the process hold the JWK set at a URL, until release. Handlers
// with the same URL and the same trust share one set.
func (l *loadedAuth) holdKeySource(ctx caddy.Context, address, trust string, authorities *x509.CertPool) (*token.KeySource, error) {
	key := address + "\x00" + trust
	value, found, err := keySources.LoadOrNew(key, func() (caddy.Destructor, error) {
		return pooledKeySource{token.StartKeySource(address, authorities, ctx.Logger())}, nil
	})
	if err != nil {
		return nil, err
	}
	l.sources = append(l.sources, key)
	source, ok := value.(pooledKeySource)
	if !ok {
		return nil, fmt.Errorf("the pool holds a %T", value)
	}
	if found {
		source.Adopt(authorities, ctx.Logger())
	}
	return source.KeySource, nil
}

// Interface guards
var _ caddy.Destructor = pooledKeySource{}
