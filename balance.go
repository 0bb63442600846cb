package wsgateway

import (
	"net/http"
	"slices"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/wsgateway/caddy-ws-gateway/internal/balance"
	"github.com/wsgateway/caddy-ws-gateway/internal/dial"
)

// balancer chooses upstreams for one handler: it knows the configuration and
// health of Caddy's upstreams, and leaves choosing and counting to the balance.
type balancer struct {
	*balance.Balancer

	// selector is one of Caddy's policies that does not compare loads; nil
	// where the balance has the policy itself.
	selector reverseproxy.Selector

	key     string    // what a hash goes by, with placeholders
	weights []float64 // in the order of the upstreams; nil where all are equal
	members []balance.Member
	fixed   bool // the members are the static upstreams as they are
	breaker reverseproxy.CircuitBreaker
	probes  *probes // nil where upstreams are not probed
}

// source tells the balance of an upstream's health.
type source struct {
	*reverseproxy.Upstream
	breaker reverseproxy.CircuitBreaker
	probes  *probes
	address string
}

// Healthy implements balance.Source.
func (s source) Healthy() bool {
	return s.Upstream.Healthy() && (s.breaker == nil || s.breaker.OK()) && !s.probes.down(s.address)
}

// Full implements balance.Source, by max_requests, which concerns requests alone.
func (s source) Full(streams int) bool {
	return s.MaxRequests > 0 && s.NumRequests()-streams >= s.MaxRequests
}

// newBalancer makes the balancer of a provisioned proxy. The policy in the settings
// is replaced by that of the selector.
func newBalancer(ledger *balance.Ledger, settings balance.Settings, proxy *reverseproxy.Handler, selector reverseproxy.Selector, probes *probes) (*balancer, error) {
	chosen := policyOf(selector)
	b := &balancer{key: chosen.key, weights: chosen.weights, breaker: proxy.CB, probes: probes}
	if chosen.policy == nil {
		b.selector = selector
		chosen.policy = balance.LeastConn{} // for rebalancing alone
	}
	if b.weights != nil {
		if err := checkWeights(b.weights, proxy); err != nil {
			return nil, err
		}
	}
	settings.Policy = chosen.policy
	b.fixed = proxy.DynamicUpstreams == nil && !hasPlaceholderUpstream(proxy)
	if b.fixed {
		b.members = b.membersOf(nil, proxy.Upstreams, nil)
	}
	b.Balancer = ledger.New(settings, b.members)
	return b, nil
}

// membersOf describes a pool for the balance.
func (b *balancer) membersOf(into []balance.Member, pool reverseproxy.UpstreamPool, r *http.Request) []balance.Member {
	for i, up := range pool {
		m := balance.Member{Address: dial.Address(up, r), Weight: 1}
		if b.weights != nil {
			m.Weight = b.weights[i]
		}
		s := source{Upstream: up, probes: b.probes, address: m.Address}
		if !b.fixed {
			s.breaker = b.breaker // which reverse_proxy gives to its own upstreams only
		}
		m.Source = s
		into = append(into, m)
	}
	return into
}

// keeps reports whether the policy has an upstream of its own for a client, or for all, so
// that any other one will not do as well.
func (b *balancer) keeps() bool { return b.selector != nil || b.key != "" }

// choose takes an upstream of the pool and counts the place there, in one step. Nothing is
// counted at one that is short of an allowance.
func (b *balancer) choose(into *balance.Lease, ask balance.Ask, pool reverseproxy.UpstreamPool, w http.ResponseWriter, r *http.Request) (*reverseproxy.Upstream, balance.Refusal) {
	if b.key != "" {
		ask.Key = replacerOf(r).ReplaceAll(b.key, "")
	}
	members := b.members
	if !b.fixed {
		members = b.membersOf(make([]balance.Member, 0, len(pool)), pool, r)
	}
	if b.selector != nil {
		return b.chooseBySelector(into, ask, members, pool, w, r)
	}
	var i int
	var refusal balance.Refusal
	if b.fixed {
		i, refusal = b.Acquire(into, ask)
	} else {
		i, refusal = b.AcquireFrom(into, ask, members)
	}
	if refusal != balance.None && refusal != balance.Short {
		return nil, refusal
	}
	return pool[i], refusal
}

// short returns the upstreams of the pool for which nothing is missing but a larger part of
// a cap that the nodes of a fleet have together.
func (b *balancer) short(ask balance.Ask, pool reverseproxy.UpstreamPool, r *http.Request) []string {
	if b.fixed {
		return b.Short(ask, nil)
	}
	return b.Short(ask, b.membersOf(nil, pool, r))
}

// chooseBySelector lets one of Caddy's policies choose among the available upstreams.
func (b *balancer) chooseBySelector(into *balance.Lease, ask balance.Ask, members []balance.Member, pool reverseproxy.UpstreamPool, w http.ResponseWriter, r *http.Request) (*reverseproxy.Upstream, balance.Refusal) {
	if up := b.chooseBound(into, ask, members, pool, r); up != nil {
		return up, balance.None
	}
	for {
		positions, refusal := b.Admissible(ask, members)
		if refusal != balance.None {
			return nil, refusal
		}
		available := selection(pool, positions)
		to := w
		if ask.Grows != nil {
			to = make(unsent) // it may have to choose again
		}
		chosen := b.selector.Select(available, r, to)
		i := slices.Index(available, chosen)
		if i < 0 {
			return nil, balance.Dead
		}
		if b.Take(into, ask, members[positions[i]]) {
			if given, held := to.(unsent); held {
				given.addTo(w)
			}
			return chosen, balance.None
		}
		if b.IsShort(ask, members[positions[i]]) {
			return chosen, balance.Short
		}
	}
}

// chooseBound takes a place at an upstream in maintenance where the request is bound
// to the upstream: where the policy's cookie names the upstream, as with the session
// of a client that polls, and the handshake that such a session ends in. A hash binds
// no client: new clients would still be sent to the upstream, and its maintenance
// would have no effect.
func (b *balancer) chooseBound(into *balance.Lease, ask balance.Ask, members []balance.Member, pool reverseproxy.UpstreamPool, r *http.Request) *reverseproxy.Upstream {
	if _, byCookie := b.selector.(*reverseproxy.CookieHashSelection); !byCookie {
		return nil
	}
	positions := b.InMaintenance(ask, members)
	if len(positions) == 0 {
		return nil
	}
	available := selection(pool, positions)
	given := make(unsent)
	chosen := b.selector.Select(available, r, given)
	i := slices.Index(available, chosen)
	if i < 0 || given.Header().Get("Set-Cookie") != "" { // the client does not have the cookie yet
		return nil
	}
	ask.Bound = true
	if !b.Take(into, ask, members[positions[i]]) {
		return nil
	}
	return chosen
}

// selection is the upstreams at the positions.
func selection(pool reverseproxy.UpstreamPool, positions []int) reverseproxy.UpstreamPool {
	selected := make(reverseproxy.UpstreamPool, len(positions))
	for i, position := range positions {
		selected[i] = pool[position]
	}
	return selected
}

// unsent is a response that goes nowhere: its header tells how a policy took the
// request.
type unsent http.Header

// Header implements http.ResponseWriter.
func (u unsent) Header() http.Header { return http.Header(u) }

// addTo has what a policy has set sent after all.
func (u unsent) addTo(w http.ResponseWriter) {
	for field, values := range u {
		for _, value := range values {
			w.Header().Add(field, value)
		}
	}
}

// Write implements http.ResponseWriter.
func (unsent) Write(b []byte) (int, error) { return len(b), nil }

// WriteHeader implements http.ResponseWriter.
func (unsent) WriteHeader(int) {}

// Interface guards
var (
	_ balance.Source      = source{}
	_ http.ResponseWriter = unsent{}
)
