package wsgateway

import (
	"errors"
	"fmt"
	"math"
	"net/http"
	"strconv"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/wsgateway/caddy-ws-gateway/internal/balance"
	"github.com/wsgateway/caddy-ws-gateway/internal/dial"
)

func init() {
	caddy.RegisterModule(new(WeightedLeastConn))
	caddy.RegisterModule(new(BoundedHash))
}

// WeightedLeastConn is a selection policy that chooses the upstream that holds
// the fewest connections for its weight; ties fall at random. Live WebSockets of
// gateways and running requests count together, in reverse_proxy too.
type WeightedLeastConn struct {
	// The weight of each upstream, in the order of the upstreams: an upstream
	// with weight 2 holds twice as many connections as an upstream with weight 1,
	// and an upstream with weight 0 takes none. There must be as many weights as
	// upstreams.
	Weights []int `json:"weights,omitempty"`
}

// CaddyModule returns the Caddy module information.
func (*WeightedLeastConn) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.reverse_proxy.selection_policies.weighted_least_conn",
		New: func() caddy.Module { return new(WeightedLeastConn) },
	}
}

// UnmarshalCaddyfile sets up the policy from Caddyfile tokens. Syntax:
//
//	lb_policy weighted_least_conn <weight...>
func (p *WeightedLeastConn) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the policy's name
	args := d.RemainingArgs()
	if len(args) == 0 {
		return d.Err("weighted_least_conn needs a weight for each upstream, in their order")
	}
	weights, err := parseWeights(d, args)
	if err != nil {
		return err
	}
	p.Weights = weights
	if d.Next() {
		return d.Err("weighted_least_conn has no block")
	}
	return nil
}

// Validate checks the weights.
func (p *WeightedLeastConn) Validate() error {
	sum := 0
	for _, weight := range p.Weights {
		if weight < 0 {
			return fmt.Errorf("weights: %d is negative", weight)
		}
		sum += weight
	}
	if sum == 0 {
		return errors.New("weights: at least one must be above 0")
	}
	return nil
}

// Select implements reverseproxy.Selector for reverse_proxy.
func (p *WeightedLeastConn) Select(pool reverseproxy.UpstreamPool, r *http.Request, _ http.ResponseWriter) *reverseproxy.Upstream {
	weights := make([]float64, len(pool))
	for i := range min(len(pool), len(p.Weights)) {
		weights[i] = float64(p.Weights[i])
	}
	return selectFrom(balance.LeastConn{}, "", weights, pool, r)
}

// BoundedHash is a selection policy that sends all connections with the same key to
// the same upstream, as long as the upstream holds no more than a factor of the mean;
// further connections go to the next upstream in the key's own order. When an upstream
// goes, only its own keys move. Live WebSockets of gateways and running requests count
// together, in reverse_proxy too.
type BoundedHash struct {
	// The key of a connection, with placeholders, such as `{http.auth.user.id}`.
	Key string `json:"key"`

	// How many connections an upstream may hold, as a factor of the mean; 1 or
	// more. Default: 1.25.
	Factor float64 `json:"factor,omitempty"`
}

const defaultBoundedHashFactor = 1.25

// CaddyModule returns the Caddy module information.
func (*BoundedHash) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.reverse_proxy.selection_policies.bounded_hash",
		New: func() caddy.Module { return new(BoundedHash) },
	}
}

// UnmarshalCaddyfile sets up the policy from Caddyfile tokens. Syntax:
//
//	lb_policy bounded_hash <placeholder> [<balance factor>]
func (p *BoundedHash) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the policy's name
	args := d.RemainingArgs()
	if len(args) < 1 || len(args) > 2 {
		return d.Err("bounded_hash needs a placeholder to go by, such as {http.auth.user.id}, and may have a balance factor")
	}
	p.Key = args[0]
	if len(args) == 2 {
		factor, err := strconv.ParseFloat(args[1], 64)
		if err != nil || !(factor >= 1) || math.IsInf(factor, 0) {
			return d.Errf("balance factor %q must be a number, 1 or more, such as 1.25", args[1])
		}
		p.Factor = factor
	}
	if d.Next() {
		return d.Err("bounded_hash has no block")
	}
	return nil
}

// Validate checks key and factor.
func (p *BoundedHash) Validate() error {
	if !hasPlaceholder(p.Key) {
		return fmt.Errorf("key: %q has no placeholder, so that everything would go to one upstream", p.Key)
	}
	if p.Factor != 0 && !(p.Factor >= 1) {
		return fmt.Errorf("factor: %g is below 1, which no upstream could keep", p.Factor)
	}
	return nil
}

func (p *BoundedHash) policy() balance.Policy {
	if p.Factor == 0 {
		return balance.BoundedHash{Factor: defaultBoundedHashFactor}
	}
	return balance.BoundedHash{Factor: p.Factor}
}

// Select implements reverseproxy.Selector for reverse_proxy.
func (p *BoundedHash) Select(pool reverseproxy.UpstreamPool, r *http.Request, _ http.ResponseWriter) *reverseproxy.Upstream {
	return selectFrom(p.policy(), replacerOf(r).ReplaceAll(p.Key, ""), nil, pool, r)
}

// selectFrom lets a policy of the balance choose for reverse_proxy, which counts its
// requests itself.
func selectFrom(policy balance.Policy, key string, weights []float64, pool reverseproxy.UpstreamPool, r *http.Request) *reverseproxy.Upstream {
	var candidates []balance.Candidate
	for i, up := range pool {
		c := balance.Candidate{Index: i, Address: dial.Address(up, r), Weight: 1}
		if weights != nil {
			c.Weight = weights[i]
		}
		held := process.Ledger.Look(c.Address)
		if !up.Available() || c.Weight <= 0 || held.State != balance.Ready {
			continue
		}
		c.Load = held.Live + held.Elsewhere + max(held.Requests, up.NumRequests()-held.Streams)
		candidates = append(candidates, c)
	}
	if len(candidates) == 0 {
		return nil
	}
	return pool[candidates[balance.Choose(policy, key, candidates)].Index]
}

// chosenPolicy is a configured selection policy in the terms of the balance.
type chosenPolicy struct {
	policy  balance.Policy // nil for a policy of Caddy's that does not compare loads
	weights []float64
	key     string
}

// policyOf gives the connection-aware form of a selection policy.
func policyOf(selector reverseproxy.Selector) chosenPolicy {
	switch s := selector.(type) {
	case *reverseproxy.LeastConnSelection:
		return chosenPolicy{policy: balance.LeastConn{}}
	case *reverseproxy.RandomChoiceSelection:
		return chosenPolicy{policy: balance.RandomChoose{Choose: s.Choose}}
	case *reverseproxy.RandomSelection:
		return chosenPolicy{policy: balance.RandomChoose{Choose: 1}}
	case *reverseproxy.RoundRobinSelection:
		return chosenPolicy{policy: new(balance.RoundRobin)}
	case *reverseproxy.WeightedRoundRobinSelection:
		return chosenPolicy{policy: new(balance.RoundRobin), weights: floats(s.Weights)}
	case *WeightedLeastConn:
		return chosenPolicy{policy: balance.LeastConn{}, weights: floats(s.Weights)}
	case *BoundedHash:
		return chosenPolicy{policy: s.policy(), key: s.Key}
	}
	return chosenPolicy{}
}

func floats(weights []int) []float64 {
	converted := make([]float64, len(weights))
	for i, w := range weights {
		converted[i] = float64(w)
	}
	return converted
}

// checkWeights refuses weights that do not fit the upstreams.
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

// Interface guards
var (
	_ reverseproxy.Selector = (*WeightedLeastConn)(nil)
	_ reverseproxy.Selector = (*BoundedHash)(nil)
	_ caddyfile.Unmarshaler = (*WeightedLeastConn)(nil)
	_ caddyfile.Unmarshaler = (*BoundedHash)(nil)
	_ caddy.Validator       = (*WeightedLeastConn)(nil)
	_ caddy.Validator       = (*BoundedHash)(nil)
)
