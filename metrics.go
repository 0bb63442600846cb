package wsgateway

import (
	"errors"
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
)

// The collectors belong to the process, because Caddy makes a registry anew
// for each configuration and the counts must survive that.
var (
	handshakesTotal = prometheus.NewCounterVec(prometheus.CounterOpts{
		Namespace: "caddy",
		Subsystem: "ws_gateway",
		Name:      "handshakes_total",
		Help:      "WebSocket handshakes of clients, by what came of them.",
	}, []string{"gateway", "result"})

	connectionsMetric = connectionsCollector{
		registry: process,
		desc: prometheus.NewDesc(
			prometheus.BuildFQName("caddy", "ws_gateway", "connections"),
			"Live WebSocket connections.",
			[]string{"gateway", "upstream"}, nil),
	}
)

// connectionsCollector reads the live connections off the registry.
type connectionsCollector struct {
	registry *registry
	desc     *prometheus.Desc
}

// Describe implements prometheus.Collector.
func (c connectionsCollector) Describe(ch chan<- *prometheus.Desc) { ch <- c.desc }

// Collect implements prometheus.Collector.
func (c connectionsCollector) Collect(ch chan<- prometheus.Metric) {
	for key, live := range c.registry.liveBySeries() {
		ch <- prometheus.MustNewConstMetric(c.desc, prometheus.GaugeValue, float64(live), key.gateway, key.upstream)
	}
}

func (g *registry) liveBySeries() map[seriesKey]int {
	g.mu.Lock()
	defer g.mu.Unlock()
	live := make(map[seriesKey]int, len(g.series))
	for key, s := range g.series {
		live[key] = s.live
	}
	return live
}

// registerMetrics registers the collectors with a configuration's registry,
// which another handler of it may have done already.
func registerMetrics(reg *prometheus.Registry) error {
	for _, c := range []prometheus.Collector{handshakesTotal, connectionsMetric} {
		var already prometheus.AlreadyRegisteredError
		if err := reg.Register(c); err != nil && !errors.As(err, &already) {
			return fmt.Errorf("registering metrics: %w", err)
		}
	}
	return nil
}
