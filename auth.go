package wsgateway

import (
	"errors"
	"maps"
	"net/http"
	"slices"
	"time"

	"github.com/wsgateway/caddy-ws-gateway/internal/carrier"
	"github.com/wsgateway/caddy-ws-gateway/internal/live"
	"github.com/wsgateway/caddy-ws-gateway/internal/revocation"
	"github.com/wsgateway/caddy-ws-gateway/internal/token"
)

// errNoCredential is the answer to a request in which no carrier holds a token.
var errNoCredential = errors.New("no credential in the request")

// identity is the user of a request.
type identity struct {
	userID    string       // "" where the token names none, or anonymous
	anonymous bool         // no credential, and none is required
	ambient   bool         // browsers attach the deciding credential by themselves, as they do a cookie
	grant     *token.Grant // nil for the anonymous, and without auth
	inFront   *token.Grant // without auth, of the user that a handler in front has found; nil for none
	provided  *provided    // nil unless another handler or module has found the user

	// The offered subprotocol to select where the upstream chooses none, because
	// a token was offered too. Never a token; "" where no token was offered, or
	// nothing but tokens.
	fallbackProtocol string

	// Whether nothing but a token was offered, so that no answer would please a
	// browser.
	offersNothingElse bool

	// The credential to send to the upstream; none unless the configuration asks
	// for that.
	forwarded carrier.Placed
}

// authority is that of a connection that the user opens; the zero value for the
// anonymous. Without auth, a connection does not end with a credential, but may be revoked
// by what a handler in front says of it.
func (id *identity) authority() live.Authority {
	switch {
	case id.grant != nil:
		return authorityOf(id.grant)
	case id.inFront != nil:
		return live.NewAuthority(id.inFront.JTI, "", "", id.inFront.Issued, time.Time{})
	}
	return live.Authority{}
}

// authorityOf is the authority of a connection that the grant let in.
func authorityOf(g *token.Grant) live.Authority {
	return live.NewAuthority(g.JTI, g.Credential, g.Issuer, g.Issued, g.Expires)
}

// credentialOf is what a revocation may refuse of a grant at a gateway, which is empty
// for a place that is none.
func credentialOf(gateway string, g *token.Grant) revocation.Credential {
	return revocation.Credential{Gateway: gateway, User: g.UserID, JTI: g.JTI, Issued: max(0, g.Issued.Unix())}
}

// authenticator is an Auth, compiled.
type authenticator struct {
	carriers  *carrier.Set
	tokens    *token.Verifier
	providers []*provider
	revoked   func(*token.Grant) bool // by an operator
	inherit   bool
	optional  bool
	forward   bool

	preflight bool // CORS preflights need no credential
}

// authenticate finds the user of r by its token. The error is errNoCredential, or
// one of token.Verifier's. It leaves r as it is.
func (a *authenticator) authenticate(r *http.Request) (identity, error) {
	found := a.carriers.Find(r)
	var id identity
	id.fallbackProtocol, id.offersNothingElse = a.carriers.FallbackProtocol(r)
	if len(found.Tokens) == 0 || a.tokens.IsEmpty() {
		if !a.optional {
			return identity{}, errNoCredential
		}
		id.anonymous = true
		return id, nil
	}
	g, good, err := a.tokens.VerifyAny(r.Context(), found.Tokens, time.Now())
	if err != nil {
		return identity{}, err
	}
	id.userID, id.grant, id.ambient = g.UserID, g, found.Ambient()
	if a.forward {
		id.forwarded = found.Placed(r, good)
	}
	return id, nil
}

// askOthers finds the user of a request that has no known token: the inherited user
// of a handler in front, unless empty, or the user that a provider finds. Where there
// is none, it returns nil, w has the answers of the providers, and redirect is the
// status with which a provider sends the client elsewhere, or 0.
func (a *authenticator) askOthers(w http.ResponseWriter, r *http.Request, inherited string) (found *provided, redirect int) {
	if inherited != "" {
		found = newProvided(r, inherited, inheritCredential)
		found.inherited = true
		return found, 0
	}
	for _, p := range a.providers {
		found, answer := p.ask(w, r)
		switch {
		case found == nil && takeRevoked(r) != nil:
			maps.Copy(w.Header(), answer.header)
			return nil, 0 // nobody else is to take the token
		case found != nil:
			w.Header().Del("WWW-Authenticate") // of the providers before
			return found, 0
		case answer.redirects() && redirect == 0:
			redirect = answer.status
			maps.Copy(w.Header(), answer.header)
		default:
			for _, challenge := range answer.header["Www-Authenticate"] {
				w.Header().Add("WWW-Authenticate", challenge)
			}
		}
	}
	return nil, redirect
}

// refusedAsRevoked is the error where the user that another handler or module has found
// was revoked; nil where none was. found is nil where they let nobody in: our own provider
// may have refused a revoked token.
func (a *authenticator) refusedAsRevoked(r *http.Request, found *provided) error {
	if found == nil {
		return takeRevoked(r)
	}
	if a.revoked(&found.Grant) {
		return &token.RevokedError{UserID: found.UserID}
	}
	return nil
}

// trustsOthers reports whether another handler or module may know a credential in
// a request.
func (a *authenticator) trustsOthers() bool { return a.inherit || len(a.providers) > 0 }

// takesAmbient reports whether a credential that browsers attach by themselves
// may decide.
func (a *authenticator) takesAmbient() bool {
	return a.trustsOthers() || a.carriers.Ambient()
}

// credentials lists the credentials that may let a connection in, by their names in
// token.Grant: ofTokens, the providers and the handler in front.
func (a *authenticator) credentials(ofTokens []string) []string {
	names := slices.Clip(ofTokens)
	for _, p := range a.providers {
		names = append(names, p.credential())
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
	if a.trustsOthers() { // the field that providers and handlers in front use most
		delete(r.Header, "Authorization")
	}
}
