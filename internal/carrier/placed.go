package carrier

import (
	"net/http"
	"slices"
	"strings"
)

// Placed is a credential where it came in a request: the upstream that it is
// forwarded to is sent it in the same place. It is nowhere else in the meantime,
// so that it is in no log, no placeholder and on no error page. The zero Placed is
// none.
type Placed struct {
	carrier carrier // nil for none
	raw     string
}

// IsNone reports whether there is no credential.
func (p Placed) IsNone() bool { return p.carrier == nil || p.raw == "" }

// PutInto adds the credential to a request to an upstream, whose header is its
// own.
func (p Placed) PutInto(out *http.Request) {
	if !p.IsNone() {
		p.carrier.put(out, p.raw)
	}
}

// Field is the header field that the credential stands in, or empty where it
// stands in none.
func (p Placed) Field() string {
	switch c := p.carrier.(type) {
	case *headerCarrier:
		return c.field
	case *cookieCarrier:
		return CookieField
	case *subprotocolCarrier:
		return ProtocolField
	}
	return ""
}

// Reveals reports whether the upstream, which saw the token among the offered
// subprotocols, selected it.
func (p Placed) Reveals(selected []string) bool {
	c, ok := p.carrier.(*subprotocolCarrier)
	return ok && slices.ContainsFunc(selected, func(name string) bool { return c.reveals(p.raw, name) })
}

// Foreign is the credential that others than these carriers read: most use the
// Authorization header. What one of the carriers reads in it is not.
func (s *Set) Foreign(r *http.Request) Placed {
	stripped := &http.Request{Header: http.Header{"Authorization": r.Header["Authorization"]}}
	for _, c := range s.carriers {
		if header, ok := c.(*headerCarrier); ok {
			header.strip(stripped)
		}
	}
	left := stripped.Header["Authorization"]
	if len(left) == 0 {
		return Placed{}
	}
	return Placed{&headerCarrier{field: "Authorization"}, left[0]}
}

// ForeignMayBeAmbient reports whether a browser may have attached by itself what
// others than our carriers took for a credential. Only a scheme that a page has to
// set itself, and nothing beside it, says that it did not.
func ForeignMayBeAmbient(r *http.Request) bool {
	value := r.Header.Get("Authorization")
	scheme, _, _ := strings.Cut(trimBlanks(value), " ")
	explicit := &headerCarrier{field: "Authorization", scheme: scheme}
	withCert := r.TLS != nil && len(r.TLS.PeerCertificates) > 0
	return scheme == "" || explicit.ambient() || len(r.Header[CookieField]) > 0 || withCert
}
