// Package token decides about the tokens that clients send: whether one is good,
// and what it grants. A token is good because it is a configured one, because it
// is a JWT that a known key has signed, or because an introspection service says
// so. Keys and tokens that come out of files are taken over when the files change,
// and key sets are fetched in the background.
//
// No error and no log line shows a token, a key, or a part of one.
package token

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
)

// maxTokenSize is well above what a header may hold by default, and bounds the
// work that a stranger can cause.
const maxTokenSize = 16 << 10

// Verifier knows which tokens are good.
type Verifier struct {
	current atomic.Pointer[material]
	service *introspector // nil without
	files   follower      // follows the files of secrets
	logger  *zap.Logger

	mayBeSubprotocol bool
	revoked          func(*Grant) bool // nil for none
}

// material is the tokens and keys that clients' tokens are compared and verified with,
// as far as files may change them. It is replaced and not written into.
type material struct {
	static staticTokens
	jwt    *jwtVerifier // nil without
}

// Grant is the result of a good token.
type Grant struct {
	// UserID is the ID of the token's user, or empty.
	UserID string

	// JTI is the ID of the token, or empty.
	JTI string

	// Issued is when the token was issued; zero where it does not say.
	Issued time.Time

	// Expires is the end of the token, leeway included; zero for never.
	Expires time.Time

	// Credential names what made the token good, one of Verifier.Credentials.
	Credential string

	// Issuer is the issuer that UserID belongs to, where the token names one.
	Issuer string

	claims claims
}

// EachClaim calls set for every claim that can stand in a header, by its name, or
// by the names on the path to it with dots between them.
func (g *Grant) EachClaim(set func(name, value string)) { g.claims.each(set) }

// New compiles the options. It does not wait for the network. Its errors name the
// fields of the configuration.
func New(options Options) (*Verifier, error) {
	o := &options
	v := &Verifier{
		files:            follower{logger: o.Logger, reportPanic: o.ReportPanic},
		logger:           o.Logger,
		mayBeSubprotocol: o.MayBeSubprotocol,
		revoked:          o.Revoked,
	}
	sets, err := v.loadKeySets(o)
	if err != nil {
		return nil, err
	}
	if o.Introspection != nil {
		if v.service, err = o.newIntrospector(o.Introspection); err != nil {
			return nil, fmt.Errorf("auth.introspect: %w", err)
		}
	}
	v.files.followTokens(o)
	v.files.followKeys(o)
	m := new(material)
	if m.static, err = o.newStaticTokens(o.Static); err != nil {
		return nil, err
	}
	if o.JWT != nil {
		if m.jwt, err = o.newJWTVerifier(o.JWT, sets); err != nil {
			return nil, fmt.Errorf("auth.jwt: %w", err)
		}
	}
	v.current.Store(m)
	v.warnOfSecrets(m)
	if m.jwt != nil {
		warnOfLeftOut(o.Logger, "auth.jwt.keys", m.jwt.leftOut, nil)
	}
	return v, nil
}

// loadKeySets makes the JWK sets, whose keys need not be there yet where they are
// fetched.
func (v *Verifier) loadKeySets(o *Options) ([]keySet, error) {
	if o.JWT == nil {
		return nil, nil
	}
	var sets []keySet
	for i, place := range o.JWT.JWKS {
		field := fmt.Sprintf("auth.jwt.jwks[%d]", i)
		set, err := v.loadKeySet(o, field, place)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", field, err)
		}
		sets = append(sets, set)
	}
	return sets, nil
}

func (v *Verifier) loadKeySet(o *Options, field string, at KeySetPlace) (keySet, error) {
	place, err := o.Resolve("jwks", at.Place)
	if err != nil {
		return nil, err
	}
	if !strings.Contains(place, "://") {
		set := &keyFile{name: place, logger: o.Logger}
		v.files.followSet(field, set)
		return set, set.read()
	}
	if err := CheckKeySetURL(place, at.AllowHTTP); err != nil {
		return nil, err
	}
	return o.KeySource(place)
}

// IsEmpty reports whether there is no token that could be good.
func (v *Verifier) IsEmpty() bool {
	m := v.current.Load()
	return len(m.static) == 0 && m.jwt == nil && v.service == nil
}

// Credentials names everything by which a token may be good at the moment: static
// tokens, keys, key sets and the introspection service. The names show no secret.
func (v *Verifier) Credentials() []string { return v.credentialsOf(v.current.Load()) }

func (v *Verifier) credentialsOf(m *material) []string {
	names := m.static.credentials()
	if m.jwt != nil {
		names = append(names, m.jwt.credentials()...)
	}
	if v.service != nil {
		names = append(names, v.service.credential())
	}
	return names
}

// Watch takes over, until ctx ends, the changes of the files that secrets come out of.
// move is called with the credentials after a change, and calls apply to put the change
// into force.
func (v *Verifier) Watch(ctx context.Context, move func(credentials []string, apply func())) {
	if len(v.files.all) == 0 {
		return
	}
	go v.files.watch(ctx, v.current.Load, func(next *material) {
		v.warnOfSecrets(next)
		move(v.credentialsOf(next), func() { v.current.Store(next) })
	})
}

// Close closes the connections to the introspection service that are not in use.
func (v *Verifier) Close() {
	if v.service != nil {
		v.service.client.CloseIdleConnections()
	}
}

// warnOfSecrets warns, whenever secrets come into force, of secrets that can be
// guessed, and of tokens that no browser can send by the configured carriers.
func (v *Verifier) warnOfSecrets(m *material) {
	if fields := m.static.which(func(t staticToken) bool { return t.short }); len(fields) > 0 {
		v.logger.Warn("a static token has fewer than 16 bytes: anyone can try to guess it; "+
			"where a {$VAR} in front of it is not set, it is not the token that was meant: use {env.VAR}",
			zap.Strings("fields", fields))
	}
	if fields := m.static.which(func(t staticToken) bool { return !t.plain }); len(fields) > 0 && v.mayBeSubprotocol {
		v.logger.Warn("a static token has characters that no browser can offer as a subprotocol, such as / or =: "+
			"make one in base64url without padding, or in hexadecimal, or set base64url on the subprotocol",
			zap.Strings("fields", fields))
	}
	if m.jwt.guessable() {
		v.logger.Warn("a secret of auth.jwt has fewer than 32 bytes: whoever has a token of it can try to guess it")
	}
}

// VerifyAny finds the good token among several, and its grant. The introspection
// service is not asked about a token that is decided here; and where it is unavailable
// for one token, it is not asked about the next, which would only take as long again.
// The error is an ErrBadCredential, ErrInsufficient or ErrUnavailable.
func (v *Verifier) VerifyAny(ctx context.Context, tokens []string, now time.Time) (g *Grant, good string, reason error) {
	var unknown []string
	for _, token := range tokens {
		g, err := v.unlessRevoked(v.verifyHere(ctx, token, now))
		if err == nil {
			return g, token, nil
		}
		reason = moreTelling(reason, err)
		if errors.Is(err, ErrUnavailable) {
			return nil, "", reason
		}
		if isUnknown(err) && len(token) <= maxTokenSize {
			unknown = append(unknown, token)
		}
	}
	if v.service == nil {
		return nil, "", reason
	}
	for _, token := range unknown {
		g, err := v.unlessRevoked(v.service.verify(ctx, token, now))
		if err == nil {
			return g, token, nil
		}
		reason = moreTelling(reason, err)
		if errors.Is(err, ErrUnavailable) {
			break
		}
	}
	return nil, "", reason
}

// unlessRevoked passes a good token's grant on, or returns a RevokedError.
func (v *Verifier) unlessRevoked(g *Grant, err error) (*Grant, error) {
	if err == nil && v.revoked != nil && v.revoked(g) {
		return nil, &RevokedError{UserID: g.UserID}
	}
	return g, err
}

// verifyHere finds the grant of a static token or a JWT, without the introspection
// service.
func (v *Verifier) verifyHere(ctx context.Context, token string, now time.Time) (*Grant, error) {
	if len(token) > maxTokenSize {
		return nil, ErrBadCredential
	}
	m := v.current.Load()
	if g := m.static.verify(token); g != nil {
		return g, nil
	}
	if m.jwt == nil {
		return nil, ErrBadCredential
	}
	g, err := m.jwt.verify(ctx, token, now)
	if err != nil {
		return nil, err
	}
	return &g, nil
}
