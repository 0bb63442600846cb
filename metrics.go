package wsgateway

import (
	"errors"
	"fmt"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/wsgateway/caddy-ws-gateway/internal/live"
)

// The collectors belong to the process, because Caddy makes a registry anew
// for each configuration and the counts must survive that.
var handshakesTotal = prometheus.NewCounterVec(prometheus.CounterOpts{
	Namespace: "caddy",
	Subsystem: "ws_gateway",
	Name:      "handshakes_total",
	Help:      "WebSocket handshakes of clients, by what came of them.",
}, []string{"gateway", "result"})

// gatewaysCollector reads its metrics off the set of live connections.
type gatewaysCollector struct {
	set                                     *live.Set
	connections, queueLength, upstreamState *prometheus.Desc
}

func newGatewaysCollector(set *live.Set) gatewaysCollector {
	return gatewaysCollector{
		set: set,
		connections: prometheus.NewDesc(prometheus.BuildFQName("caddy", "ws_gateway", "connections"),
			"Live WebSocket connections.", []string{"gateway", "upstream"}, nil),
		queueLength: prometheus.NewDesc(prometheus.BuildFQName("caddy", "ws_gateway", "queue_length"),
			"Handshakes that wait for an upstream with room.", []string{"gateway"}, nil),
		upstreamState: prometheus.NewDesc(prometheus.BuildFQName("caddy", "ws_gateway", "upstream_state"),
			"1 for the state that an upstream is in, 0 for the others.", []string{"gateway", "upstream", "state"}, nil),
	}
}

// Describe implements prometheus.Collector.
func (c gatewaysCollector) Describe(ch chan<- *prometheus.Desc) {
	ch <- c.connections
	ch <- c.queueLength
	ch <- c.upstreamState
}

// Collect implements prometheus.Collector.
func (c gatewaysCollector) Collect(ch chan<- prometheus.Metric) {
	defer contain(nil) // it has a goroutine of its own
	for _, gateway := range c.set.ViewUpstreams() {
		ch <- prometheus.MustNewConstMetric(c.queueLength, prometheus.GaugeValue, float64(gateway.Queued), gateway.Name)
		for _, up := range gateway.Upstreams {
			ch <- prometheus.MustNewConstMetric(c.connections, prometheus.GaugeValue, float64(up.Live), gateway.Name, up.Address)
			for _, state := range live.States {
				value := 0.0
				if state == up.State {
					value = 1
				}
				ch <- prometheus.MustNewConstMetric(c.upstreamState, prometheus.GaugeValue, value, gateway.Name, up.Address, state)
			}
		}
	}
}

// registerMetrics registers the collectors with a configuration's registry, unless
// another handler of the configuration has done so already.
func registerMetrics(reg *prometheus.Registry, set *live.Set) error {
	for _, c := range []prometheus.Collector{handshakesTotal, limitedTotal, panicsTotal, newGatewaysCollector(set)} {
		var already prometheus.AlreadyRegisteredError
		if err := reg.Register(c); err != nil && !errors.As(err, &already) {
			return fmt.Errorf("registering metrics: %w", err)
		}
	}
	return nil
}
