package wsgateway

import (
	"reflect"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/wsgateway/caddy-ws-gateway/internal/live"
	"github.com/wsgateway/caddy-ws-gateway/internal/relay"
)

func TestPolicyOfARelayIsWhatIsConfigured(t *testing.T) {
	t.Parallel()
	second := caddy.Duration(time.Second)
	for name, row := range map[string]struct {
		h    Handler
		want *relay.Policy
	}{
		"nothing":                  {Handler{}, nil},
		"only who may come in":     {Handler{Limit: &Limit{Connections: 1, HandshakesPerIP: &HandshakeRate{1, second}}}, nil},
		"a size":                   {Handler{Limit: &Limit{MessageSize: 5}}, &relay.Policy{MessageSize: 5}},
		"messages, by their count": {Handler{Limit: &Limit{Messages: &FlowRate{Count: 3, Per: second}}}, &relay.Policy{Messages: relay.Rate{Count: 3, Per: time.Second, Burst: 3}}},
		"bytes, with all":          {Handler{Limit: &Limit{Bytes: &FlowRate{3, second, 9, "close"}}}, &relay.Policy{Bytes: relay.Rate{Count: 3, Per: time.Second, Burst: 9, Close: true}}},
		"bytes that wait":          {Handler{Limit: &Limit{Bytes: &FlowRate{3, second, 9, "wait"}}}, &relay.Policy{Bytes: relay.Rate{Count: 3, Per: time.Second, Burst: 9}}},
		"pings":                    {Handler{Ping: &Ping{Interval: second}}, &relay.Policy{PingInterval: time.Second, PingTimeout: 10 * time.Second}},
		"pings with a timeout":     {Handler{Ping: &Ping{second, second}}, &relay.Policy{PingInterval: time.Second, PingTimeout: time.Second}},
		"an idle timeout":          {Handler{IdleTimeout: second}, &relay.Policy{IdleTimeout: time.Second}},
		"strict":                   {Handler{Strict: true}, &relay.Policy{Strict: true}},
	} {
		got := relayPolicy("policies", row.h.Limit, row.h.Ping, time.Duration(row.h.IdleTimeout), row.h.Strict)
		if got != nil {
			if got.Slowed == nil {
				t.Errorf("%s: nobody hears of who has to wait", name)
			}
			if (got.Answered != nil) != (row.h.Ping != nil) {
				t.Errorf("%s: somebody hears of answers to pings: %t", name, got.Answered != nil)
			}
			got.Slowed, got.Answered = nil, nil
		}
		if !reflect.DeepEqual(got, row.want) {
			t.Errorf("%s: %+v, want %+v", name, got, row.want)
		}
	}
}

func TestClientsThatWaitAreCounted(t *testing.T) {
	t.Parallel()
	policy := relayPolicy("slowed", &Limit{MessageSize: 1}, nil, 0, false)
	policy.Slowed(relay.LimitMessages)
	policy.Slowed(relay.LimitMessages)
	policy.Slowed(relay.LimitBytes)
	for limit, want := range map[string]float64{"messages": 2, "bytes": 1, "message_size": 0} {
		if got := limitedCount(t, "slowed", limit); got != want {
			t.Errorf("%s: %v, want %v", limit, got, want)
		}
	}
}

func TestConnectionThatALimitEndedIsReported(t *testing.T) {
	t.Parallel()
	logger, lines := panicLog()
	c := process.NewConn(live.Details{ID: "x", Gateway: "limited end"}, "", live.Authority{})
	reportClosed(logger, c, relay.Outcome{By: relay.Gateway, Code: 1009, Limit: relay.LimitMessageSize})
	reportClosed(logger, c, relay.Outcome{By: relay.Client, Code: 1000})
	entries := lines.FilterMessage("closed").All()
	if len(entries) != 2 || entries[0].ContextMap()["limit"] != "message_size" {
		t.Errorf("the lines are %v", entries)
	} else if limit, ok := entries[1].ContextMap()["limit"]; ok {
		t.Errorf("a connection that ended by itself has the limit %v", limit)
	}
	if got := limitedCount(t, "limited end", "message_size"); got != 1 {
		t.Errorf("counted %v times", got)
	}
}

// limitedCount is the value of limited_total.
func limitedCount(t *testing.T, gateway, limit string) float64 {
	t.Helper()
	reg := prometheus.NewRegistry()
	if err := reg.Register(limitedTotal); err != nil {
		t.Fatal(err)
	}
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		for _, m := range family.GetMetric() {
			if labels := m.GetLabel(); labels[0].GetValue() == gateway && labels[1].GetValue() == limit {
				return m.GetCounter().GetValue()
			}
		}
	}
	return 0
}
