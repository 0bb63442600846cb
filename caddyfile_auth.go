package wsgateway

import (
	"encoding/hex"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

// unmarshalAuth parses:
//
//	auth {
//	    token  ...
//	    bearer ...
//	    optional
//	}
func (h *Handler) unmarshalAuth(d *caddyfile.Dispenser) error {
	if d.NextArg() {
		return d.Err("auth takes no arguments, only a block")
	}
	auth := new(Auth)
	for d.NextBlock(0) {
		if err := auth.unmarshalWord(caddyfile.NewDispenser(wordTokens(d))); err != nil {
			return err
		}
	}
	if len(auth.Bearer) == 0 {
		d.Reset()
		d.Next() // the error is about the block, not about its last line
		return d.Err("auth accepts no token, so that nobody could pass: add a bearer line, or remove the block")
	}
	h.Auth = auth
	return nil
}

// unmarshalWord parses one line of an auth block.
func (a *Auth) unmarshalWord(d *caddyfile.Dispenser) error {
	d.Next()
	switch d.Val() {
	case "token":
		return a.unmarshalToken(d)
	case "bearer":
		return a.unmarshalBearer(d)
	case "optional":
		if _, err := lineArgs(d, "optional", 0, 0); err != nil {
			return err
		}
		if a.Optional {
			return d.Err("optional is already set: it may stand once")
		}
		a.Optional = true
		return nil
	}
	return unexpectedWord(d, "auth", "bearer", "optional", "token")
}

// unmarshalToken parses:
//
//	token header [<field> [<scheme>]]
//	token cookie <name>
//	token query <name>
//	token subprotocol [<marker>]
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
		args, err = lineArgs(d, "token subprotocol [<marker>]", 0, 1)
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
	if _, err := newCarrierSet(a.Token); err != nil {
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
	token, err := adaptToken(d, args[0])
	if err != nil {
		return err
	}
	bearer := BearerToken{Token: token}
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
func adaptToken(d *caddyfile.Dispenser, token string) (string, error) {
	if strings.Contains(token, "{http.") { // Caddy's shorthands make it of {file.name} as well
		return "", d.Err("a bearer token cannot depend on the request: use {env.*}, or {file.*} with a path that has a slash or a dot in it")
	}
	if hasPlaceholder(token) {
		return token, nil
	}
	hash, err := hashOfToken(token)
	if err != nil {
		return "", d.Errf("bearer: %w", err)
	}
	return hashPrefix + hex.EncodeToString(hash[:]), nil
}
