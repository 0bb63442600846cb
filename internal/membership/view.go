package membership

import (
	"cmp"
	"encoding/json"
	"slices"
	"time"

	"github.com/wsgateway/caddy-ws-gateway/fleet"
)

// View is the fleet as the node knows it.
type View struct {
	Engine    string     `json:"engine"`
	Connected bool       `json:"connected"`
	Nodes     []NodeView `json:"nodes"`
}

// NodeView is a node of the fleet as of its last beat.
type NodeView struct {
	Name      string         `json:"name"`
	ID        string         `json:"id"`
	Self      bool           `json:"self"`
	State     string         `json:"state"`
	Live      int            `json:"live"`
	Seen      time.Time      `json:"seen"`
	Version   string         `json:"version"`
	Upstreams map[string]int `json:"upstreams"`
}

// View returns the fleet as the node knows it. Of itself it knows how it is now.
func (m *Member) View() View {
	if m == nil {
		return View{Engine: "none", Nodes: []NodeView{}}
	}
	nodes, connected := m.known()
	v := View{Engine: m.config.Engine, Connected: connected, Nodes: make([]NodeView, 0, len(nodes)+1)}
	self := NodeView{ID: m.config.ID, Self: true, Seen: shown(time.Now())}
	self.is(m.config.Info())
	for _, n := range nodes {
		if n.ID == m.config.ID {
			self.Seen = shown(n.Seen)
			continue
		}
		var info Info
		if json.Unmarshal(n.Info, &info) != nil {
			info = Info{Name: n.ID} // it is there, whatever it says
		}
		other := NodeView{ID: n.ID, Seen: shown(n.Seen)}
		other.is(info)
		v.Nodes = append(v.Nodes, other)
	}
	v.Nodes = append(v.Nodes, self)
	slices.SortFunc(v.Nodes, func(a, b NodeView) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.ID, b.ID))
	})
	return v
}

func shown(t time.Time) time.Time { return t.UTC().Truncate(time.Millisecond) }

// is has the node shown as it says it is.
func (v *NodeView) is(info Info) {
	v.Name, v.State, v.Live, v.Version, v.Upstreams = info.Name, info.State, info.Live, info.Version, info.Upstreams
	if v.Upstreams == nil {
		v.Upstreams = map[string]int{}
	}
}

// known returns the nodes as of the last beat, and whether the engine answers.
func (m *Member) known() (nodes []fleet.Node, connected bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.nodes, m.engine != nil && !m.out.Load()
}
