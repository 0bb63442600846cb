package carrier

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/net/http/httpguts"
)

// The header fields that carriers read and rewrite, as net/http's servers
// spell them.
const (
	ProtocolField = "Sec-Websocket-Protocol" // the offered subprotocols, or the selected one
	CookieField   = "Cookie"

	refererField = "Referer"
)

// carrier is one place in a request where a token may be. It knows nothing of
// which tokens are good.
type carrier interface {
	// find returns the token, and its other readings where several values are
	// there or the token may be encoded; nothing where it is empty or missing.
	find(r *http.Request) []string

	// strip removes everything that find may return, and the carrier itself
	// where its token is empty; and also the other spellings that an upstream,
	// but not find, may take for the carrier. strip replaces values and never
	// writes into them, so that a shallow copy of the request with a header of
	// its own is safe.
	strip(r *http.Request)

	// rawOf returns the text that stands in r for a token that find returned. put
	// adds such a text to a request of the same kind, whose header is not shared
	// with another request.
	rawOf(r *http.Request, token string) string
	put(r *http.Request, raw string)

	// ambient reports whether browsers attach this credential to requests that
	// other sites cause.
	ambient() bool

	// key is the same for two carriers that look at the same place.
	key() string
}

// newCarrier compiles one configured place.
func newCarrier(config Place) (carrier, error) {
	switch {
	case config.Scheme != "" && config.From != "header":
		return nil, errors.New("scheme is for header only: remove it")
	case config.Base64URL && config.From != "subprotocol":
		return nil, errors.New("base64url is for subprotocol only: remove it")
	}
	name := config.Name
	switch config.From {
	case "header":
		return newHeaderCarrier(name, config.Scheme)
	case "cookie":
		if !httpguts.ValidHeaderFieldName(name) {
			return nil, fmt.Errorf("name %q is not the name of a cookie: give one such as \"session\"", name)
		}
		return &cookieCarrier{name: name}, nil
	case "query":
		if name == "" || !utf8.ValidString(name) || strings.ContainsFunc(name, breaksParameter) {
			return nil, fmt.Errorf("name %q is not the name of a query parameter: give one such as \"token\"", name)
		}
		return &queryCarrier{name: name}, nil
	case "subprotocol":
		if name == "" {
			name = "bearer"
		}
		if !httpguts.ValidHeaderFieldName(name) {
			return nil, fmt.Errorf("name %q cannot be a subprotocol: give a marker of letters, digits and dots", name)
		}
		return &subprotocolCarrier{marker: marker{name, config.Base64URL}}, nil
	default:
		return nil, fmt.Errorf("from %q is unknown: use header, cookie, query or subprotocol", config.From)
	}
}

// breaksParameter reports whether the name of a query parameter cannot have the
// character.
func breaksParameter(c rune) bool { return unicode.IsControl(c) || c == '{' || c == '}' }
