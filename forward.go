package wsgateway

import (
	"net/http"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp/headers"
)

// placed is a credential where it came in a request: the upstream that it is
// forwarded to is sent it in the same place. It is nowhere else in the meantime,
// so that it is in no log, no placeholder and on no error page.
type placed struct {
	carrier carrier // nil for none
	raw     string
}

// putInto adds the credential to what is sent to an upstream.
func (p placed) putInto(out *http.Request) {
	if p.carrier != nil && p.raw != "" {
		p.carrier.put(out, p.raw)
	}
}

// onto is putInto for a request that is another's.
func (p placed) onto(r *http.Request, ops *headers.HeaderOps) *http.Request {
	if p.carrier == nil || p.raw == "" || p.overruled(ops) {
		return r
	}
	out := r.WithContext(r.Context())
	out.Header = r.Header.Clone()
	p.putInto(out)
	return out
}

// overruled tells whether header operations, which are over, set or delete the
// field.
func (p placed) overruled(ops *headers.HeaderOps) bool {
	field := ""
	switch c := p.carrier.(type) {
	case *headerCarrier:
		field = c.field
	case *cookieCarrier:
		field = cookieField
	case *subprotocolCarrier:
		field = protocolField
	}
	if ops == nil || field == "" {
		return false
	}
	_, set := ops.Set[field]
	return set || slices.ContainsFunc(ops.Delete, func(name string) bool { return strings.EqualFold(name, field) })
}

// reveals tells whether the upstream, which saw the token among the offered
// subprotocols, selected it.
func (p placed) reveals(selected []string) bool {
	c, ok := p.carrier.(*subprotocolCarrier)
	return ok && slices.ContainsFunc(selected, func(name string) bool { return c.reveals(p.raw, name) })
}

// placedElsewhere is the credential that somebody else verified: most use the
// Authorization header. What our own carriers read in it is not.
func (s *carrierSet) placedElsewhere(r *http.Request) placed {
	stripped := &http.Request{Header: http.Header{"Authorization": r.Header["Authorization"]}}
	for _, c := range s.carriers {
		if header, ok := c.(*headerCarrier); ok {
			header.strip(stripped)
		}
	}
	left := stripped.Header["Authorization"]
	if len(left) == 0 {
		return placed{}
	}
	return placed{&headerCarrier{field: "Authorization"}, left[0]}
}
