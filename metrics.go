package wsgateway

import (
	"errors"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/wsgateway/caddy-ws-gateway/internal/live"
)

// gatewaysCollector reads its metrics off the set of live connections.
type gatewaysCollector struct {
	set                             *live.Set
	connections, streams            *prometheus.Desc
	queueLength, upstreamState      *prometheus.Desc
	limit, messages, bytes, pending *prometheus.Desc
	revocations                     *prometheus.Desc
}

func newGatewaysCollector(set *live.Set) gatewaysCollector {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc(prometheus.BuildFQName("caddy", "ws_gateway", name), help, labels, nil)
	}
	return gatewaysCollector{
		set:         set,
		connections: desc("connections", "Live connections: WebSockets and streams.", "gateway", "upstream"),
		streams:     desc("streams", "Live connections that are streams, which are long answers.", "gateway", "upstream"),
		queueLength: desc("queue_length", "Handshakes that wait for an upstream with room.", "gateway"),
		upstreamState: desc("upstream_state", "1 for the state that an upstream is in, 0 for the others.",
			"gateway", "upstream", "state"),
		messages: desc("messages_total", "Messages and control frames that came from either side. Events of streams are of type text.",
			"gateway", "direction", "type"),
		bytes: desc("bytes_total", "Bytes of payload that came from either side, in messages of WebSockets and in streams.",
			"gateway", "direction"),
		limit:       desc("connections_limit", "The most live connections that the gateway may hold, where that is limited.", "gateway"),
		pending:     desc("pending_bytes", "Bytes that are held for clients and upstreams that do not read.", "gateway"),
		revocations: desc("revocations", "Revocations that are in force."),
	}
}

// Describe implements prometheus.Collector.
func (c gatewaysCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, desc := range []*prometheus.Desc{
		c.connections, c.streams, c.queueLength, c.upstreamState, c.limit, c.messages, c.bytes, c.pending, c.revocations,
	} {
		ch <- desc
	}
}

// Collect implements prometheus.Collector.
func (c gatewaysCollector) Collect(ch chan<- prometheus.Metric) {
	defer contain(nil) // it has a goroutine of its own
	views := c.set.ViewUpstreams()
	pending := c.set.Pending()
	for _, gateway := range views {
		c.collectUpstreams(ch, &gateway)
		ch <- prometheus.MustNewConstMetric(c.pending, prometheus.GaugeValue, float64(pending[gateway.Name]), gateway.Name)
	}
	names := namesOf(views)
	c.collectTotals(ch, names)
	ch <- prometheus.MustNewConstMetric(c.revocations, prometheus.GaugeValue, float64(c.set.Revocations.InForce()))
	for _, name := range sweepSeries(names) {
		c.set.Forget(name)
	}
}

// collectTotals is what has come over the connections, also of gateways that are gone.
// Those that are there have totals from the beginning, so that the first message shows as
// an increase.
func (c gatewaysCollector) collectTotals(ch chan<- prometheus.Metric, present []string) {
	all := c.set.Totals()
	for _, name := range present {
		if _, known := all[name]; !known {
			all[name] = live.Totals{}
		}
	}
	count := func(desc *prometheus.Desc, n uint64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(desc, prometheus.CounterValue, float64(n), labels...)
	}
	for gateway, totals := range all {
		for direction, t := range map[string]live.Traffic{"from_client": totals.FromClient, "from_upstream": totals.FromUpstream} {
			for kind, n := range map[string]uint64{"text": t.Text, "binary": t.Binary, "ping": t.Pings, "pong": t.Pongs, "close": t.Closes} {
				count(c.messages, n, gateway, direction, kind)
			}
			count(c.bytes, t.Bytes, gateway, direction)
		}
	}
}

// collectUpstreams is the part of a gateway.
func (c gatewaysCollector) collectUpstreams(ch chan<- prometheus.Metric, gateway *live.GatewayView) {
	ch <- prometheus.MustNewConstMetric(c.queueLength, prometheus.GaugeValue, float64(gateway.Queued), gateway.Name)
	if most := gateway.Limits.Connections; most != nil {
		ch <- prometheus.MustNewConstMetric(c.limit, prometheus.GaugeValue, float64(most.Max), gateway.Name)
	}
	for _, up := range gateway.Upstreams {
		ch <- prometheus.MustNewConstMetric(c.connections, prometheus.GaugeValue, float64(up.Live), gateway.Name, up.Address)
		ch <- prometheus.MustNewConstMetric(c.streams, prometheus.GaugeValue, float64(up.Streams), gateway.Name, up.Address)
		for _, state := range live.States {
			value := 0.0
			if state == up.State {
				value = 1
			}
			ch <- prometheus.MustNewConstMetric(c.upstreamState, prometheus.GaugeValue, value, gateway.Name, up.Address, state)
		}
	}
}

func namesOf(views []live.GatewayView) []string {
	names := make([]string, 0, len(views))
	for _, gateway := range views {
		names = append(names, gateway.Name)
	}
	return names
}

// registerMetrics registers the collectors with the registry of a gateway's
// configuration, unless another handler of the configuration has done so already.
func registerMetrics(reg *prometheus.Registry, set *live.Set, gateway string) error {
	namesOfSeries.note(time.Now(), gateway)
	collectors := make([]prometheus.Collector, 0, 2+len(countsByGateway))
	collectors = append(collectors, panicsTotal, newGatewaysCollector(set), newFleetCollector(ours), fleetSeconds)
	for _, vec := range countsByGateway {
		collectors = append(collectors, vec)
	}
	for _, c := range collectors {
		var already prometheus.AlreadyRegisteredError
		if err := reg.Register(c); err != nil && !errors.As(err, &already) {
			return fmt.Errorf("registering metrics: %w", err)
		}
	}
	return nil
}
