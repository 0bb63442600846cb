package carrier

import (
	"net/http"
	"slices"
	"strings"
)

// Placed is a credential and the place in a request where it came, in which it is
// forwarded to an upstream. In the meantime the credential is nowhere else, so that it
// gets into no log, no placeholder and no error page. The zero Placed is no credential.
type Placed struct {
	carrier carrier // nil for none
	raw     string
}

// IsNone reports whether there is no credential.
func (p Placed) IsNone() bool { return p.carrier == nil || p.raw == "" }

// PutInto adds the credential to a request to an upstream. The header of the request
// must not be shared with another request.
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

// Reveals reports whether the upstream selected the token, which it saw among the
// offered subprotocols.
func (p Placed) Reveals(selected []string) bool {
	c, ok := p.carrier.(*subprotocolCarrier)
	return ok && slices.ContainsFunc(selected, func(name string) bool { return c.reveals(p.raw, name) })
}

// Foreign is the credential that another handler or module may have read, mostly from
// the Authorization header. Credentials in that header that one of the carriers reads
// are left out.
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

// ForeignMayBeAmbient reports whether a browser may have attached by itself the
// credential that another handler or module has read. It cannot have done so only
// where the request has credentials of a scheme that a page has to set itself, and
// neither a cookie nor a client certificate.
func ForeignMayBeAmbient(r *http.Request) bool {
	value := r.Header.Get("Authorization")
	scheme, _, _ := strings.Cut(trimBlanks(value), " ")
	explicit := &headerCarrier{field: "Authorization", scheme: scheme}
	withCert := r.TLS != nil && len(r.TLS.PeerCertificates) > 0
	return scheme == "" || explicit.ambient() || len(r.Header[CookieField]) > 0 || withCert
}
