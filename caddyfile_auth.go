package wsgateway

import (
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/wsgateway/caddy-ws-gateway/internal/token"
)

// authWords are the words of an auth block.
var authWords = map[string]func(*Auth, *caddyfile.Dispenser) error{
	"token":      (*Auth).unmarshalToken,
	"bearer":     (*Auth).unmarshalBearer,
	"jwt":        (*Auth).unmarshalJWT,
	"introspect": (*Auth).unmarshalIntrospect,
	"provider":   (*Auth).unmarshalProvider,
	"inherit":    (*Auth).unmarshalInherit,
	"renew":      (*Auth).unmarshalRenew,
	"optional":   (*Auth).unmarshalOptional,
	"forward":    (*Auth).unmarshalForward,

	"cors_preflight": (*Auth).unmarshalCORSPreflight,
}

// unmarshalAuth parses a block with the words of authWords. docs/configuration.md has
// the grammar.
func (h *Handler) unmarshalAuth(d *caddyfile.Dispenser) error {
	if d.NextArg() {
		return d.Err("auth takes no arguments, only a block")
	}
	h.Auth = new(Auth)
	return h.Auth.unmarshalBlock(d, sortedKeys(authWords)...)
}

// unmarshalBlock parses a block with some of authWords.
func (a *Auth) unmarshalBlock(d *caddyfile.Dispenser, allowed ...string) error {
	name := d.Val()
	words := make(map[string]func(*Auth, *caddyfile.Dispenser) error, len(allowed))
	for _, word := range allowed {
		words[word] = authWords[word]
	}
	if err := parseWords(d, a, name, words, make(map[string]bool), "token", "bearer", "provider"); err != nil {
		return err
	}
	if !slices.ContainsFunc(a.Token, func(c TokenCarrier) bool { return c.From == "subprotocol" && !c.Base64URL }) {
		for i := range a.Bearer {
			a.Bearer[i].Unofferable = false // it matters to such carriers alone
		}
	}
	if !a.acceptsAnyone() {
		d.Reset()
		d.Next() // the error is about the block, not about its last line
		return d.Errf("%s accepts nothing, so that nobody could pass: add bearer, jwt or introspect, or remove the block", name)
	}
	return nil
}

func (a *Auth) unmarshalJWT(d *caddyfile.Dispenser) error {
	a.JWT = new(JWT)
	return a.JWT.unmarshal(d)
}

// unmarshalIntrospect parses:
//
//	introspect <url> [<cache duration>] {
//	    timeout    <duration>
//	    trust_pool <module> ...
//	    allow_http
//	}
func (a *Auth) unmarshalIntrospect(d *caddyfile.Dispenser) error {
	const syntax = "introspect <url> [<cache duration>]"
	args := d.RemainingArgs()
	switch {
	case len(args) == 0:
		return d.Errf("an argument is missing: %s", syntax)
	case len(args) > 2:
		return d.Errf("too many arguments: %s", syntax)
	}
	a.Introspect = &Introspection{URL: args[0]}
	if len(args) > 1 {
		cache, err := caddy.ParseDuration(args[1])
		if err != nil || cache < 0 {
			return d.Errf("the cache duration of introspect is %q: give one such as 10s, or 0s for none", args[1])
		}
		a.Introspect.Cache = (*caddy.Duration)(&cache)
	}
	if err := a.Introspect.unmarshalBlock(d); err != nil {
		return err
	}
	if hasPlaceholder(args[0]) {
		return nil
	}
	d.Reset()
	d.Next() // an error is about the line, not about the end of its block
	if err := token.CheckIntrospectionURL(args[0], a.Introspect.AllowHTTP); err != nil {
		return d.Errf("introspect: %w", err)
	}
	return checkAllowHTTP(d, args[0], a.Introspect.AllowHTTP)
}

func (i *Introspection) unmarshalBlock(d *caddyfile.Dispenser) error {
	seen := make(map[string]bool)
	for d.NextBlock(0) {
		word := caddyfile.NewDispenser(wordTokens(d))
		word.Next()
		if err := once(word, seen, word.Val()); err != nil {
			return err
		}
		var err error
		switch word.Val() {
		case "timeout":
			i.Timeout, err = durationArg(word, "timeout", 1)
		case "trust_pool":
			i.CARaw, err = trustPool(word)
		case "allow_http":
			_, err = lineArgs(word, "allow_http", 0, 0)
			i.AllowHTTP = true
		default:
			err = unexpectedWord(word, "introspect", "allow_http", "timeout", "trust_pool")
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// unmarshalProvider parses:
//
//	provider <name> ...
func (a *Auth) unmarshalProvider(d *caddyfile.Dispenser) error {
	if !d.NextArg() {
		return d.Err("an argument is missing: provider <name> ...")
	}
	name := d.Val()
	if _, again := a.ProvidersRaw[name]; again {
		return d.Errf("provider %s stands twice", name)
	}
	id := "http.authentication.providers." + name
	if err := checkRegistered(d, "provider", "http.authentication.providers"); err != nil {
		return err
	}
	info, err := caddy.GetModule(id)
	if err != nil {
		return d.WrapErr(err)
	}
	if _, ok := info.New().(caddyfile.Unmarshaler); !ok {
		return d.Errf("provider %s cannot be configured in a Caddyfile: use JSON, or its own directive in front, and inherit", name)
	}
	module, err := caddyfile.UnmarshalModule(d, id)
	if err != nil {
		return err
	}
	if a.ProvidersRaw == nil {
		a.ProvidersRaw = make(caddy.ModuleMap)
	}
	a.ProvidersRaw[name] = caddyconfig.JSON(module, nil)
	return nil
}

// unmarshalInherit parses:
//
//	inherit
func (a *Auth) unmarshalInherit(d *caddyfile.Dispenser) error {
	_, err := lineArgs(d, "inherit", 0, 0)
	a.Inherit = true
	return err
}

// unmarshalRenew parses:
//
//	renew <path>
func (a *Auth) unmarshalRenew(d *caddyfile.Dispenser) error {
	args, err := lineArgs(d, "renew <path>", 1, 1)
	if err != nil {
		return err
	}
	if !strings.HasPrefix(args[0], "/") {
		return d.Errf("renew %q is not a path: begin it with a slash", args[0])
	}
	a.Renew = args[0]
	return nil
}

// unmarshalOptional parses:
//
//	optional
func (a *Auth) unmarshalOptional(d *caddyfile.Dispenser) error {
	_, err := lineArgs(d, "optional", 0, 0)
	a.Optional = true
	return err
}

// unmarshalForward parses:
//
//	forward
func (a *Auth) unmarshalForward(d *caddyfile.Dispenser) error {
	_, err := lineArgs(d, "forward", 0, 0)
	a.Forward = true
	return err
}

// unmarshalCORSPreflight parses:
//
//	cors_preflight
func (a *Auth) unmarshalCORSPreflight(d *caddyfile.Dispenser) error {
	_, err := lineArgs(d, "cors_preflight", 0, 0)
	a.CORSPreflight = true
	return err
}

// unmarshalToken parses:
//
//	token header [<field> [<scheme>]]
//	token cookie <name>
//	token query <name>
//	token subprotocol [<marker>] [base64url]
func (a *Auth) unmarshalToken(d *caddyfile.Dispenser) error {
	if !d.NextArg() {
		return d.Err("an argument is missing: token header|cookie|query|subprotocol ...")
	}
	carrier := TokenCarrier{From: d.Val()}
	var args []string
	var err error
	switch carrier.From {
	case "header":
		args, err = lineArgs(d, "token header [<field> [<scheme>]]", 0, 2)
	case "cookie", "query":
		args, err = lineArgs(d, "token "+carrier.From+" <name>", 1, 1)
	case "subprotocol":
		args, err = lineArgs(d, "token subprotocol [<marker>] [base64url]", 0, 2)
		if n := len(args); n > 0 && args[n-1] == "base64url" {
			carrier.Base64URL, args = true, args[:n-1]
		} else if n > 1 {
			err = d.Err("the marker may be followed by base64url, and by nothing else")
		}
	default:
		err = unexpectedWord(d, "token", "cookie", "header", "query", "subprotocol")
	}
	if err != nil {
		return err
	}
	if len(args) > 0 {
		carrier.Name = args[0]
	}
	if len(args) > 1 {
		carrier.Scheme = args[1]
	}
	a.Token = append(a.Token, carrier)
	if _, err := newCarriers(a.Token); err != nil {
		return d.WrapErr(err)
	}
	return nil
}

// unmarshalBearer parses:
//
//	bearer <token> [<user id>]
//
// No error shows the token.
func (a *Auth) unmarshalBearer(d *caddyfile.Dispenser) error {
	args, err := lineArgs(d, "bearer <token> [<user id>]", 1, 2)
	if err != nil {
		return err
	}
	bearer, err := adaptToken(d, args[0])
	if err != nil {
		return err
	}
	if len(args) > 1 {
		bearer.UserID = args[1]
	}
	same := func(other BearerToken) bool { return other.Token == bearer.Token }
	if slices.ContainsFunc(a.Bearer, same) {
		return d.Err("this bearer token stands twice")
	}
	a.Bearer = append(a.Bearer, bearer)
	return nil
}

// adaptToken replaces a token that stands in the Caddyfile by its hash, so
// that it does not show in the running configuration. Placeholders are
// resolved when the configuration is loaded and stay as they are.
func adaptToken(d *caddyfile.Dispenser, text string) (BearerToken, error) {
	if strings.Contains(text, "{http.") { // Caddy's shorthands make it of {file.name} as well
		return BearerToken{}, d.Err("a bearer token cannot depend on the request: use {env.*}, or {file.*} with a path that has a slash or a dot in it")
	}
	if hasPlaceholder(text) {
		return BearerToken{Token: text}, nil
	}
	hashed, err := token.Hashed(text, resolveSecret)
	if err != nil {
		return BearerToken{}, d.Errf("bearer: %w", err)
	}
	return BearerToken(hashed), nil
}
