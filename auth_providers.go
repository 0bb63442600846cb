package wsgateway

import (
	"errors"
	"maps"
	"net/http"
	"slices"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/caddyauth"
	"go.uber.org/zap"

	"github.com/wsgateway/caddy-ws-gateway/internal/token"
)

// grantVar is the variable of a request in which our own provider leaves its grant:
// the user that Caddy's interface passes on has neither an expiry nor a token ID.
const grantVar = "ws_gateway.grant"

// revokedVar is the variable of a request in which our own provider leaves that the
// credential was revoked.
const revokedVar = "ws_gateway.revoked"

// inheritCredential names, among credentials, a user found by a handler in front.
const inheritCredential = "inherit"

// provider is an authentication provider of another module.
type provider struct {
	name   string
	module caddyauth.Authenticator
	logger *zap.Logger
}

func (p *provider) credential() string { return "provider " + p.name }

// provided is a user that a provider, or a handler in front, has found.
type provided struct {
	token.Grant

	metadata  map[string]string // of a provider, instead of claims
	inherited bool              // a handler in front has set the placeholders of the user
}

// newProvided returns the user that the credential let in, with the ID, the dates and the
// issuer of the token where our own provider verified one.
func newProvided(r *http.Request, userID, credential string) *provided {
	p := &provided{Grant: token.Grant{UserID: userID, Credential: credential}}
	if own := takeGrant(r); own != nil {
		p.JTI, p.Issued, p.Expires, p.Issuer = own.JTI, own.Issued, own.Expires, own.Issuer
	}
	return p
}

// newProviders lists the providers in the order of their names, in which they are
// asked.
func newProviders(modules map[string]any, logger *zap.Logger) ([]*provider, error) {
	providers := make([]*provider, 0, len(modules))
	for _, name := range slices.Sorted(maps.Keys(modules)) {
		module, ok := modules[name].(caddyauth.Authenticator)
		if !ok {
			return nil, errors.New(name + " is not an authentication provider")
		}
		providers = append(providers, &provider{name, module, logger})
	}
	return providers, nil
}

// ask lets the provider look at the request. The provider writes to an answer of its
// own, of which the client gets only parts: the header of a provider that lets the
// request in, and the challenges or the redirect of a provider that does not.
func (p *provider) ask(w http.ResponseWriter, r *http.Request) (*provided, *providerAnswer) {
	answer := &providerAnswer{header: make(http.Header)}
	caddyhttp.SetVar(r.Context(), revokedVar, nil) // what a handler in front has left
	user, ok, err := p.module.Authenticate(answer, r)
	if err != nil {
		p.logger.Error("an authentication provider failed", zap.String("provider", p.name), zap.Error(err))
		return nil, answer
	}
	if !ok {
		return nil, answer
	}
	maps.Copy(w.Header(), answer.header)
	found := newProvided(r, user.ID, p.credential())
	found.metadata = user.Metadata
	return found, nil
}

// providerAnswer is what a provider wrote.
type providerAnswer struct {
	header http.Header
	status int
}

// Header implements http.ResponseWriter.
func (a *providerAnswer) Header() http.Header { return a.header }

// WriteHeader implements http.ResponseWriter.
func (a *providerAnswer) WriteHeader(status int) {
	if a.status == 0 {
		a.status = status
	}
}

// Write implements http.ResponseWriter. The body of a refusal is Caddy's.
func (a *providerAnswer) Write(p []byte) (int, error) {
	a.WriteHeader(http.StatusOK)
	return len(p), nil
}

// redirects reports whether the provider sends the client elsewhere to log in.
func (a *providerAnswer) redirects() bool {
	return a.status >= 300 && a.status < 400 && a.header.Get("Location") != ""
}

// leaveRevoked and takeRevoked carry the error of our own provider to the gateway that has
// asked it, because Caddy's interface knows only that there is no user.
func leaveRevoked(r *http.Request, err *token.RevokedError) {
	caddyhttp.SetVar(r.Context(), revokedVar, err)
}

func takeRevoked(r *http.Request) error {
	if err, ok := caddyhttp.GetVar(r.Context(), revokedVar).(*token.RevokedError); ok {
		return err
	}
	return nil
}

func leaveGrant(r *http.Request, g *token.Grant) { caddyhttp.SetVar(r.Context(), grantVar, g) }

func takeGrant(r *http.Request) *token.Grant {
	g, _ := caddyhttp.GetVar(r.Context(), grantVar).(*token.Grant)
	return g
}

// Interface guards
var _ http.ResponseWriter = (*providerAnswer)(nil)
