package integration

import (
	"strconv"
	"strings"
	"testing"
)

// sample is one line of the metrics page.
type sample struct {
	name   string
	labels string
	value  float64
}

// metrics fetches the metrics page from the admin endpoint.
func (g *gateway) metrics(t *testing.T) (samples []sample, page string) {
	t.Helper()
	status, page := g.adminDo(t, "GET", "/metrics", "", "")
	if status != 200 {
		t.Fatalf("GET /metrics: status %d: %s", status, page)
	}
	for line := range strings.Lines(page) {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		cut := strings.LastIndexByte(line, ' ')
		value, err := strconv.ParseFloat(line[cut+1:], 64)
		if err != nil {
			t.Fatalf("metrics line %q: %v", line, err)
		}
		name, labels, _ := strings.Cut(line[:cut], "{")
		samples = append(samples, sample{name, "{" + labels, value})
	}
	return samples, page
}

// sum adds up the series of a metric that carry all the labels, each written
// as name="value".
func (g *gateway) sum(t *testing.T, name string, labels ...string) float64 {
	t.Helper()
	samples, _ := g.metrics(t)
	var total float64
next:
	for _, s := range samples {
		if s.name != name {
			continue
		}
		for _, label := range labels {
			if !strings.Contains(s.labels, label) {
				continue next
			}
		}
		total += s.value
	}
	return total
}

// connections is the number of live connections in the metrics, over all
// upstreams or of one.
func (g *gateway) connections(t *testing.T, upstream ...string) float64 {
	t.Helper()
	var labels []string
	for _, u := range upstream {
		labels = append(labels, `upstream="`+u+`"`)
	}
	return g.sum(t, "caddy_ws_gateway_connections", labels...)
}

// waitConnections waits until the metrics show n live connections.
func (g *gateway) waitConnections(t *testing.T, n int) {
	t.Helper()
	eventually(t, strconv.Itoa(n)+" live connections in the metrics", func() bool {
		return g.connections(t) == float64(n)
	})
}

// assertNoLiveSeries fails if any upstream is still counted with connections,
// even where the sum would hide it.
func (g *gateway) assertNoLiveSeries(t *testing.T) {
	t.Helper()
	g.waitConnections(t, 0)
	samples, _ := g.metrics(t)
	for _, s := range samples {
		if s.name == "caddy_ws_gateway_connections" && s.value != 0 {
			t.Errorf("%s%s is %v after every connection has ended", s.name, s.labels, s.value)
		}
	}
}
