// Package carrier finds the credentials of a request in the places where clients
// send them, takes them out of the request, and puts the credential that is to be
// forwarded back. It does not know which credentials are good.
package carrier

import (
	"fmt"
	"net/http"
	"slices"

	"golang.org/x/net/http/httpguts"
)

// Place is one place in a request where a token may be, as it is configured.
type Place struct {
	// From is the kind: header, cookie, query or subprotocol.
	From string

	// Name is that of the header field, cookie or query parameter, or the marker
	// of a subprotocol.
	Name string

	// Scheme is the authentication scheme in front of the token in a header.
	Scheme string

	// Base64URL says that the token in a subprotocol is encoded.
	Base64URL bool
}

// Set is the carriers of one configuration in their order.
type Set struct {
	carriers []carrier
	markers  []marker // of the subprotocol carriers
}

// New compiles the configured places; none means the Authorization header with
// the Bearer scheme. Its errors name the fields of the configuration.
func New(places []Place) (*Set, error) {
	if len(places) == 0 {
		places = []Place{{From: "header"}}
	}
	set := new(Set)
	seen := make(map[string]int, len(places))
	for i, place := range places {
		c, err := newCarrier(place)
		if err != nil {
			return nil, fmt.Errorf("auth.token[%d]: %w", i, err)
		}
		if first, again := seen[c.key()]; again {
			return nil, fmt.Errorf("auth.token[%d]: the same carrier as auth.token[%d]: remove one", i, first)
		}
		seen[c.key()] = i
		set.carriers = append(set.carriers, c)
		if s, ok := c.(*subprotocolCarrier); ok {
			set.markers = append(set.markers, s.marker)
		}
	}
	// A marker of one carrier must not be taken for the token of another, so
	// each subprotocol carrier knows all markers.
	for _, c := range set.carriers {
		if s, ok := c.(*subprotocolCarrier); ok {
			s.markers = set.markers
		}
	}
	return set, nil
}

// Found holds the tokens in the first carrier that is present in a request.
type Found struct {
	// Tokens are the readings of the carrier, of which one may be the token that
	// decides; empty where no carrier holds a token.
	Tokens []string

	from carrier // nil without tokens
}

// Ambient reports whether browsers attach such a credential to requests that
// other sites cause.
func (f Found) Ambient() bool { return f.from != nil && f.from.ambient() }

// Placed is one of the tokens where it stands in r.
func (f Found) Placed(r *http.Request, token string) Placed {
	return Placed{f.from, f.from.rawOf(r, token)}
}

// Find returns the tokens of which one may decide. It leaves r as it is.
func (s *Set) Find(r *http.Request) Found {
	for _, c := range s.carriers {
		if tokens := c.find(r); len(tokens) > 0 {
			return Found{tokens, c}
		}
	}
	return Found{}
}

// AppendTokens appends the possible tokens in all carriers.
func (s *Set) AppendTokens(tokens []string, r *http.Request) []string {
	for _, c := range s.carriers {
		tokens = append(tokens, c.find(r)...)
	}
	return tokens
}

// Strip removes from r, in place, everything that the carriers may hold or an upstream
// may read in them. The header map of r is changed; values, and the URL that r points
// to, are replaced and not written into.
func (s *Set) Strip(r *http.Request) {
	for _, c := range s.carriers {
		c.strip(r)
	}
}

// InURI reports whether one of the carriers is in the URI of requests, so that Strip may
// change the URI.
func (s *Set) InURI() bool {
	return slices.ContainsFunc(s.carriers, func(c carrier) bool { _, ok := c.(*queryCarrier); return ok })
}

// Ambient reports whether browsers attach the credential of one of the carriers
// to requests that other sites cause.
func (s *Set) Ambient() bool { return slices.ContainsFunc(s.carriers, carrier.ambient) }

// PlainSubprotocol reports whether one of the carriers is a subprotocol whose
// token is not encoded.
func (s *Set) PlainSubprotocol() bool {
	return slices.ContainsFunc(s.markers, func(m marker) bool { return !m.base64url })
}

// FallbackProtocol is the offered subprotocol to select where the upstream chooses
// none: a browser gives up unless one of the subprotocols that it offered is selected.
// The name is empty where no token was offered, because then the upstream saw the
// whole offer and its silence counts, and where nothing but tokens was offered, which
// nothingElse reports. Which carrier decided does not matter, because all of them are
// stripped.
func (s *Set) FallbackProtocol(r *http.Request) (name string, nothingElse bool) {
	if len(s.markers) == 0 {
		return "", false
	}
	offered := siftProtocols(r.Header[ProtocolField], s.markers)
	if len(offered.tokens) == 0 {
		return "", false
	}
	for _, name := range offered.kept {
		if httpguts.ValidHeaderFieldName(name) {
			return name, false
		}
	}
	for _, t := range offered.tokens {
		if marker, own := t.ownMarker(); own && !offered.isToken(marker) {
			return marker, false
		}
	}
	return "", true
}
