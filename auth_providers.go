package wsgateway

import (
	"errors"
	"maps"
	"net/http"
	"slices"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/caddyauth"
	"go.uber.org/zap"
)

// grantVar is where our own provider leaves what it granted, because what
// Caddy's interface passes on has no end and no ID.
const grantVar = "ws_gateway.grant"

// inheritCredential stands in the registry for the word of a handler in front.
const inheritCredential = "inherit"

// guest is an authentication provider of another module.
type guest struct {
	name     string
	provider caddyauth.Authenticator
	logger   *zap.Logger
}

func (g *guest) credential() string { return "provider " + g.name }

// guests are asked in the order of their names.
func newGuests(modules map[string]any, logger *zap.Logger) ([]*guest, error) {
	guests := make([]*guest, 0, len(modules))
	for _, name := range slices.Sorted(maps.Keys(modules)) {
		provider, ok := modules[name].(caddyauth.Authenticator)
		if !ok {
			return nil, errors.New(name + " is not an authentication provider")
		}
		guests = append(guests, &guest{name, provider, logger})
	}
	return guests, nil
}

// ask lets the guest look at the request. Its answer reaches the client only in
// so far as others do not answer: cookies of a guest that lets in, challenges
// of one that does not.
func (g *guest) ask(w http.ResponseWriter, r *http.Request) (*grant, *guestAnswer) {
	answer := &guestAnswer{header: make(http.Header)}
	user, ok, err := g.provider.Authenticate(answer, r)
	if err != nil {
		g.logger.Error("an authentication provider failed", zap.String("provider", g.name), zap.Error(err))
		return nil, answer
	}
	if !ok {
		return nil, answer
	}
	maps.Copy(w.Header(), answer.header)
	granted := &grant{userID: user.ID, credential: g.credential(), metadata: user.Metadata}
	granted.takeOver(takeGrant(r))
	return granted, nil
}

// guestAnswer is what a guest wrote.
type guestAnswer struct {
	header http.Header
	status int
}

// Header implements http.ResponseWriter.
func (a *guestAnswer) Header() http.Header { return a.header }

// WriteHeader implements http.ResponseWriter.
func (a *guestAnswer) WriteHeader(status int) {
	if a.status == 0 {
		a.status = status
	}
}

// Write implements http.ResponseWriter. The body of a refusal is Caddy's.
func (a *guestAnswer) Write(p []byte) (int, error) {
	a.WriteHeader(http.StatusOK)
	return len(p), nil
}

// redirects tells whether the guest sends the client elsewhere to log in.
func (a *guestAnswer) redirects() bool {
	return a.status >= 300 && a.status < 400 && a.header.Get("Location") != ""
}

// askOthers asks those that can let in a request whose token, if it has any, we
// do not know: a handler in front, where it counts, and the guests. It returns
// nil where none does; what they answer is then on w, and redirect is the status
// with which one of them sends the client elsewhere.
func (a *authenticator) askOthers(w http.ResponseWriter, r *http.Request, inherited string) (g *grant, redirect int) {
	if inherited != "" {
		granted := &grant{userID: inherited, credential: inheritCredential, inherited: true}
		granted.takeOver(takeGrant(r))
		return granted, 0
	}
	for _, guest := range a.guests {
		granted, answer := guest.ask(w, r)
		switch {
		case granted != nil:
			w.Header().Del("WWW-Authenticate") // of those before
			return granted, 0
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

// trustsOthers tells whether somebody else may know a credential in a request.
func (a *authenticator) trustsOthers() bool { return a.inherit || len(a.guests) > 0 }

func leaveGrant(r *http.Request, g *grant) { caddyhttp.SetVar(r.Context(), grantVar, g) }

func takeGrant(r *http.Request) *grant {
	g, _ := caddyhttp.GetVar(r.Context(), grantVar).(*grant)
	return g
}

// takeOver adds what our own provider found, where it was that one.
func (g *grant) takeOver(own *grant) {
	if own != nil {
		g.jti, g.expires, g.issuer = own.jti, own.expires, own.issuer
	}
}

// Interface guards
var _ http.ResponseWriter = (*guestAnswer)(nil)
