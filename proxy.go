package wsgateway

import (
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/wsgateway/caddy-ws-gateway/internal/balance"
	"github.com/wsgateway/caddy-ws-gateway/internal/dial"
)

// provisionProxy provisions the embedded reverse_proxy with the gateway's transport
// and choice in it. Both must be in place before, because its health checker starts
// at once.
func (h *Handler) provisionProxy(ctx caddy.Context) error {
	if err := h.provisionTransport(ctx); err != nil {
		return err
	}
	if h.Proxy.LoadBalancing == nil {
		h.Proxy.LoadBalancing = new(reverseproxy.LoadBalancing)
	}
	selector, err := loadPolicy(ctx, h.Proxy.LoadBalancing)
	if err != nil {
		return err
	}
	choice := new(choiceForProxy)
	h.Proxy.LoadBalancing.SelectionPolicy = choice

	err = h.Proxy.Provision(ctx)
	// Cleanup of the proxy gives back the upstreams that its Provision took, and
	// must not be called where it took none.
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
	return h.provisionHeaders(ctx)
}

// provisionTransport puts the gateway's transport before the configured one.
func (h *Handler) provisionTransport(ctx caddy.Context) error {
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
	return nil
}

// loadPolicy loads the configured selection policy, or least_conn.
func loadPolicy(ctx caddy.Context, lb *reverseproxy.LoadBalancing) (reverseproxy.Selector, error) {
	if lb.SelectionPolicyRaw == nil {
		lb.SelectionPolicyRaw = caddyconfig.JSONModuleObject(reverseproxy.LeastConnSelection{}, "policy", "least_conn", nil)
	}
	mod, err := ctx.LoadModule(lb, "SelectionPolicyRaw")
	if err != nil {
		return nil, fmt.Errorf("loading the selection policy: %w", err)
	}
	selector, ok := mod.(reverseproxy.Selector)
	if !ok {
		return nil, fmt.Errorf("loading the selection policy: %T is none", mod)
	}
	return selector, nil
}

// provisionHeaders prepares the changes to the header of a handshake.
func (h *Handler) provisionHeaders(ctx caddy.Context) error {
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

// provisionBalancer makes the balancer of a provisioned proxy.
func (h *Handler) provisionBalancer(selector reverseproxy.Selector) (err error) {
	h.probes = newProbes(h.name, h.logger, h.WebSocketHealth, h.Proxy.HealthChecks)
	h.balancer, err = newBalancer(h.live.Ledger, h.balanceSettings(), h.Proxy, selector, h.probes)
	if err != nil {
		return err
	}
	h.taken.add(h.balancer.Close)
	return nil
}

// balanceSettings are the settings of the balance without the policy.
func (h *Handler) balanceSettings() balance.Settings {
	settings := balance.Settings{
		Name:           h.name,
		MaxConns:       h.MaxConns,
		EarlyCloses:    h.EarlyCloseCount,
		SlowStart:      time.Duration(h.SlowStart),
		PanicThreshold: float64(h.PanicThreshold) / 100,
	}
	if h.Queue != nil {
		settings.Queue = h.Queue.Size
	}
	if hc := h.Proxy.HealthChecks; hc != nil && hc.Passive != nil {
		settings.MaxFails = hc.Passive.MaxFails
		settings.FailDuration = time.Duration(hc.Passive.FailDuration)
	}
	return settings
}
