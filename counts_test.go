package wsgateway

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/wsgateway/caddy-ws-gateway/internal/live"
	"github.com/wsgateway/caddy-ws-gateway/internal/relay"
)

// seriesOf returns the values of a gateway's series, by their other labels; of a
// histogram, how often it was observed.
func seriesOf(t *testing.T, c prometheus.Collector, gateway string) map[string]float64 {
	t.Helper()
	reg := prometheus.NewPedanticRegistry()
	if err := reg.Register(c); err != nil {
		t.Fatal(err)
	}
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	series := make(map[string]float64)
	for _, family := range families {
		for _, m := range family.GetMetric() {
			var labels []string
			of := ""
			for _, label := range m.GetLabel() {
				if label.GetName() == "gateway" {
					of = label.GetValue()
				} else {
					labels = append(labels, label.GetValue())
				}
			}
			if of == gateway {
				series[strings.Join(labels, " ")] = m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
			}
		}
	}
	return series
}

// TestSeriesAreBoundedWhateverClientsSend is for what they choose: codes and reasons.
func TestSeriesAreBoundedWhateverClientsSend(t *testing.T) {
	t.Parallel()
	c := process.NewConn(live.Details{ID: "x", Gateway: "bounded"}, "", live.Authority{})
	for range 100_000 {
		by := relay.Party(rand.IntN(3))
		countClosed(c, &relay.Outcome{By: by, Code: rand.IntN(6000), Reason: fmt.Sprint(rand.Uint64())})
	}
	const codes = 16 + 1 + 1 + 1 + 1 + 1 // 1000 to 1015, 3000, 3xxx, 4xxx, other, none
	if got := len(seriesOf(t, closesTotal, "bounded")); got > 3*codes || got < 3*(codes-1) {
		t.Errorf("there are %d series", got)
	}
}

func TestConnectionsAndHandshakesAreCountedWithHowLongTheyTook(t *testing.T) {
	t.Parallel()
	countHandshake("counted", resultOK, time.Second)
	countHandshake("counted", resultOK, time.Second)
	countHandshake("counted", resultLimited, time.Second)
	c := process.NewConn(live.Details{ID: "x", Gateway: "counted", OpenedAt: time.Now().Add(-time.Hour)}, "", live.Authority{})
	countClosed(c, &relay.Outcome{By: relay.Upstream, Code: 4321, Limit: relay.LimitBytes})
	pingObserver("counted")(time.Second)
	for _, row := range []struct {
		of   prometheus.Collector
		key  string
		want float64
	}{
		{handshakesTotal, "ok", 2}, {handshakesTotal, "limited", 1}, {handshakeSeconds, "", 3}, {closesTotal, "upstream 4xxx", 1},
		{connectionSeconds, "", 1}, {limitedTotal, "bytes", 1}, {pingSeconds, "", 1},
	} {
		if got := seriesOf(t, row.of, "counted")[row.key]; got != row.want {
			t.Errorf("%v: %q is %v, want %v", row.of, row.key, got, row.want)
		}
	}
}

// TestStreamsAreCountedBesideTheConnectionsTheyAreAmong wherever an upstream is.
func TestStreamsAreCountedBesideTheConnectionsTheyAreAmong(t *testing.T) {
	t.Parallel()
	gateway := "with streams " + live.NewID()
	set := live.NewSet(live.Reports{Closed: reportClosed}, caddy.Exiting)
	defer set.Name("a:1", "b:1")()
	defer set.Show(gateway, "a:1")()
	defer set.Show(gateway, "b:1")()
	details, _, _ := linked()
	details.ID, details.Gateway, details.Upstream = live.NewID(), gateway, "a:1"
	socket := set.NewConn(details, "a:1", live.Authority{})
	set.Add(socket)
	defer set.Remove(socket)
	first, _ := streamOf(set, gateway, "a:1")
	second, _ := streamOf(set, gateway, "a:1")
	defer set.Remove(second)
	first.Finish(relay.Outcome{By: relay.Upstream, Reason: "it is over"})

	all := newGatewaysCollector(set)
	for name, row := range map[string]struct {
		of   *prometheus.Desc
		want map[string]float64
	}{
		"connections": {all.connections, map[string]float64{"a:1": 2, "b:1": 0}},
		"streams":     {all.streams, map[string]float64{"a:1": 1, "b:1": 0}},
	} {
		if got := seriesOf(t, only{all, row.of}, gateway); !maps.Equal(got, row.want) {
			t.Errorf("%s are %v, want %v", name, got, row.want)
		}
	}
	if got := seriesOf(t, closesTotal, gateway); got["upstream none"] != 1 || len(got) != 1 {
		t.Errorf("those that have ended are %v", got)
	}
}

// only is one metric of the upstreams.
type only struct {
	gatewaysCollector
	desc *prometheus.Desc
}

// Describe implements prometheus.Collector.
func (o only) Describe(ch chan<- *prometheus.Desc) { ch <- o.desc }

// Collect implements prometheus.Collector.
func (o only) Collect(ch chan<- prometheus.Metric) {
	all := make(chan prometheus.Metric)
	go func() {
		defer close(all)
		for _, gateway := range o.set.ViewUpstreams() {
			o.collectUpstreams(all, &gateway)
		}
	}()
	for m := range all {
		if m.Desc() == o.desc {
			ch <- m
		}
	}
}

// TestSeriesOfGatewaysThatAreGoneAreForgotten after a day, or when they are too many.
func TestSeriesOfGatewaysThatAreGoneAreForgotten(t *testing.T) {
	t.Parallel()
	s := seriesNames{names: make(map[string]time.Time)}
	now := time.Now()
	s.note(now, "new")
	if got := s.sweep(now, []string{"there", "leaving"}); got != nil {
		t.Errorf("forgot %v", got)
	}
	now = now.Add(seriesKept)
	if got := s.sweep(now, []string{"there"}); got != nil {
		t.Errorf("forgot %v, a moment too early", got)
	}
	s.note(now, "new") // which is about to be loaded
	if got := s.sweep(now.Add(1), []string{"there"}); !slices.Equal(got, []string{"leaving"}) {
		t.Errorf("forgot %v, want what is gone for a day", got)
	}
	if got := s.sweep(now.Add(2), []string{"there"}); got != nil {
		t.Errorf("forgot %v once more", got)
	}
	for i := range 3 * seriesMost {
		s.note(now.Add(time.Duration(i)), fmt.Sprint("tenant", i))
		s.sweep(now.Add(time.Duration(i)), []string{"there"})
	}
	if _, kept := s.names[fmt.Sprint("tenant", 3*seriesMost-1)]; !kept || len(s.names) != seriesMost+1 {
		t.Errorf("%d names are kept, the newest among them: %t", len(s.names), kept)
	}
}

// TestSweepTakesEverySeriesOfAGateway and none of others.
func TestSweepTakesEverySeriesOfAGateway(t *testing.T) {
	c := process.NewConn(live.Details{ID: "x", Gateway: "swept"}, "", live.Authority{})
	countHandshake("swept", resultOK, time.Second)
	countClosed(c, &relay.Outcome{By: relay.Client, Code: 1000, Limit: relay.LimitMessages})
	countHandshake("left alone", resultOK, time.Second)
	queueSeconds.WithLabelValues("swept").Observe(1)
	pingObserver("swept")(1)
	countVerdict("swept", fromClient, "dropped")
	for _, vec := range countsByGateway {
		if len(seriesOf(t, vec, "swept")) == 0 {
			t.Fatal("nothing is there to be swept")
		}
	}
	namesOfSeries.note(time.Now().Add(-2*seriesKept), "swept")
	sweepSeries(nil)
	for _, vec := range countsByGateway {
		if got := seriesOf(t, vec, "swept"); len(got) != 0 {
			t.Errorf("left over: %v", got)
		}
	}
	if got := seriesOf(t, handshakesTotal, "left alone")["ok"]; got != 1 {
		t.Errorf("another gateway has %v", got)
	}
}
