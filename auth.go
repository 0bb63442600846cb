package wsgateway

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"time"
	"unicode"
	"unicode/utf8"

	"golang.org/x/net/http/httpguts"

	"github.com/wsgateway/caddy-ws-gateway/internal/carrier"
)

// What authenticate answers where a request may not pass. None says anything
// about the token, so that all may be logged.
var (
	errNoCredential = errors.New("no credential in the request")
	errInsufficient = errors.New("the credential is valid, but does not allow this")
	errUnavailable  = errors.New("the credential cannot be checked at the moment")
)

// errBadCredential is any credentialError.
const errBadCredential = credentialError("the credential is not valid")

// credentialError is why a credential is not valid, for the log: to strangers
// all are the same.
type credentialError string

// Error implements error.
func (e credentialError) Error() string { return string(e) }

// Is makes all of them errBadCredential.
func (e credentialError) Is(target error) bool { return target == errBadCredential || target == e }

const (
	// maxTokenSize is well above what a header may hold by default, and bounds
	// the work that a stranger can cause.
	maxTokenSize = 16 << 10

	// minTokenSize is what a static token should have: a shorter one can be
	// guessed, or is the user ID that moved up where an unset {$VAR} left no word.
	minTokenSize = 16

	hashPrefix = "sha256:"
)

// identity is who sent a request.
type identity struct {
	userID    string // "" where the token names none, or anonymous
	anonymous bool   // no credential, and none is required
	elsewhere bool   // someone else verified it
	ambient   bool   // browsers attach the credential that decided by themselves, as they do a cookie
	grant     *grant // nil for the anonymous

	// The offered subprotocol to select where the upstream chooses none,
	// because a token was among those offered. Never a token; "" where none was
	// offered, or nothing else.
	fallbackProtocol string

	// Whether nothing but a token was offered, so that no answer would please a
	// browser.
	offersNothingElse bool

	// What the upstream is sent of the credential; nothing unless that is
	// configured.
	forwarded carrier.Placed
}

// authenticator is an Auth, compiled.
type authenticator struct {
	carriers *carrier.Set
	current  atomic.Pointer[verifiers]
	service  *introspector // nil without
	guests   []*guest
	inherit  bool
	optional bool
	forward  bool

	preflight bool // CORS preflights need no credential
}

// authParts is what an authenticator needs of the process.
type authParts struct {
	sets    []keySet
	service *introspector
	guests  []*guest
}

// newAuthenticator compiles a configuration that needs nothing of the process.
func newAuthenticator(cfg *Auth) (*authenticator, error) {
	return assembleAuthenticator(cfg, authParts{})
}

func assembleAuthenticator(cfg *Auth, parts authParts) (*authenticator, error) {
	carriers, err := newCarriers(cfg.Token)
	if err != nil {
		return nil, err
	}
	if !cfg.acceptsAnyone() && len(parts.guests) == 0 {
		return nil, errors.New("auth accepts nothing, so that nobody could ever pass: add bearer, jwt, introspect, a provider or inherit")
	}
	a := &authenticator{
		carriers: carriers, service: parts.service, guests: parts.guests,
		inherit: cfg.Inherit, optional: cfg.Optional, forward: cfg.Forward, preflight: cfg.CORSPreflight,
	}
	v := new(verifiers)
	if v.static, err = newStaticTokens(cfg.Bearer); err != nil {
		return nil, err
	}
	if cfg.JWT != nil {
		if v.jwt, err = newJWTVerifier(cfg.JWT, parts.sets); err != nil {
			return nil, fmt.Errorf("auth.jwt: %w", err)
		}
	}
	a.current.Store(v)
	return a, nil
}

// authenticate tells who sent r. Its error is errNoCredential, a
// credentialError, errInsufficient or errUnavailable. It leaves r as it is.
func (a *authenticator) authenticate(r *http.Request) (identity, error) {
	found := a.carriers.Find(r)
	var id identity
	id.fallbackProtocol, id.offersNothingElse = a.carriers.FallbackProtocol(r)
	if len(found.Tokens) == 0 || !a.verifiesTokens() {
		if !a.optional {
			return identity{}, errNoCredential
		}
		id.anonymous = true
		return id, nil
	}
	g, token, err := a.verifyAny(r.Context(), found.Tokens, time.Now())
	if err != nil {
		return identity{}, err
	}
	id.userID, id.grant, id.ambient = g.userID, g, found.Ambient()
	if a.forward {
		id.forwarded = found.Placed(r, token)
	}
	return id, nil
}

// verifyAny tells which of the tokens is good, and what it grants. What we can
// read ourselves needs no second opinion; and who cannot tell of one is not asked
// about the next, which would only take as long again.
func (a *authenticator) verifyAny(ctx context.Context, tokens []string, now time.Time) (g *grant, token string, reason error) {
	var unknown []string
	for _, token := range tokens {
		g, err := a.verifyOurselves(ctx, token, now)
		if err == nil {
			return g, token, nil
		}
		reason = moreTelling(reason, err)
		if errors.Is(err, errUnavailable) {
			return nil, "", reason
		}
		if isUnknown(err) && len(token) <= maxTokenSize {
			unknown = append(unknown, token)
		}
	}
	if a.service == nil {
		return nil, "", reason
	}
	for _, token := range unknown {
		g, err := a.service.verify(ctx, token, now)
		if err == nil {
			return g, token, nil
		}
		reason = moreTelling(reason, err)
		if errors.Is(err, errUnavailable) {
			break
		}
	}
	return nil, "", reason
}

// moreTelling is which of two reasons to refuse tokens says more: that one is good
// and does not suffice, that nobody knows, that it is bad, or only that it is
// unknown.
func moreTelling(a, b error) error {
	rank := func(err error) int {
		switch {
		case err == nil:
			return 0
		case errors.Is(err, errInsufficient):
			return 4
		case errors.Is(err, errUnavailable):
			return 3
		case !isUnknown(err):
			return 2
		}
		return 1
	}
	if rank(b) > rank(a) {
		return b
	}
	return a
}

// verifyOurselves tells what a token grants that we know or can read.
func (a *authenticator) verifyOurselves(ctx context.Context, token string, now time.Time) (*grant, error) {
	if len(token) > maxTokenSize {
		return nil, errBadCredential
	}
	v := a.current.Load()
	if g := v.static.verify(token); g != nil {
		return g, nil
	}
	if v.jwt == nil {
		return nil, errBadCredential
	}
	g, err := v.jwt.verify(ctx, token, now)
	if err != nil {
		return nil, err
	}
	return &g, nil
}

// isUnknown tells whether a token was refused as none of ours, and not for what
// it says.
func isUnknown(err error) bool {
	return slices.ContainsFunc(
		[]credentialError{errBadCredential, errJWTMalformed, errJWTHeader, errJWTAlgorithm, errJWTKey},
		func(unknown credentialError) bool { return err == error(unknown) }) //nolint:errorlint // errors.Is takes all for the first
}

// newCarriers compiles the places where tokens may be.
func newCarriers(config []TokenCarrier) (*carrier.Set, error) {
	places := make([]carrier.Place, 0, len(config))
	for _, c := range config {
		places = append(places, carrier.Place(c))
	}
	return carrier.New(places)
}

func (a *authenticator) verifiesTokens() bool {
	v := a.current.Load()
	return len(v.static) > 0 || v.jwt != nil || a.service != nil
}

// takesAmbient reports whether a credential that browsers attach by themselves
// may decide.
func (a *authenticator) takesAmbient() bool {
	return a.trustsOthers() || a.carriers.Ambient()
}

// credentials lists what may let a connection in with these verifiers, as in
// grant.
func (a *authenticator) credentials(v *verifiers) []string {
	var names []string
	for _, token := range v.static {
		names = append(names, token.grant.credential)
	}
	if v.jwt != nil {
		names = append(names, v.jwt.credentials()...)
	}
	if a.service != nil {
		names = append(names, a.service.credential())
	}
	for _, g := range a.guests {
		names = append(names, g.credential())
	}
	if a.inherit {
		names = append(names, inheritCredential)
	}
	return names
}

// strip removes the credentials of all configured carriers from r in place,
// whichever of them decided. The header map of r is changed; values, and the
// URL that r points to, are replaced and not written into.
func (a *authenticator) strip(r *http.Request) {
	a.carriers.Strip(r)
	if a.trustsOthers() { // it is what they use most
		delete(r.Header, "Authorization")
	}
}

// challenge returns the WWW-Authenticate value of RFC 6750, section 3, for an
// error of authenticate. It is the same for every bad token: why one is bad is
// nothing to a stranger.
func (a *authenticator) challenge(realm string, err error) string {
	value := "Bearer realm=" + quotedString(realm)
	switch {
	case errors.Is(err, errBadCredential):
		value += `, error="invalid_token", error_description="the token is not valid"`
	case errors.Is(err, errInsufficient):
		value += `, error="insufficient_scope", error_description="the token does not allow this"`
	}
	return value
}

// quotedString is the quoted-string of RFC 9110, section 5.6.4.
func quotedString(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, c := range s {
		switch {
		case unicode.IsControl(c):
			continue
		case c == '"' || c == '\\':
			b.WriteByte('\\')
		}
		b.WriteRune(c)
	}
	b.WriteByte('"')
	return b.String()
}

// staticTokens are the configured bearer tokens.
type staticTokens []staticToken

type staticToken struct {
	hash  [sha256.Size]byte
	short bool // fewer than minTokenSize bytes
	plain bool // it can be offered as a subprotocol
	grant *grant
}

// verify compares hashes and not tokens, and always all of them, so that the
// time it takes tells nothing of how close a guess is or which token matched.
func (tokens staticTokens) verify(token string) *grant {
	hash := sha256.Sum256([]byte(token))
	match := -1
	for i := range tokens {
		equal := subtle.ConstantTimeCompare(tokens[i].hash[:], hash[:])
		match = subtle.ConstantTimeSelect(equal, i, match)
	}
	if match < 0 {
		return nil
	}
	return tokens[match].grant
}

func newStaticTokens(configs []BearerToken) (staticTokens, error) {
	tokens := make(staticTokens, 0, len(configs))
	for i, config := range configs {
		token, err := newStaticToken(config)
		if err != nil {
			return nil, fmt.Errorf("auth.bearer[%d]: %w", i, err)
		}
		tokens = append(tokens, token)
	}
	return tokens, tokens.checkTwins(configs)
}

func newStaticToken(config BearerToken) (staticToken, error) {
	hash, quality, err := hashOfToken(config.Token)
	if err != nil {
		return staticToken{}, err
	}
	if hasControlChars(config.UserID) {
		return staticToken{}, fmt.Errorf("user_id %q has control characters: remove them", config.UserID)
	}
	return staticToken{
		hash:  hash,
		short: quality.short || config.Short,
		plain: !quality.unofferable && !config.Unofferable,
		grant: &grant{userID: config.UserID, credential: "bearer " + hex.EncodeToString(hash[:])},
	}, nil
}

// checkTwins refuses two tokens that are the same: one of them is a mistake. Only
// files may hold the same for the same user, for that is how the next token of a
// user takes the place of the last.
func (tokens staticTokens) checkTwins(configs []BearerToken) error {
	seen := make(map[[sha256.Size]byte]int, len(tokens))
	for i, token := range tokens {
		first, again := seen[token.hash]
		rotating := again && tokens[first].grant.userID == token.grant.userID &&
			(isInFile(configs[i].Token) || isInFile(configs[first].Token))
		if again && !rotating {
			return fmt.Errorf("auth.bearer[%d]: the same token as auth.bearer[%d]: remove one", i, first)
		}
		seen[token.hash] = i
	}
	return nil
}

// which names those of the tokens by their places in the configuration.
func (tokens staticTokens) which(is func(staticToken) bool) []string {
	var fields []string
	for i, token := range tokens {
		if is(token) {
			fields = append(fields, fmt.Sprintf("auth.bearer[%d]", i))
		}
	}
	return fields
}

// tokenQuality is what a hash does not tell of a token.
type tokenQuality struct {
	short       bool // fewer than minTokenSize bytes
	unofferable bool // no token of RFC 9110, section 5.6.2, as a subprotocol must be
}

// hashOfToken returns the SHA-256 of a configured token. No error of it shows any
// part of the token, whether written out or resolved.
func hashOfToken(configured string) (hash [sha256.Size]byte, quality tokenQuality, err error) {
	token, err := resolveSecret("token", configured)
	if err != nil {
		return hash, quality, err
	}
	if len(token) >= len(hashPrefix) && strings.EqualFold(token[:len(hashPrefix)], hashPrefix) {
		raw, err := hex.DecodeString(token[len(hashPrefix):])
		if err != nil || len(raw) != len(hash) {
			return hash, quality, errors.New("token begins with sha256: and must go on with 64 hexadecimal digits")
		}
		return [sha256.Size]byte(raw), quality, nil
	}
	switch {
	case token == "":
		return hash, quality, errors.New("token is empty: give one, a placeholder for it, or sha256:<hex>")
	case len(token) > maxTokenSize:
		return hash, quality, fmt.Errorf("token is longer than %d bytes, which is never accepted: give a shorter one", maxTokenSize)
	case hasControlChars(token), token != strings.TrimSpace(token):
		return hash, quality, errors.New("token has control characters, or white space around it, which no client can send: remove them")
	}
	quality = tokenQuality{short: len(token) < minTokenSize, unofferable: !httpguts.ValidHeaderFieldName(token)}
	return sha256.Sum256([]byte(token)), quality, nil
}

// resolveSecret replaces the placeholders in a configured token or key. Caddy's
// own errors are not passed on, because what looks like a placeholder may be
// part of the secret; only the name of a variable or file is shown.
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

// resolveText replaces the placeholders in a setting that is not secret. What is
// empty is refused: it is what an unset {$VAR} in quotes leaves, and claims may
// well be empty too.
func resolveText(field, configured string) (string, error) {
	text, err := resolveSecret("it", configured)
	switch {
	case err != nil:
		return "", fmt.Errorf("%s: %w", field, err)
	case text == "":
		return "", fmt.Errorf("%s is empty: give a text, or remove it", field)
	}
	return text, nil
}

func resolveTexts(field string, configured []string) ([]string, error) {
	texts := make([]string, len(configured))
	var err error
	for i := range configured {
		if texts[i], err = resolveText(fmt.Sprintf("%s[%d]", field, i), configured[i]); err != nil {
			return nil, err
		}
	}
	return texts, nil
}

// hasControlChars tells whether s could break out of a header or a log line.
func hasControlChars(s string) bool {
	return !utf8.ValidString(s) || strings.ContainsFunc(s, unicode.IsControl)
}
