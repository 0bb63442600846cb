package wsgateway

import (
	"cmp"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/wsgateway/caddy-ws-gateway/internal/live"
	"github.com/wsgateway/caddy-ws-gateway/internal/relay"
)

// The collectors belong to the process, because Caddy makes a registry anew for each
// configuration and the counts must survive that. The values of their labels come from
// the configuration and from the lists of this package, and never from a client.
var (
	handshakesTotal = counterOf("handshakes_total",
		"WebSocket handshakes of clients, by what came of them.", "result")
	handshakeSeconds = histogramOf("handshake_duration_seconds",
		"How long clients waited for the answer to a WebSocket handshake, whatever came of it.",
		.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60)
	queueSeconds = histogramOf("queue_wait_seconds",
		"How long handshakes waited in line for an upstream with room, those that did not get in among them.",
		.01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60)
	closesTotal = counterOf("closes_total",
		"Connections that have ended, by who ended them and the close code: none for streams.", "by", "code")
	connectionSeconds = histogramOf("connection_duration_seconds",
		"How long connections that have ended were open.",
		1, 10, 60, 5*60, 15*60, 60*60, 4*60*60, 12*60*60, 24*60*60, 2*24*60*60, 7*24*60*60)
	pingSeconds = histogramOf("ping_rtt_seconds",
		"How long clients took to answer pings of the gateway.",
		.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10)
	verdictsTotal = counterOf("message_verdicts_total",
		"Messages that message handlers did not just pass: dropped, answered, closed for, failed or panicked over.", "direction", "verdict")
	limitedTotal = counterOf("limited_total",
		"What limits did: handshakes refused, connections ended, and clients made to wait.", "limit")

	panicsTotal = prometheus.NewCounter(prometheus.CounterOpts{
		Namespace: "caddy",
		Subsystem: "ws_gateway",
		Name:      "panics_total",
		Help:      "Panics that were contained: each is a fault of the gateway, or of a module it calls, and has a line in the log.",
	})
)

// fleetSeconds has no series where there is no fleet.
var fleetSeconds = prometheus.NewHistogramVec(prometheus.HistogramOpts{
	Namespace: "caddy",
	Subsystem: "ws_gateway",
	Name:      "fleet_operation_seconds",
	Help:      "How long the engine of the fleet took for what it was asked, whatever came of it.",
	Buckets:   []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5},
}, []string{"operation"})

// observeFleet is for an operation of [membership.Config].
func observeFleet(operation string, took time.Duration) {
	fleetSeconds.WithLabelValues(operation).Observe(took.Seconds())
}

// byGateway is a collector whose series belong to a gateway each.
type byGateway interface {
	prometheus.Collector
	DeletePartialMatch(prometheus.Labels) int
}

// countsByGateway are the collectors whose series belong to a gateway each.
var countsByGateway = []byGateway{
	handshakesTotal, handshakeSeconds, queueSeconds, closesTotal, connectionSeconds, pingSeconds, limitedTotal, verdictsTotal,
}

func counterOf(name, help string, labels ...string) *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{
		Namespace: "caddy",
		Subsystem: "ws_gateway",
		Name:      name,
		Help:      help,
	}, append([]string{"gateway"}, labels...))
}

func histogramOf(name, help string, buckets ...float64) *prometheus.HistogramVec {
	return prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Namespace: "caddy",
		Subsystem: "ws_gateway",
		Name:      name,
		Help:      help,
		Buckets:   buckets,
	}, []string{"gateway"})
}

// countHandshake counts a handshake that was answered, and how long that took.
func countHandshake(gateway, result string, took time.Duration) {
	handshakesTotal.WithLabelValues(gateway, result).Inc()
	handshakeSeconds.WithLabelValues(gateway).Observe(took.Seconds())
}

func countVerdict(gateway, direction, verdict string) {
	verdictsTotal.WithLabelValues(gateway, direction, verdict).Inc()
}

func countLimited(gateway, limit string) { limitedTotal.WithLabelValues(gateway, limit).Inc() }

// countClosed counts a connection that is over.
func countClosed(c *live.Conn, out *relay.Outcome) {
	if out.Limit != "" {
		countLimited(c.Gateway, out.Limit)
	}
	closesTotal.WithLabelValues(c.Gateway, out.By.String(), live.FoldCode(out.Code)).Inc()
	connectionSeconds.WithLabelValues(c.Gateway).Observe(time.Since(c.OpenedAt).Seconds())
}

// pingObserver returns what takes the round-trip times of a gateway's pings. It looks
// the series up only once, with the first.
func pingObserver(gateway string) func(rtt time.Duration) {
	series := sync.OnceValue(func() prometheus.Observer { return pingSeconds.WithLabelValues(gateway) })
	return func(rtt time.Duration) { series().Observe(rtt.Seconds()) }
}

const (
	// seriesKept is how long the series of a gateway are kept that is gone, so that
	// they are scraped once more and go on where the gateway comes back.
	seriesKept = 24 * time.Hour

	// seriesMost is of how many gateways that are gone series are kept.
	seriesMost = 128
)

// seriesNames are the names of the gateways that may have series, with when each was
// there last.
type seriesNames struct {
	mu    sync.Mutex
	names map[string]time.Time
}

// namesOfSeries are those of the process.
var namesOfSeries = seriesNames{names: make(map[string]time.Time)}

// note notes that a gateway is there. It comes before anything of the gateway is counted.
func (s *seriesNames) note(now time.Time, names ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, name := range names {
		s.names[name] = now
	}
}

// sweep notes which gateways are there, and returns those whose series are to be
// forgotten.
func (s *seriesNames) sweep(now time.Time, present []string) (forgotten []string) {
	s.note(now, present...)
	s.mu.Lock()
	defer s.mu.Unlock()
	gone := slices.DeleteFunc(slices.Collect(maps.Keys(s.names)), func(name string) bool { return slices.Contains(present, name) })
	slices.SortFunc(gone, func(a, b string) int { return cmp.Or(s.names[b].Compare(s.names[a]), cmp.Compare(a, b)) })
	for i, name := range gone {
		if i >= seriesMost || now.Sub(s.names[name]) > seriesKept {
			delete(s.names, name)
			forgotten = append(forgotten, name)
		}
	}
	return forgotten
}

// sweepSeries forgets the series of gateways that are gone for long, and returns their
// names.
func sweepSeries(present []string) (forgotten []string) {
	forgotten = namesOfSeries.sweep(time.Now(), present)
	for _, name := range forgotten {
		for _, vec := range countsByGateway {
			vec.DeletePartialMatch(prometheus.Labels{"gateway": name})
		}
	}
	return forgotten
}
