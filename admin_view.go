package wsgateway

import (
	"maps"
	"slices"

	"github.com/wsgateway/caddy-ws-gateway/internal/balance"
)

// stateUnhealthy is the state of an upstream that is ready by an operator's word
// and down by its health.
const stateUnhealthy = "unhealthy"

// upstreamStates are all that an upstream can be in.
var upstreamStates = []string{balance.Ready.String(), balance.Drain.String(), balance.Maintenance.String(), stateUnhealthy}

// gatewayView is a gateway as the admin API shows it.
type gatewayView struct {
	Name      string         `json:"name"`
	Queued    int            `json:"queued"`
	TLSRelay  string         `json:"tls_relay,omitempty"`
	Upstreams []upstreamView `json:"upstreams"`
}

// upstreamView is what a gateway has to do with an upstream.
type upstreamView struct {
	Address string  `json:"address"`
	State   string  `json:"state"`
	Weight  float64 `json:"weight"`

	// Weights is what each handler of this name gives it, the oldest first, where
	// they do not agree; Weight is the largest then.
	Weights []float64 `json:"weights,omitempty"`

	Live   int    `json:"live"`
	Opened uint64 `json:"opened"`
	Failed uint64 `json:"failed"`
}

// view lists all gateways: those that are loaded, and those that still have
// connections.
func (g *registry) view() []gatewayView {
	g.mu.Lock()
	handlers := make(map[string][]*Handler, len(g.gateways))
	for name, loaded := range g.gateways {
		handlers[name] = slices.Clone(loaded)
	}
	counts := make(map[seriesKey]series, len(g.series))
	for key, s := range g.series {
		counts[key] = *s
		if handlers[key.gateway] == nil {
			handlers[key.gateway] = []*Handler{}
		}
	}
	for key, k := range g.absent.kept {
		counts[key] = series{totals: k.totals}
	}
	g.mu.Unlock()

	views := make([]gatewayView, 0, len(handlers))
	for _, name := range slices.Sorted(maps.Keys(handlers)) {
		views = append(views, g.viewOf(name, handlers[name], counts))
	}
	return views
}

// viewOf merges what the handlers of one name know.
func (g *registry) viewOf(name string, handlers []*Handler, counts map[seriesKey]series) gatewayView {
	view := gatewayView{Name: name, Queued: g.ledger.Queued(name), TLSRelay: g.tls.byGoroutines(), Upstreams: []upstreamView{}}
	upstreams := make(map[string]upstreamView)
	for key, s := range counts {
		if key.gateway == name && s.live+s.wanted > 0 {
			upstreams[key.upstream] = upstreamView{Address: key.upstream}
		}
	}
	for _, h := range handlers {
		members := h.currentMembers()
		down := h.balancer.Down(members)
		for _, m := range members {
			up := upstreams[m.Address]
			up.Address = m.Address
			if slices.Contains(down, m.Address) {
				up.State = stateUnhealthy
			}
			up.Weights = append(up.Weights, m.Weight)
			upstreams[m.Address] = up
		}
	}
	for _, address := range slices.Sorted(maps.Keys(upstreams)) {
		up := upstreams[address]
		up.settleWeights()
		if state := g.ledger.Look(address).State; state != balance.Ready || up.State == "" {
			up.State = state.String()
		}
		s := counts[seriesKey{name, address}]
		up.Live, up.Opened, up.Failed = s.live, s.opened, s.failed
		view.Upstreams = append(view.Upstreams, up)
	}
	return view
}

// settleWeights shows one weight where all agree: 1 where nobody says any.
func (v *upstreamView) settleWeights() {
	if len(v.Weights) == 0 {
		v.Weight = 1
		return
	}
	v.Weight = slices.Max(v.Weights)
	if slices.Min(v.Weights) == v.Weight {
		v.Weights = nil
	}
}
