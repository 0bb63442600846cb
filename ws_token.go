package wsgateway

import (
	"errors"
	"net/http"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/caddyauth"
	"go.uber.org/zap"

	"github.com/wsgateway/caddy-ws-gateway/internal/handshake"
	"github.com/wsgateway/caddy-ws-gateway/internal/token"
)

func init() {
	caddy.RegisterModule(new(TokenProvider))
	httpcaddyfile.RegisterHandlerDirective("ws_token", parseTokenProvider)
	httpcaddyfile.RegisterDirectiveOrder("ws_token", httpcaddyfile.After, "basic_auth")
}

// TokenProvider is the verification of tokens of the ws_gateway handler, for
// Caddy's own `authentication` handler. A credential is removed from the request
// before other handlers see it. Origins are not compared.
//
// Where a ws_gateway behind it has `inherit`, a live connection ends with the
// token. These placeholders are set from a token:
//
// Placeholder | Description
// ------------|-------------
// `{http.auth.user.id}` | The ID of the user.
// `{http.auth.user.<claim>}` | Every claim that is a string, a number or a boolean; those of nested objects with dots between the names.
type TokenProvider struct {
	// The places where a token may be, in order: the first that is present in a
	// request decides, and all of them are stripped from it.
	// Default: the Authorization header with the Bearer scheme.
	Token []TokenCarrier `json:"token,omitempty"`

	// Static tokens that are accepted (RFC 6750).
	Bearer []BearerToken `json:"bearer,omitempty"`

	// Signed tokens that are accepted (RFC 7519).
	JWT *JWT `json:"jwt,omitempty"`

	// A service that knows which tokens are good (RFC 7662).
	Introspect *Introspection `json:"introspect,omitempty"`

	auth   *loadedAuth
	logger *zap.Logger
	detach func() // from the storage
}

// CaddyModule returns the Caddy module information.
func (*TokenProvider) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.authentication.providers.ws_token",
		New: func() caddy.Module { return new(TokenProvider) },
	}
}

// Provision sets the provider up. It does not wait for the network.
func (p *TokenProvider) Provision(ctx caddy.Context) (err error) {
	p.logger = ctx.Logger(new(Handler)) // with the lines of gateways
	p.detach = kept.attach(ctx)
	p.auth, err = loadAuth(ctx, &Auth{Token: p.Token, Bearer: p.Bearer, JWT: p.JWT, Introspect: p.Introspect}, isRevokedAnywhere)
	if err == nil {
		p.auth.tokens.Watch(ctx, func(_ []string, apply func()) { apply() })
	}
	return err
}

// Cleanup gives back what Provision took.
func (p *TokenProvider) Cleanup() error {
	p.auth.release()
	if p.detach != nil {
		p.detach()
	}
	return nil
}

// Authenticate implements caddyauth.Authenticator.
func (p *TokenProvider) Authenticate(w http.ResponseWriter, r *http.Request) (caddyauth.User, bool, error) {
	if handshake.Misshapen(r, sentURL(r)) != "" { // matchers in front have not seen a path of it
		w.Header().Set("WWW-Authenticate", token.Challenge("ws_token", errNoCredential))
		forgetTarget(r)
		return caddyauth.User{}, false, nil
	}
	replacerOf(r).Map(emptyUnlessSet)
	who, err := p.auth.authenticate(r)
	stripEverywhere(p.auth.authenticator, r)
	if err, ok := errors.AsType[*token.RevokedError](err); ok {
		p.reportRevoked(w, r, err)
	}
	switch {
	case errors.Is(err, token.ErrUnavailable):
		return caddyauth.User{}, false, err
	case err != nil:
		w.Header().Set("WWW-Authenticate", token.Challenge("ws_token", err))
		return caddyauth.User{}, false, nil
	}
	user := caddyauth.User{ID: who.userID, Metadata: make(map[string]string)}
	who.grant.EachClaim(func(name, value string) {
		if name != "id" { // it would take the place of the ID
			user.Metadata[name] = value
		}
	})
	leaveGrant(r, who.grant)
	return user, true, nil
}

// isRevokedAnywhere reports whether an operator has revoked, for all gateways, what lets a
// user in: who asks is none.
func isRevokedAnywhere(g *token.Grant) bool {
	return process.Revocations.Find(credentialOf("", g)) != nil
}

// reportRevoked logs that a revoked credential is refused. A gateway that asks its provider
// does so itself.
func (p *TokenProvider) reportRevoked(w http.ResponseWriter, r *http.Request, err *token.RevokedError) {
	leaveRevoked(r, err)
	if _, byGateway := w.(*providerAnswer); !byGateway {
		reportRefused(p.logger, "", r, revoked(err))
	}
}

// UnmarshalCaddyfile parses:
//
//	ws_token {
//	    token  ...
//	    bearer ...
//	    jwt    { ... }
//	    introspect ...
//	}
//
// with the words of ws_gateway's auth block.
func (p *TokenProvider) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the name
	if d.NextArg() {
		return d.Err("ws_token takes no arguments, only a block")
	}
	auth := new(Auth)
	if err := auth.unmarshalBlock(d, "bearer", "introspect", "jwt", "token"); err != nil {
		return err
	}
	p.Token, p.Bearer, p.JWT, p.Introspect = auth.Token, auth.Bearer, auth.JWT, auth.Introspect
	return nil
}

// parseTokenProvider makes Caddy's authentication handler of the directive:
//
//	ws_token [<matcher>] { ... }
func parseTokenProvider(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
	provider := new(TokenProvider)
	if err := provider.UnmarshalCaddyfile(h.Dispenser); err != nil {
		return nil, err
	}
	return caddyauth.Authentication{
		ProvidersRaw: caddy.ModuleMap{"ws_token": caddyconfig.JSON(provider, nil)},
	}, nil
}

// Interface guards
var (
	_ caddy.Provisioner       = (*TokenProvider)(nil)
	_ caddy.CleanerUpper      = (*TokenProvider)(nil)
	_ caddyauth.Authenticator = (*TokenProvider)(nil)
	_ caddyfile.Unmarshaler   = (*TokenProvider)(nil)
)
