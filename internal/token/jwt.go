package token

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/wsgateway/caddy-ws-gateway/internal/strictjson"
)

// The reasons to refuse a JWT. The client does not learn which, and none shows any part
// of the token.
var (
	errJWTMalformed = unknownToken("the token is neither a known one nor a JWT")
	errJWTHeader    = unknownToken("the token's header is not one of a signed JWT")
	errJWTAlgorithm = unknownToken("the token's algorithm is not accepted")
	errJWTKey       = unknownToken("no key is known for the token")
	errJWTCritical  = refusedToken("the token demands an extension that is not supported")
	errJWTSignature = refusedToken("the token's signature is not valid")
	errJWTClaims    = refusedToken("the token's claims are damaged")
	errJWTNoExpiry  = refusedToken("the token never expires")
	errJWTExpired   = refusedToken("the token has expired")
	errJWTNotYet    = refusedToken("the token is not valid yet")
	errJWTIssuer    = refusedToken("the token is from another issuer")
	errJWTAudience  = refusedToken("the token is for another audience")
	errJWTUser      = refusedToken("the token's user claim cannot be a user ID")
)

// jwtVerifier is a JWT, compiled.
type jwtVerifier struct {
	static     []*verifyKey
	places     [][]*verifyKey // the same, by their places in the configuration
	sets       []keySet
	algorithms []string // nil for all
	rules      claimRules
	leftOut    []leftOutKey // of the configured keys
	resolve    Resolver     // of configured keys
}

func (o *Options) newJWTVerifier(config *JWT, sets []keySet) (*jwtVerifier, error) {
	v := &jwtVerifier{sets: sets, algorithms: config.Algorithms, resolve: o.Resolve}
	if err := CheckAlgorithms(config.Algorithms); err != nil {
		return nil, fmt.Errorf("algorithms: %w", err)
	}
	for i, key := range config.Keys {
		keys, err := v.compileKey(key)
		if err != nil {
			return nil, fmt.Errorf("keys[%d]: %w", i, err)
		}
		v.places = append(v.places, keys)
		if text, err := resolveKey(key.Key, o.Resolve); err == nil {
			v.leftOut = append(v.leftOut, leftOutOf([]byte(text), true)...)
		}
	}
	v.static = slices.Concat(v.places...)
	if len(v.static) == 0 && len(sets) == 0 {
		return nil, errors.New("there is no key, so that no token could ever be accepted: add a key or a JWK set")
	}
	rules, err := o.newClaimRules(config)
	v.rules = rules
	return v, err
}

// compileKey makes the keys of one place in the configuration.
func (v *jwtVerifier) compileKey(config Key) ([]*verifyKey, error) {
	keys, err := newVerifyKeys(config.Key, config.Algorithms, v.resolve)
	if err != nil {
		return nil, err
	}
	for _, k := range keys {
		if len(v.algorithms) > 0 && !slices.ContainsFunc(k.algorithms, v.accepts) {
			return nil, fmt.Errorf("algorithms names none of %s, so that it could never be used", strings.Join(k.algorithms, ", "))
		}
	}
	return keys, nil
}

// withKeys is the verifier with other keys at one place.
func (v *jwtVerifier) withKeys(place int, keys []*verifyKey) *jwtVerifier {
	other := *v
	other.places = slices.Clone(v.places)
	other.places[place] = keys
	other.static = slices.Concat(other.places...)
	return &other
}

func (v *jwtVerifier) credentials() []string {
	names := make([]string, 0, len(v.static)+len(v.sets))
	for _, k := range v.static {
		names = append(names, k.credential)
	}
	for _, set := range v.sets {
		names = append(names, set.credentials()...)
	}
	return names
}

// guessable reports whether a secret is shorter than RFC 7518 asks for.
func (v *jwtVerifier) guessable() bool {
	return v != nil && slices.ContainsFunc(v.static, func(k *verifyKey) bool {
		secret, ok := k.key.([]byte)
		return ok && len(secret) < minSecretSize
	})
}

func (v *jwtVerifier) accepts(algorithm string) bool {
	return len(v.algorithms) == 0 || slices.Contains(v.algorithms, algorithm)
}

// verify finds what the token grants now. The error is a credentialError,
// ErrInsufficient or ErrUnavailable.
func (v *jwtVerifier) verify(ctx context.Context, text string, now time.Time) (Grant, error) {
	t, err := parseJWT(text)
	if err != nil {
		return Grant{}, err
	}
	if !v.accepts(t.algorithm) {
		return Grant{}, errJWTAlgorithm
	}
	key, err := v.signer(ctx, t)
	if err != nil {
		return Grant{}, err
	}
	// Only now: until here it is a stranger's.
	payload, err := t.payload()
	if err != nil {
		return Grant{}, err
	}
	g, err := v.rules.apply(claims{payload}, now)
	g.Credential = key.credential
	return g, err
}

// signer finds the key that signed the token.
func (v *jwtVerifier) signer(ctx context.Context, t *signedToken) (*verifyKey, error) {
	key, err := t.signedByOne(v.static)
	if key != nil {
		return key, nil
	}
	for _, set := range v.sets {
		key, setErr := signedByOneOf(ctx, t, set)
		if key != nil {
			return key, nil
		}
		err = worse(err, setErr)
	}
	return nil, err
}

func signedByOneOf(ctx context.Context, t *signedToken, set keySet) (*verifyKey, error) {
	keys, err := set.keys(ctx)
	if err != nil {
		return nil, err
	}
	key, err := t.signedByOne(keys)
	if key != nil || errors.Is(err, errJWTSignature) && t.kid != "" {
		return key, err
	}
	// The key may be new. One that a token names may be fetched; a token that
	// names none may be signed by any.
	if !set.renew(ctx) {
		return nil, err
	}
	if keys, err = set.keys(ctx); err != nil {
		return nil, err
	}
	return t.signedByOne(keys)
}

// worse is the one of two reasons to give where no key has signed the token.
func worse(a, b error) error {
	if errors.Is(b, ErrUnavailable) || errors.Is(a, errJWTKey) {
		return b
	}
	return a
}

// signedToken is a JWT in the compact form whose signature is not verified.
type signedToken struct {
	algorithm string
	kid       string
	signed    string // the text that the signature is over
	body      string
	signature []byte
}

var strictBase64 = base64.RawURLEncoding.Strict()

// parseJWT takes a token apart without trusting any of it (RFC 7515, section
// 5.2; RFC 8725). The places of keys in the header (jku and so on) are not read.
func parseJWT(text string) (*signedToken, error) {
	// The decoder would go past line breaks.
	if len(text) > maxTokenSize || strings.ContainsAny(text, "\r\n") {
		return nil, errJWTMalformed
	}
	header, rest, _ := strings.Cut(text, ".")
	body, signature, found := strings.Cut(rest, ".")
	if !found || header == "" || body == "" || signature == "" || strings.Contains(signature, ".") {
		return nil, errJWTMalformed
	}
	decoded, err := strictBase64.DecodeString(header)
	if err != nil {
		return nil, errJWTMalformed
	}
	fields, err := strictjson.ParseObject(decoded)
	if err != nil {
		return nil, errJWTHeader
	}
	t := &signedToken{signed: text[:len(header)+1+len(body)], body: body}
	if t.algorithm, _ = fields.Get("alg").Text(); signingMethods[t.algorithm] == nil {
		return nil, errJWTAlgorithm // none is among them, however it is spelled
	}
	if fields.Get("crit") != nil || fields.Get("b64") != nil {
		return nil, errJWTCritical
	}
	if kid := fields.Get("kid"); kid != nil && !kid.IsNull() {
		var ok bool
		if t.kid, ok = kid.Text(); !ok {
			return nil, errJWTHeader
		}
	}
	if t.signature, err = strictBase64.DecodeString(signature); err != nil {
		return nil, errJWTSignature
	}
	return t, nil
}

// signedByOne finds the key among keys that signed the token. The error is errJWTKey
// where no key fits, and errJWTSignature where no key that fits has signed it.
func (t *signedToken) signedByOne(keys []*verifyKey) (*verifyKey, error) {
	method := signingMethods[t.algorithm]
	var err error = errJWTKey
	for _, k := range keys {
		if !k.fits(t.algorithm, t.kid) {
			continue
		}
		if method.Verify(t.signed, t.signature, k.key) == nil {
			return k, nil
		}
		err = errJWTSignature
	}
	return nil, err
}

func (t *signedToken) payload() (strictjson.Object, error) {
	decoded, err := strictBase64.DecodeString(t.body)
	if err != nil {
		return nil, errJWTClaims
	}
	payload, err := strictjson.ParseObject(decoded)
	if err != nil {
		return nil, errJWTClaims
	}
	return payload, nil
}
