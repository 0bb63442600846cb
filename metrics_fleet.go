package wsgateway

import (
	"github.com/prometheus/client_golang/prometheus"
)

// fleetCollector reads its metrics off the node, and has none where there is no fleet.
type fleetCollector struct {
	node      *fleetNode
	up, nodes *prometheus.Desc
}

func newFleetCollector(node *fleetNode) fleetCollector {
	desc := func(name, help string) *prometheus.Desc {
		return prometheus.NewDesc(prometheus.BuildFQName("caddy", "ws_gateway", name), help, nil, nil)
	}
	return fleetCollector{
		node:  node,
		up:    desc("fleet_up", "1 while the engine of the fleet answers, 0 during an outage."),
		nodes: desc("fleet_nodes", "Nodes of the fleet, this one among them, as they were last known."),
	}
}

// Describe implements prometheus.Collector.
func (c fleetCollector) Describe(ch chan<- *prometheus.Desc) { ch <- c.up; ch <- c.nodes }

// Collect implements prometheus.Collector.
func (c fleetCollector) Collect(ch chan<- prometheus.Metric) {
	defer contain(nil) // it has a goroutine of its own
	if c.node.member() == nil {
		return
	}
	view, up := c.node.view(), 0.0
	if view.Connected {
		up = 1
	}
	ch <- prometheus.MustNewConstMetric(c.up, prometheus.GaugeValue, up)
	ch <- prometheus.MustNewConstMetric(c.nodes, prometheus.GaugeValue, float64(len(view.Nodes)))
}
