package wsgateway

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
	"go.uber.org/zap"

	"github.com/wsgateway/caddy-ws-gateway/internal/balance"
	"github.com/wsgateway/caddy-ws-gateway/internal/dial"
	"github.com/wsgateway/caddy-ws-gateway/internal/live"
)

// namedMembers lists the members of this configuration: what names its upstreams.
func (h *Handler) namedMembers() []string {
	members := make([]string, 0, len(h.Proxy.Upstreams)+1)
	repl := caddy.NewReplacer()
	for _, up := range h.Proxy.Upstreams {
		address := dial.Canonical(up.Dial)
		members = append(members, address)
		if !hasPlaceholder(address) {
			continue
		}
		if resolved := repl.ReplaceKnown(up.Dial, ""); !hasPlaceholder(resolved) {
			members = append(members, dial.Canonical(resolved)) // placeholders such as {env.*} are the same for all requests
		}
	}
	if h.dynamicMember != "" {
		members = append(members, h.dynamicMember)
	}
	return members
}

// memberOf is the member that names the upstream in this configuration.
func (h *Handler) memberOf(up *reverseproxy.Upstream) string {
	if h.dynamicMember != "" {
		return h.dynamicMember
	}
	return dial.Canonical(up.Dial)
}

// currentMembers are the upstreams as far as they are known without a request.
func (h *Handler) currentMembers() []balance.Member {
	if h.balancer.fixed {
		return h.balancer.members
	}
	return h.membersAt(append(h.live.AddressesOf(h.named), h.seenDynamic()...))
}

// seenDynamic are the dynamic upstreams as they were when last asked for.
func (h *Handler) seenDynamic() []string {
	if seen := h.dynamicSeen.Load(); seen != nil {
		return *seen
	}
	return nil
}

// membersAt describes upstreams of which nothing but the address is known.
func (h *Handler) membersAt(addresses []string) []balance.Member {
	addresses = slices.Compact(slices.Sorted(slices.Values(addresses)))
	members := make([]balance.Member, 0, len(addresses))
	for _, address := range addresses {
		up := &reverseproxy.Upstream{Host: new(reverseproxy.Host), Dial: address}
		members = append(members, balance.Member{Address: address, Weight: 1, Source: source{
			Upstream: up, breaker: h.Proxy.CB, probes: h.probes, address: address,
		}})
	}
	return members
}

// loadedGateway is a handler as live connections see it.
type loadedGateway struct{ h *Handler }

// Upstreams implements live.Gateway.
func (g loadedGateway) Upstreams() []balance.Member { return g.h.currentMembers() }

// Down implements live.Gateway.
func (g loadedGateway) Down(upstreams []balance.Member) []string {
	return g.h.balancer.Down(upstreams)
}

// Dynamic implements live.Gateway.
func (g loadedGateway) Dynamic() []string { return g.h.seenDynamic() }

// Limits implements live.Gateway.
func (g loadedGateway) Limits() live.Limits { return g.h.Limit.view() }

// noteDynamic remembers the dynamic upstreams, for the admin API, metrics and live
// connections, which have no request to ask the source with.
func (h *Handler) noteDynamic(pool reverseproxy.UpstreamPool) {
	known := h.dynamicSeen.Load()
	same := known != nil && slices.EqualFunc(*known, pool, func(address string, up *reverseproxy.Upstream) bool {
		return address == dial.Canonical(up.Dial)
	})
	if same {
		return
	}
	addresses := make([]string, len(pool))
	for i, up := range pool {
		addresses[i] = dial.Canonical(up.Dial)
	}
	h.dynamicSeen.Store(&addresses)
	h.live.Answered(h.dynamicMember, addresses)
}

// withHosts gives upstreams of a dynamic source the Host that policies and
// reverse_proxy expect.
func withHosts(pool reverseproxy.UpstreamPool) reverseproxy.UpstreamPool {
	for _, up := range pool {
		if up.Host == nil {
			up.Host = new(reverseproxy.Host)
		}
	}
	return pool
}

// watchInterval is how often a handler looks at its upstreams by itself, where
// an option asks for it.
const watchInterval = time.Second

// watchSource asks the source of dynamic upstreams, when no request does, on behalf of
// live connections whose upstream only the source may still name. It returns when the
// source has answered.
func (h *Handler) watchSource(ctx context.Context) {
	defer contain(h.logger, zap.String("gateway", h.name))
	ticker := time.NewTicker(watchInterval)
	defer ticker.Stop()
	warned := false
	for h.live.LastAnswer(h.dynamicMember) == nil {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		if !h.live.Awaits(h.dynamicMember) {
			continue
		}
		if err := h.askSource(ctx); err != nil && !warned && ctx.Err() == nil {
			warned = true
			h.logger.Warn("the source of dynamic upstreams does not answer: connections whose upstream it may name stay until it does",
				zap.String("gateway", h.name), zap.Error(err))
		}
	}
}

// askSource asks the source without a client's request. A source of another module may
// not be prepared for that, so that a panic in it is contained.
func (h *Handler) askSource(ctx context.Context) (err error) {
	defer containInto(&err, h.logger, zap.String("gateway", h.name))
	ctx, cancel := context.WithTimeout(ctx, h.dialer.Timeout())
	defer cancel()
	ctx = context.WithValue(ctx, caddy.ReplacerCtxKey, caddy.NewReplacer())
	ctx = context.WithValue(ctx, caddyhttp.VarsCtxKey, make(map[string]any))
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "/", nil)
	if err != nil {
		return err
	}
	upstreams, err := h.Proxy.DynamicUpstreams.GetUpstreams(r)
	if err == nil {
		h.noteDynamic(upstreams)
	}
	return err
}

// dynamicSource is the configuration of the dynamic upstreams; "" without any.
func (h *Handler) dynamicSource() string {
	if h.running != nil {
		return strings.TrimPrefix(h.dynamicMember, dynamicPrefix) // provisioning clears DynamicUpstreamsRaw
	}
	return string(h.Proxy.DynamicUpstreamsRaw)
}

const dynamicPrefix = "dynamic:"

// tuning are the settings of Caddy's own sources that say how to look upstreams up,
// and not which.
var tuning = []string{"refresh", "grace_period", "dial_timeout", "dial_fallback_delay"}

// sourceMember is the member that a source of dynamic upstreams is for live
// connections: its JSON in one spelling, without the settings in tuning.
func sourceMember(config json.RawMessage) string {
	var value any
	if json.Unmarshal(config, &value) != nil {
		return dynamicPrefix + string(config)
	}
	plain, err := json.Marshal(withoutTuning(value))
	if err != nil {
		return dynamicPrefix + string(config)
	}
	return dynamicPrefix + string(plain)
}

func withoutTuning(config any) any {
	source, ok := config.(map[string]any)
	if !ok {
		return config
	}
	switch source["source"] {
	case "a", "srv":
		for _, name := range tuning {
			delete(source, name)
		}
	case "multi":
		if list, ok := source["sources"].([]any); ok {
			for i := range list {
				list[i] = withoutTuning(list[i])
			}
		}
	}
	return source
}

// Interface guards
var _ live.Gateway = loadedGateway{}
