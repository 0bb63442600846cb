package wsgateway

import (
	"encoding/json"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/wsgateway/caddy-ws-gateway/internal/token"
)

// jwtWords are the words of a jwt block.
var jwtWords = map[string]func(*JWT, *caddyfile.Dispenser) error{
	"key":             (*JWT).unmarshalKey,
	"jwks":            (*JWT).unmarshalJWKS,
	"algorithms":      (*JWT).unmarshalAlgorithms,
	"issuer":          (*JWT).unmarshalIssuer,
	"audience":        (*JWT).unmarshalAudience,
	"require":         (*JWT).unmarshalRequire,
	"user_claim":      (*JWT).unmarshalUserClaim,
	"leeway":          (*JWT).unmarshalLeeway,
	"allow_no_expiry": (*JWT).unmarshalAllowNoExpiry,
	"trust_pool":      (*JWT).unmarshalTrustPool,
}

// unmarshal parses a block with the words of jwtWords, of which key, jwks and
// require may stand more than once. docs/configuration.md has the grammar.
func (j *JWT) unmarshal(d *caddyfile.Dispenser) error {
	if d.NextArg() {
		return d.Err("jwt takes no arguments, only a block")
	}
	if err := parseWords(d, j, "jwt", jwtWords, make(map[string]bool), "key", "jwks", "require"); err != nil {
		return err
	}
	if len(j.Keys) == 0 && len(j.JWKS) == 0 {
		d.Reset()
		d.Next() // the error is about the block, not about its last line
		return d.Err("jwt has no key, so that nobody could pass: add a key or a jwks line")
	}
	return nil
}

// unmarshalKey parses:
//
//	key <secret or PEM or placeholder> [<algorithm...>]
//
// No error shows the key.
func (j *JWT) unmarshalKey(d *caddyfile.Dispenser) error {
	args, err := lineArgs(d, "key <secret or PEM or placeholder> [<algorithm...>]", 1, -1)
	if err != nil {
		return err
	}
	key := JWTKey{Key: args[0], Algorithms: args[1:]}
	switch {
	case strings.Contains(key.Key, "{http."): // Caddy's shorthands make it of {file.name} as well
		return d.Err("a key cannot depend on the request: use {env.*}, or {file.*} with a path that has a slash or a dot in it")
	case hasPlaceholder(key.Key) && !json.Valid([]byte(key.Key)):
		err = token.CheckAlgorithms(key.Algorithms)
	default:
		err = token.CheckKey(token.Key(key), resolveSecret)
	}
	if err != nil {
		return d.Errf("key: %w", err)
	}
	if slices.ContainsFunc(j.Keys, func(other JWTKey) bool { return other.Key == key.Key }) {
		return d.Err("this key stands twice")
	}
	j.Keys = append(j.Keys, key)
	return nil
}

// unmarshalJWKS parses:
//
//	jwks <https URL or file> {
//	    allow_http
//	}
func (j *JWT) unmarshalJWKS(d *caddyfile.Dispenser) error {
	const syntax = "jwks <https URL or file>"
	args := d.RemainingArgs()
	switch {
	case len(args) == 0:
		return d.Errf("an argument is missing: %s", syntax)
	case len(args) > 1:
		return d.Errf("too many arguments: %s", syntax)
	}
	at := KeySetPlace{Place: args[0]}
	for d.NextBlock(0) {
		word := caddyfile.NewDispenser(wordTokens(d))
		word.Next()
		if word.Val() != "allow_http" {
			return unexpectedWord(word, "jwks", "allow_http")
		}
		if _, err := lineArgs(word, "allow_http", 0, 0); err != nil {
			return err
		}
		if at.AllowHTTP {
			return word.Err("allow_http is already set: it may stand once")
		}
		at.AllowHTTP = true
	}
	d.Reset()
	d.Next() // an error is about the line, not about the end of its block
	if err := checkPlace(d, at); err != nil {
		return err
	}
	if slices.ContainsFunc(j.JWKS, func(other KeySetPlace) bool { return other.Place == at.Place }) {
		return d.Err("this jwks stands twice")
	}
	j.JWKS = append(j.JWKS, at)
	return nil
}

func checkPlace(d *caddyfile.Dispenser, at KeySetPlace) error {
	if hasPlaceholder(at.Place) {
		return nil
	}
	if strings.Contains(at.Place, "://") {
		if err := token.CheckKeySetURL(at.Place, at.AllowHTTP); err != nil {
			return d.Errf("jwks: %w", err)
		}
	}
	return checkAllowHTTP(d, at.Place, at.AllowHTTP)
}

// unmarshalAlgorithms parses:
//
//	algorithms <algorithm...>
func (j *JWT) unmarshalAlgorithms(d *caddyfile.Dispenser) (err error) {
	if j.Algorithms, err = lineArgs(d, "algorithms <algorithm...>", 1, -1); err != nil {
		return err
	}
	if err := token.CheckAlgorithms(j.Algorithms); err != nil {
		return d.WrapErr(err)
	}
	return nil
}

// unmarshalIssuer parses:
//
//	issuer <issuer...>
func (j *JWT) unmarshalIssuer(d *caddyfile.Dispenser) (err error) {
	j.Issuer, err = lineArgs(d, "issuer <issuer...>", 1, -1)
	return err
}

// unmarshalAudience parses:
//
//	audience <audience...>
func (j *JWT) unmarshalAudience(d *caddyfile.Dispenser) (err error) {
	j.Audience, err = lineArgs(d, "audience <audience...>", 1, -1)
	return err
}

// unmarshalRequire parses:
//
//	require <claim> <value...>
func (j *JWT) unmarshalRequire(d *caddyfile.Dispenser) error {
	args, err := lineArgs(d, "require <claim> <value...>", 2, -1)
	if err != nil {
		return err
	}
	if slices.ContainsFunc(j.Require, func(other Requirement) bool {
		return other.Claim == args[0] && slices.Equal(other.Values, args[1:])
	}) {
		return d.Err("this require stands twice")
	}
	j.Require = append(j.Require, Requirement{Claim: args[0], Values: args[1:]})
	return nil
}

// unmarshalUserClaim parses:
//
//	user_claim <claim>
func (j *JWT) unmarshalUserClaim(d *caddyfile.Dispenser) error {
	args, err := lineArgs(d, "user_claim <claim>", 1, 1)
	if err != nil {
		return err
	}
	if args[0] == "" {
		return d.Err("user_claim is empty: name a claim such as sub")
	}
	j.UserClaim = args[0]
	return nil
}

// unmarshalLeeway parses:
//
//	leeway <duration>
func (j *JWT) unmarshalLeeway(d *caddyfile.Dispenser) error {
	leeway, err := durationArg(d, "leeway", 0)
	if err != nil {
		return err
	}
	j.Leeway = &leeway
	return nil
}

// unmarshalAllowNoExpiry parses:
//
//	allow_no_expiry
func (j *JWT) unmarshalAllowNoExpiry(d *caddyfile.Dispenser) error {
	_, err := lineArgs(d, "allow_no_expiry", 0, 0)
	j.AllowNoExpiry = true
	return err
}

// unmarshalTrustPool parses:
//
//	trust_pool <module> ...
func (j *JWT) unmarshalTrustPool(d *caddyfile.Dispenser) (err error) {
	j.CARaw, err = trustPool(d)
	return err
}

// trustPool parses a source of certificate authorities, one of Caddy's
// tls.ca_pool.source modules.
func trustPool(d *caddyfile.Dispenser) (json.RawMessage, error) {
	if !d.NextArg() {
		return nil, d.Err("an argument is missing: trust_pool <module> ...")
	}
	if err := checkRegistered(d, "trust_pool", "tls.ca_pool.source"); err != nil {
		return nil, err
	}
	name := d.Val()
	module, err := caddyfile.UnmarshalModule(d, "tls.ca_pool.source."+name)
	if err != nil {
		return nil, err
	}
	m, ok := module.(caddy.Module)
	if !ok {
		return nil, d.Errf("%T is not a module", module)
	}
	return caddyconfig.JSONModuleObject(m, "provider", name, nil), nil
}
