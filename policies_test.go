package wsgateway

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/wsgateway/caddy-ws-gateway/internal/balance"
)

// occupy has a gateway hold so many WebSockets at each address.
func occupy(t *testing.T, addresses []string, held ...int) {
	t.Helper()
	for i, n := range held {
		h := load(t, "occupies", new(reverseproxy.LeastConnSelection), addresses[i:i+1], nil)
		leases := make([]balance.Lease, n)
		for k := range leases {
			if up, _ := h.balancer.choose(&leases[k], balance.Ask{}, h.Proxy.Upstreams, nil, nil); up == nil {
				t.Fatal("there is room for everyone")
			}
		}
		t.Cleanup(func() {
			for k := range leases {
				leases[k].Release()
			}
			unload(t, h)
		})
	}
}

// selected counts what a policy chooses as reverse_proxy asks it to.
func selected(policy reverseproxy.Selector, upstreams reverseproxy.UpstreamPool, placeholders func(i int) map[string]string) []int {
	got := make([]int, len(upstreams))
	for i := range 100 {
		chosen := policy.Select(upstreams, requestWith(placeholders(i)), nil)
		if at := slices.Index(upstreams, chosen); at >= 0 {
			got[at]++
		}
	}
	return got
}

func noPlaceholders(int) map[string]string { return nil }

func TestWeightedLeastConnInReverseProxySeesLiveWebSockets(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		weights []int
		held    []int
		want    []int
	}{
		"the emptiest":           {[]int{1, 1, 1}, []int{5, 3, 4}, []int{0, 100, 0}},
		"by weight":              {[]int{10, 1, 1}, []int{8, 1, 1}, []int{100, 0, 0}},
		"not of weight 0":        {[]int{1, 0, 1}, []int{5, 0, 4}, []int{0, 0, 100}},
		"not one without weight": {[]int{1, 1}, []int{5, 4, 0}, []int{0, 100, 0}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			addresses := addressesOf(t, 3)
			occupy(t, addresses, row.held...)
			policy := &WeightedLeastConn{Weights: row.weights}
			if got := selected(policy, pool(addresses...), noPlaceholders); !slices.Equal(got, row.want) {
				t.Errorf("chose %v, want %v", got, row.want)
			}
		})
	}
}

func TestBoundedHashInReverseProxySeesLiveWebSockets(t *testing.T) {
	t.Parallel()
	addresses := addressesOf(t, 3)
	policy := &BoundedHash{Key: "{user}"}
	user := func(i int) map[string]string { return map[string]string{"user": fmt.Sprint(i)} }
	before := selected(policy, pool(addresses...), user)
	if slices.Contains(before, 0) {
		t.Fatalf("100 users are spread as %v", before)
	}
	occupy(t, addresses, 40)
	if got := selected(policy, pool(addresses...), user); got[0] != 0 {
		t.Errorf("%d users were sent to one that holds all the WebSockets", got[0])
	}
	one := func(int) map[string]string { return map[string]string{"user": "alice"} }
	if got := selected(policy, pool(addresses...), one); slices.Max(got) != 100 {
		t.Errorf("one user is at %v", got)
	}
}

func TestPoliciesInReverseProxyLeaveOutWhoIsNotReady(t *testing.T) {
	t.Parallel()
	for name, policy := range map[string]reverseproxy.Selector{
		"weighted_least_conn": &WeightedLeastConn{Weights: []int{1, 1, 1}},
		"bounded_hash":        &BoundedHash{Key: "{user}"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			addresses := addressesOf(t, 3)
			upstreams := pool(addresses...)
			process.SetState(addresses[0], balance.Maintenance)
			process.SetState(addresses[1], balance.Drain)
			user := func(i int) map[string]string { return map[string]string{"user": fmt.Sprint(i)} }
			if got := selected(policy, upstreams, user); !slices.Equal(got, []int{0, 0, 100}) {
				t.Errorf("chose %v, want the one that is ready", got)
			}
			process.SetState(addresses[2], balance.Drain)
			if chosen := policy.Select(upstreams, requestWith(nil), nil); chosen != nil {
				t.Errorf("chose %s although none is ready", chosen.Dial)
			}
			for _, address := range addresses {
				process.SetState(address, balance.Ready)
			}
			if chosen := policy.Select(upstreams, requestWith(nil), nil); chosen == nil {
				t.Error("chose none although all are ready again")
			}
			if chosen := policy.Select(nil, requestWith(nil), nil); chosen != nil {
				t.Error("chose one of none")
			}
		})
	}
}

func TestPoliciesValidate(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		policy interface{ Validate() error }
		ok     bool
	}{
		"weights":              {&WeightedLeastConn{Weights: []int{1, 0}}, true},
		"no weights":           {&WeightedLeastConn{}, false},
		"weights of 0":         {&WeightedLeastConn{Weights: []int{0, 0}}, false},
		"negative weight":      {&WeightedLeastConn{Weights: []int{5, -1}}, false},
		"hash":                 {&BoundedHash{Key: "{user}"}, true},
		"hash, factor 1":       {&BoundedHash{Key: "{user}", Factor: 1}, true},
		"hash by a text":       {&BoundedHash{Key: "user"}, false},
		"hash by nothing":      {&BoundedHash{}, false},
		"factor below 1":       {&BoundedHash{Key: "{user}", Factor: 0.99}, false},
		"factor not a number":  {&BoundedHash{Key: "{user}", Factor: math.NaN()}, false},
		"factor negative":      {&BoundedHash{Key: "{user}", Factor: -1}, false},
		"weight 0 and no more": {&WeightedLeastConn{Weights: []int{0}}, false},
	} {
		if err := row.policy.Validate(); (err == nil) != row.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestPoliciesThatCompareLoadsAreOurs(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		selector reverseproxy.Selector
		want     string
		weights  []float64
	}{
		"least_conn":           {new(reverseproxy.LeastConnSelection), "balance.LeastConn{}", nil},
		"random_choose":        {&reverseproxy.RandomChoiceSelection{Choose: 3}, "balance.RandomChoose{Choose:3}", nil},
		"random":               {new(reverseproxy.RandomSelection), "balance.RandomChoose{Choose:1}", nil},
		"weighted_round_robin": {&reverseproxy.WeightedRoundRobinSelection{Weights: []int{2, 1}}, "", []float64{2, 1}},
		"weighted_least_conn":  {&WeightedLeastConn{Weights: []int{2, 1}}, "balance.LeastConn{}", []float64{2, 1}},
		"bounded_hash":         {&BoundedHash{Key: "{x}"}, "balance.BoundedHash{Factor:1.25}", nil},
		"bounded_hash 2":       {&BoundedHash{Key: "{x}", Factor: 2}, "balance.BoundedHash{Factor:2}", nil},
		"first":                {new(reverseproxy.FirstSelection), "<nil>", nil},
		"cookie":               {new(reverseproxy.CookieHashSelection), "<nil>", nil},
	} {
		chosen := policyOf(row.selector)
		if got := fmt.Sprintf("%#v", chosen.policy); row.want != "" && got != row.want {
			t.Errorf("%s: %s, want %s", name, got, row.want)
		}
		if !slices.Equal(chosen.weights, row.weights) {
			t.Errorf("%s: weights %v, want %v", name, chosen.weights, row.weights)
		}
	}
}
