package wsgateway

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp/headers"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/wsgateway/caddy-ws-gateway/internal/balance"
	"github.com/wsgateway/caddy-ws-gateway/internal/carrier"
)

// proxied travels with a request through the embedded reverse_proxy.
type proxied struct {
	lease     *balance.Lease // the place of a plain request; its own at first
	own       balance.Lease
	lent      bool           // a stream has the lease
	use       balance.Use    // what the place is for
	forwarded carrier.Placed // the credential to send to the upstream

	// The upstream whose place the lease holds already; nil once it was given to
	// reverse_proxy, and where reverse_proxy is to ask for one.
	chosen *reverseproxy.Upstream

	upstream *reverseproxy.Upstream // that was asked for last
	tried    []string               // addresses that could not be reached
	watcher  watcher                // sees what the upstream says before reverse_proxy does; nil for nobody

	// An upstream's refusal of a handshake. It takes reverse_proxy's way to
	// the client, so that handle_response, header_down, unhealthy_status and
	// so on apply to it.
	refusedBy *reverseproxy.Upstream
	refusal   *http.Response
}

// watcher decides what reverse_proxy gets of what an upstream says.
type watcher interface {
	answered(*http.Response, error) (*http.Response, error)
}

type proxiedKey struct{}

// begin prepares for a request that is sent with the credential.
func (p *proxied) begin(use balance.Use, forwarded carrier.Placed) {
	p.lease, p.use, p.forwarded = &p.own, use, forwarded
}

func withProxied(r *http.Request, p *proxied) *http.Request {
	return r.WithContext(context.WithValue(r.Context(), proxiedKey{}, p))
}

func proxiedFrom(ctx context.Context) *proxied {
	p, _ := ctx.Value(proxiedKey{}).(*proxied)
	return p
}

// choiceForProxy makes reverse_proxy choose as the gateway does, so that plain
// requests and WebSockets share one balance.
type choiceForProxy struct{ balancer *balancer }

// Select implements reverseproxy.Selector.
func (s *choiceForProxy) Select(pool reverseproxy.UpstreamPool, r *http.Request, w http.ResponseWriter) *reverseproxy.Upstream {
	p := proxiedFrom(r.Context())
	if p == nil {
		return nil
	}
	if p.refusal != nil {
		return sameIn(pool, p.refusedBy)
	}
	up := s.choose(p, pool, w, r)
	if up == nil {
		w.Header().Set("Retry-After", retryAfter)
		return nil
	}
	w.Header().Del("Retry-After")
	setUpstreamPlaceholder(r, p.lease.Address())
	p.upstream = up
	return up
}

func (s *choiceForProxy) choose(p *proxied, pool reverseproxy.UpstreamPool, w http.ResponseWriter, r *http.Request) *reverseproxy.Upstream {
	if up := p.chosen; up != nil {
		p.chosen = nil
		return sameIn(pool, up)
	}
	p.lease.Release() // the lease of the try before this one
	if p.lent {
		p.lease, p.lent = new(balance.Lease), false
	}
	ask := balance.Ask{Use: p.use}
	if len(p.tried) > 0 {
		ask.Skip = p.wasTried
	}
	up, _ := s.balancer.choose(p.lease, ask, pool, w, r)
	if up == nil && ask.Skip != nil {
		p.tried, ask.Skip = nil, nil
		up, _ = s.balancer.choose(p.lease, ask, pool, w, r)
	}
	return up
}

func (p *proxied) wasTried(address string) bool { return slices.Contains(p.tried, address) }

// sameIn finds the upstream in the pool of reverse_proxy, which has given its own
// *Upstream the health state: dynamic upstreams are made anew for every request.
func sameIn(pool reverseproxy.UpstreamPool, up *reverseproxy.Upstream) *reverseproxy.Upstream {
	for _, other := range pool {
		if other.Dial == up.Dial {
			return other
		}
	}
	return up
}

// transport stands before the transport of the embedded reverse_proxy.
type transport struct {
	http.RoundTripper
	asserted   asserted
	requestOps *headers.HeaderOps
}

// RoundTrip implements http.RoundTripper.
func (t *transport) RoundTrip(r *http.Request) (*http.Response, error) {
	p := proxiedFrom(r.Context())
	if p != nil && p.refusal != nil {
		p.refusal.Request = r
		return p.refusal, nil
	}
	t.asserted.dropEmpty(r.Header)
	if p != nil {
		r = withCredential(r, p.forwarded, t.requestOps)
	}
	res, err := t.RoundTripper.RoundTrip(r)
	if p != nil && p.watcher != nil {
		return p.watcher.answered(res, err)
	}
	return res, err
}

// asserted are the header fields that header operations set to a text with a
// placeholder, by name, with that text.
type asserted map[string]string

// newAsserted lists the fields that ops asserts.
func newAsserted(ops *headers.HeaderOps) asserted {
	a := make(asserted)
	if ops == nil {
		return a
	}
	for name, values := range ops.Set {
		if len(values) == 1 && hasPlaceholder(values[0]) && !hasPlaceholder(name) {
			a[http.CanonicalHeaderKey(name)] = values[0]
		}
	}
	return a
}

// dropEmpty removes the asserted fields whose placeholders are empty or unknown, so
// that an upstream never takes the text of a placeholder for a user.
func (a asserted) dropEmpty(h http.Header) {
	for name, template := range a {
		if v := h[name]; len(v) == 1 && (v[0] == "" || v[0] == template) {
			delete(h, name)
		}
	}
}

// What reverse_proxy asks of a transport beyond RoundTrip.

// ProxyProtocolEnabled implements reverseproxy.ProxyProtocolTransport.
func (t *transport) ProxyProtocolEnabled() bool {
	inner, ok := t.RoundTripper.(reverseproxy.ProxyProtocolTransport)
	return ok && inner.ProxyProtocolEnabled()
}

// OverrideHealthCheckScheme implements
// reverseproxy.HealthCheckSchemeOverriderTransport.
func (t *transport) OverrideHealthCheckScheme(base *url.URL, port string) {
	if inner, ok := t.RoundTripper.(reverseproxy.HealthCheckSchemeOverriderTransport); ok {
		inner.OverrideHealthCheckScheme(base, port)
	}
}

// RequiresContentLength implements reverseproxy.ContentLengthRequiredTransport.
func (t *transport) RequiresContentLength() bool {
	inner, ok := t.RoundTripper.(reverseproxy.ContentLengthRequiredTransport)
	return ok && inner.RequiresContentLength()
}

// RequestHeaderOps implements reverseproxy.RequestHeaderOpsTransport.
func (t *transport) RequestHeaderOps() *headers.HeaderOps {
	if inner, ok := t.RoundTripper.(reverseproxy.RequestHeaderOpsTransport); ok {
		return inner.RequestHeaderOps()
	}
	return nil
}

// withCredential returns a copy of the request with the credential in its place, or
// the request itself where header operations set or delete the field, which have the
// last word.
func withCredential(r *http.Request, credential carrier.Placed, ops *headers.HeaderOps) *http.Request {
	if credential.IsNone() || overrules(ops, credential.Field()) {
		return r
	}
	out := r.WithContext(r.Context())
	out.Header = r.Header.Clone()
	credential.PutInto(out)
	return out
}

// overrules reports whether header operations set or delete the field.
func overrules(ops *headers.HeaderOps, field string) bool {
	if ops == nil || field == "" {
		return false
	}
	_, set := ops.Set[field]
	return set || slices.ContainsFunc(ops.Delete, func(name string) bool { return strings.EqualFold(name, field) })
}

// Interface guards
var (
	_ reverseproxy.Selector                            = (*choiceForProxy)(nil)
	_ http.RoundTripper                                = (*transport)(nil)
	_ reverseproxy.ProxyProtocolTransport              = (*transport)(nil)
	_ reverseproxy.HealthCheckSchemeOverriderTransport = (*transport)(nil)
	_ reverseproxy.ContentLengthRequiredTransport      = (*transport)(nil)
	_ reverseproxy.RequestHeaderOpsTransport           = (*transport)(nil)
)
