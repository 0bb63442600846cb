package membership

import "time"

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

// View returns the fleet as the node knows it.
func (m *Member) View() View { return View{} }
