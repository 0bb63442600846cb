package live

import (
	"maps"
	"slices"

	"github.com/wsgateway/caddy-ws-gateway/internal/balance"
)

// stateUnhealthy is the state of an upstream that is ready by an operator's word
// and down by its health.
const stateUnhealthy = "unhealthy"

// States are all that an upstream can be in.
var States = []string{balance.Ready.String(), balance.Drain.String(), balance.Maintenance.String(), stateUnhealthy}

// GatewayView is a gateway as the admin API shows it.
type GatewayView struct {
	Name      string         `json:"name"`
	Queued    int            `json:"queued"`
	TLSRelay  string         `json:"tls_relay,omitempty"`
	Limits    Limits         `json:"limits"`
	Upstreams []UpstreamView `json:"upstreams"`

	*Activity // nil where it was not asked for
}

// UpstreamView is an upstream of a gateway as the admin API shows it.
type UpstreamView struct {
	Address string  `json:"address"`
	State   string  `json:"state"`
	Weight  float64 `json:"weight"`

	// Weights are the weights that the handlers of this name give the upstream,
	// the oldest handler first, where they do not agree; Weight is then the
	// largest.
	Weights []float64 `json:"weights,omitempty"`

	Live    int    `json:"live"`
	Streams int    `json:"streams"` // of those that are live
	Opened  uint64 `json:"opened"`
	Failed  uint64 `json:"failed"`
}

// View lists all gateways that are loaded or still have connections.
func (s *Set) View() []GatewayView {
	all := s.Totals()
	return s.view(func(view *GatewayView, handlers []*loaded) {
		view.Limits = s.limitsOf(view.Name, handlers)
		view.Activity = s.journal.activity(view.Name, all[view.Name])
	})
}

// ViewUpstreams is View without the activity and what is used of the limits, which take a
// look at each address, user and connection.
func (s *Set) ViewUpstreams() []GatewayView {
	return s.view(func(view *GatewayView, handlers []*loaded) { view.Limits = widest(handlers) })
}

func (s *Set) view(complete func(*GatewayView, []*loaded)) []GatewayView {
	handlers, counts := s.snapshot()
	views := make([]GatewayView, 0, len(handlers))
	for _, name := range slices.Sorted(maps.Keys(handlers)) {
		view := s.viewOf(name, handlers[name], counts)
		complete(&view, handlers[name])
		views = append(views, view)
	}
	return views
}

// snapshot returns the loaded handlers of all gateways, none for a gateway that only
// has connections, and the counts.
func (s *Set) snapshot() (handlers map[string][]*loaded, counts map[pair]series) {
	s.mu.Lock()
	defer s.mu.Unlock()
	handlers = make(map[string][]*loaded, len(s.gateways))
	for name, entries := range s.gateways {
		handlers[name] = slices.Clone(entries)
	}
	counts = make(map[pair]series, len(s.series))
	for key, one := range s.series {
		counts[key] = *one
		if handlers[key.gateway] == nil {
			handlers[key.gateway] = []*loaded{}
		}
	}
	for key, k := range s.departed.kept {
		counts[key] = series{totals: k.totals}
	}
	return handlers, counts
}

// viewOf merges the views of the handlers with one name.
func (s *Set) viewOf(name string, handlers []*loaded, counts map[pair]series) GatewayView {
	view := GatewayView{Name: name, Queued: s.Ledger.Queued(name), TLSRelay: s.tls.byGoroutines(), Upstreams: []UpstreamView{}}
	upstreams := make(map[string]UpstreamView)
	for key, one := range counts {
		if key.gateway == name && one.live+one.wanted > 0 {
			upstreams[key.upstream] = UpstreamView{Address: key.upstream}
		}
	}
	for _, h := range handlers {
		current := h.Upstreams()
		down := h.Down(current)
		for _, m := range current {
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
		up.mergeWeights()
		if state := s.Ledger.Look(address).State; state != balance.Ready || up.State == "" {
			up.State = state.String()
		}
		one := counts[pair{name, address}]
		up.Live, up.Streams, up.Opened, up.Failed = one.live, one.streams, one.opened, one.failed
		view.Upstreams = append(view.Upstreams, up)
	}
	return view
}

// mergeWeights shows one weight where all handlers agree: 1 where none has a weight.
func (v *UpstreamView) mergeWeights() {
	if len(v.Weights) == 0 {
		v.Weight = 1
		return
	}
	v.Weight = slices.Max(v.Weights)
	if slices.Min(v.Weights) == v.Weight {
		v.Weights = nil
	}
}
