package wsgateway

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/headers"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/wsgateway/caddy-ws-gateway/internal/balance"
	"github.com/wsgateway/caddy-ws-gateway/internal/carrier"
	"github.com/wsgateway/caddy-ws-gateway/internal/dial"
)

// proxied travels with a request through the embedded reverse_proxy.
type proxied struct {
	lease     balance.Lease  // the place of a plain request
	forwarded carrier.Placed // what the upstream is sent of its credential

	// An upstream's refusal of a handshake. It takes reverse_proxy's way to
	// the client, so that handle_response, header_down, unhealthy_status and
	// so on apply to it.
	refusedBy *reverseproxy.Upstream
	refusal   *http.Response
}

type proxiedKey struct{}

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
	p.lease.Release() // of the try before this one
	up, _ := s.balancer.choose(&p.lease, balance.Ask{Use: balance.Request}, pool, w, r)
	if up == nil {
		w.Header().Set("Retry-After", retryAfter)
		return nil
	}
	w.Header().Del("Retry-After")
	setUpstreamPlaceholder(r, p.lease.Address())
	return up
}

// sameIn finds the upstream in the pool, where reverse_proxy has given it its
// health state; dynamic ones are made anew for every look.
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
	return t.RoundTripper.RoundTrip(r)
}

// asserted are the fields that header operations set to something with a
// placeholder, with that.
type asserted map[string]string

// newAsserted lists them.
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

// dropEmpty removes the fields whose placeholders came to nothing or are not
// known, so that an upstream never takes that for a user.
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

// provisionProxy provisions the embedded reverse_proxy with our transport and
// our choice in it. Both must be in place before, because its health checker
// starts at once.
func (h *Handler) provisionProxy(ctx caddy.Context) error {
	inner, err := loadTransport(ctx, h.Proxy)
	if err != nil {
		return err
	}
	if h.Proxy.Headers != nil {
		h.requestOps = h.Proxy.Headers.Request
		h.responseOps = h.Proxy.Headers.Response
	}
	h.transport = &transport{RoundTripper: inner, asserted: newAsserted(h.requestOps), requestOps: h.requestOps}
	h.Proxy.Transport = h.transport
	if t, ok := inner.(*reverseproxy.HTTPTransport); ok {
		h.taken.addFailing(t.Cleanup)
	}

	if h.Proxy.LoadBalancing == nil {
		h.Proxy.LoadBalancing = new(reverseproxy.LoadBalancing)
	}
	lb := h.Proxy.LoadBalancing
	if lb.SelectionPolicyRaw == nil {
		lb.SelectionPolicyRaw = caddyconfig.JSONModuleObject(reverseproxy.LeastConnSelection{}, "policy", "least_conn", nil)
	}
	mod, err := ctx.LoadModule(lb, "SelectionPolicyRaw")
	if err != nil {
		return fmt.Errorf("loading the selection policy: %w", err)
	}
	selector, ok := mod.(reverseproxy.Selector)
	if !ok {
		return fmt.Errorf("loading the selection policy: %T is none", mod)
	}
	choice := new(choiceForProxy)
	lb.SelectionPolicy = choice

	err = h.Proxy.Provision(ctx)
	// Its Cleanup gives back what it took of upstreams, and must not where it
	// took nothing.
	if err == nil || slices.ContainsFunc(h.Proxy.Upstreams, func(up *reverseproxy.Upstream) bool { return up.Host != nil }) {
		h.taken.addFailing(h.Proxy.Cleanup)
	}
	if err != nil {
		return fmt.Errorf("provisioning the proxy: %w", err)
	}
	if err := h.provisionBalancer(selector); err != nil {
		return err
	}
	choice.balancer = h.balancer
	h.dialInfos = dial.Infos(h.Proxy.Upstreams)
	if h.transportOps = h.transport.RequestHeaderOps(); h.transportOps != nil {
		if err := h.transportOps.Provision(ctx); err != nil {
			return fmt.Errorf("provisioning the transport's header operations: %w", err)
		}
	}
	h.forwarder = newForwarder(h.Proxy.TrustedProxies)
	h.aliases = newAliases(h.requestOps)
	return nil
}

// loadTransport loads the configured transport, or Caddy's default one.
func loadTransport(ctx caddy.Context, proxy *reverseproxy.Handler) (http.RoundTripper, error) {
	if proxy.TransportRaw == nil {
		t := new(reverseproxy.HTTPTransport)
		if err := t.Provision(ctx); err != nil {
			return nil, fmt.Errorf("provisioning the default transport: %w", err)
		}
		return t, nil
	}
	mod, err := ctx.LoadModule(proxy, "TransportRaw")
	if err != nil {
		return nil, fmt.Errorf("loading the transport: %w", err)
	}
	t, ok := mod.(http.RoundTripper)
	if !ok {
		return nil, fmt.Errorf("loading the transport: %T is none", mod)
	}
	if it, ok := t.(reverseproxy.ContentLengthRequiredTransport); ok && it.RequiresContentLength() {
		return nil, fmt.Errorf("transport: %s knows messages with a length only, and can carry no WebSocket: "+
			"use http, and reverse_proxy or php_fastcgi on a route of its own for what speaks something else", moduleName(mod))
	}
	if bt, ok := t.(reverseproxy.BufferedTransport); ok {
		requests, responses := bt.DefaultBufferSizes()
		if proxy.RequestBuffers == 0 {
			proxy.RequestBuffers = requests
		}
		if proxy.ResponseBuffers == 0 {
			proxy.ResponseBuffers = responses
		}
	}
	return t, nil
}

// moduleName is what a configuration calls the module.
func moduleName(module any) string {
	if m, ok := module.(caddy.Module); ok {
		return m.CaddyModule().ID.Name()
	}
	return fmt.Sprintf("%T", module)
}

// retriesAnswer tells whether lb_retry_match asks to try another upstream after
// this answer. Only expressions on the answer count, as in reverse_proxy.
func (h *Handler) retriesAnswer(r *http.Request, res *http.Response) bool {
	repl := replacerOf(r)
	defer repl.DeleteByPrefix("http.reverse_proxy.status_") // it may not be the last answer
	for _, set := range h.Proxy.LoadBalancing.RetryMatch {
		if !readsAnswer(set) {
			continue
		}
		repl.DeleteByPrefix("http.reverse_proxy.header.")
		for field, value := range res.Header {
			repl.Set("http.reverse_proxy.header."+field, strings.Join(value, ","))
		}
		repl.Set("http.reverse_proxy.status_code", res.StatusCode)
		repl.Set("http.reverse_proxy.status_text", res.Status)
		if match, err := set.MatchWithError(r); err == nil && match {
			return true
		}
	}
	return false
}

func readsAnswer(set caddyhttp.MatcherSet) bool {
	return slices.ContainsFunc(set, func(m any) bool {
		expr, ok := m.(*caddyhttp.MatchExpression)
		return ok && slices.ContainsFunc(expr.Placeholders(), func(name string) bool {
			return name == "" ||
				strings.HasPrefix(name, "http.reverse_proxy.status_") ||
				strings.HasPrefix(name, "http.reverse_proxy.header.")
		})
	})
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
