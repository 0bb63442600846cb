package wsgateway

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
)

// validateDrainUnhealthy refuses to wait for what nobody would tell. Caddy's own
// checks do not reach upstreams that come with each request.
func (h *Handler) validateDrainUnhealthy() error {
	if !h.DrainUnhealthy || h.WebSocketHealth != nil || h.Proxy.CB != nil || h.Proxy.CBRaw != nil {
		return nil
	}
	dynamic := h.dynamicSource() != ""
	if hc := h.Proxy.HealthChecks; hc != nil {
		if hc.Passive != nil && hc.Passive.FailDuration > 0 {
			return nil
		}
		if hc.Active != nil && hc.Active.IsEnabled() && !dynamic && !hasPlaceholderUpstream(h.Proxy) {
			return nil
		}
	}
	if dynamic || hasPlaceholderUpstream(h.Proxy) {
		return errors.New("drain_unhealthy: nothing tells which of these upstreams is unhealthy: " +
			"set fail_duration, or health_websocket for dynamic ones, or remove drain_unhealthy")
	}
	return errors.New("drain_unhealthy: nothing tells which upstream is unhealthy: " +
		"set health_uri, health_websocket or fail_duration, or remove drain_unhealthy")
}

func (r *Rebalance) validate() error {
	switch {
	case r == nil:
		return nil
	case !(r.Percent > 0 && r.Percent <= 100):
		return fmt.Errorf("rebalance: %g percent is not above 0 and up to 100", r.Percent)
	case r.Per <= 0:
		return fmt.Errorf("rebalance: %s is not a time to move that many in", time.Duration(r.Per))
	}
	return nil
}

// validateRebalance refuses to move connections that would not come back
// elsewhere, or must not.
func (h *Handler) validateRebalance() error {
	if h.Rebalance == nil {
		return nil
	}
	if err := h.Rebalance.validate(); err != nil {
		return err
	}
	switch b := h.balancer; {
	case b.selector != nil || b.key != "":
		return errors.New("rebalance: with this lb_policy, clients would come back to where they were: " +
			"use least_conn, weighted_least_conn, random, random_choose, round_robin or weighted_round_robin")
	case hasPlaceholderUpstream(h.Proxy) || placeholderIn(h.dynamicSource()):
		return errors.New("rebalance: the upstreams depend on the request, so that nobody knows which of them may take whose connections: " +
			"name them without placeholders, or remove rebalance")
	}
	return nil
}

// dynamicSource is the configuration of the dynamic upstreams; "" without any.
func (h *Handler) dynamicSource() string {
	if h.running != nil {
		return strings.TrimPrefix(h.dynamicMember, dynamicPrefix) // provisioning clears the other
	}
	return string(h.Proxy.DynamicUpstreamsRaw)
}

const dynamicPrefix = "dynamic:"

// hasPlaceholderUpstream tells whether the address of any upstream depends on the
// request.
func hasPlaceholderUpstream(proxy *reverseproxy.Handler) bool {
	return slices.ContainsFunc(proxy.Upstreams, func(up *reverseproxy.Upstream) bool { return hasPlaceholder(up.Dial) })
}

// placeholderIn tells whether any text in a module's JSON depends on the request,
// and not on what is the same for all.
func placeholderIn(config string) bool {
	var value any
	if json.Unmarshal([]byte(config), &value) != nil {
		return false
	}
	repl := caddy.NewReplacer()
	var found func(any) bool
	found = func(v any) bool {
		switch v := v.(type) {
		case string:
			return hasPlaceholder(repl.ReplaceKnown(v, ""))
		case []any:
			return slices.ContainsFunc(v, found)
		case map[string]any:
			return slices.ContainsFunc(slices.Collect(maps.Values(v)), found)
		}
		return false
	}
	return found(value)
}

// checkWeights refuses weights that do not say what is to be done.
func checkWeights(weights []float64, proxy *reverseproxy.Handler) error {
	switch n := len(proxy.Upstreams); {
	case proxy.DynamicUpstreams != nil || proxy.DynamicUpstreamsRaw != nil:
		return errors.New("lb_policy: weights need upstreams that are named one by one, not dynamic ones")
	case len(weights) != n:
		return fmt.Errorf("lb_policy: %d weights for %d upstreams: give each upstream one, in their order", len(weights), n)
	}
	sum := 0.0
	for _, w := range weights {
		if w < 0 {
			return fmt.Errorf("lb_policy: weight %g is negative: use 0 for an upstream that is to take nothing", w)
		}
		sum += w
	}
	if sum == 0 {
		return errors.New("lb_policy: all weights are 0: at least one upstream has to take something")
	}
	return nil
}
