package wsgateway

import (
	"encoding/json"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
)

// readHandler reads a handler from JSON, as Caddy does, and validates it.
func readHandler(t *testing.T, config string) (*Handler, error) {
	t.Helper()
	h := &Handler{Proxy: new(reverseproxy.Handler), running: &running{name: "limited"}}
	if err := caddy.StrictUnmarshalJSON([]byte(config), h); err != nil {
		return nil, err
	}
	return h, h.Validate()
}

func TestLimitsInJSONAreHeldToWhatMakesSense(t *testing.T) {
	t.Parallel()
	for config, want := range map[string]string{
		`{"limit":{}}`:                                         "limit: is empty",
		`{"limit":{"connections":0}}`:                          "limit: is empty",
		`{"limit":{"connection":5}}`:                           `"connection"`,
		`{"limit":{"connections":-1}}`:                         "limit: connections: -1",
		`{"limit":{"connections":2147483648}}`:                 "connections: ",
		`{"limit":{"connections_per_ip":-1}}`:                  "limit: connections_per_ip: -1",
		`{"limit":{"connections_per_user":-2}}`:                "limit: connections_per_user: -2",
		`{"limit":{"ipv6_prefix":64}}`:                         "limit: ipv6_prefix: has no effect",
		`{"limit":{"connections_per_ip":1,"ipv6_prefix":129}}`: "limit: ipv6_prefix: 129",
		`{"limit":{"connections_per_ip":1,"ipv6_prefix":-1}}`:  "limit: ipv6_prefix: -1",

		`{"limit":{"handshakes_per_ip":{}}}`:                                  "limit: handshakes_per_ip: 0",
		`{"limit":{"handshakes_per_ip":{"count":5}}}`:                         "limit: handshakes_per_ip: 0s",
		`{"limit":{"handshakes_per_ip":{"count":-5,"per":"1s"}}}`:             "limit: handshakes_per_ip: -5",
		`{"limit":{"handshakes_per_ip":{"count":5,"per":"-1s"}}}`:             "limit: handshakes_per_ip: -1s",
		`{"limit":{"handshakes_per_ip":{"count":5,"per":"9000h"}}}`:           "limit: handshakes_per_ip: 9000h",
		`{"limit":{"message_size":-1}}`:                                       "limit: message_size: -1",
		`{"limit":{"message_size":4611686018427387905}}`:                      "limit: message_size: 4611686018427387905",
		`{"limit":{"message_size":18446744073709551616}}`:                     "message_size",
		`{"limit":{"messages":{"per":"1s"}}}`:                                 "limit: messages: a count of 0",
		`{"limit":{"messages":{"count":-1,"per":"1s"}}}`:                      "limit: messages: a count of -1",
		`{"limit":{"messages":{"count":2147483648,"per":"1s"}}}`:              "limit: messages: a count of 2147483648",
		`{"limit":{"messages":{"count":1,"per":"1s","burst":-1}}}`:            "limit: messages: a burst of -1",
		`{"limit":{"messages":{"count":1,"per":"1h","burst":10000}}}`:         "limit: messages: a burst of 10000 takes more than a year",
		`{"limit":{"messages":{"count":1,"per":"1s","action":"no"}}}`:         `limit: messages: action "no" is unknown: use wait or close`,
		`{"limit":{"messages":{"count":1}}}`:                                  "limit: messages: 0s",
		`{"limit":{"bytes":{"count":0,"per":"1s"}}}`:                          "limit: bytes: a count of 0",
		`{"limit":{"bytes":{"count":4611686018427387905,"per":1}}}`:           "limit: bytes: a count of 4611686018427387905",
		`{"limit":{"bytes":{"count":1,"per":"1s","burst":9007199254740992}}}`: "limit: bytes: a burst of 9007199254740992 takes more than a year",

		`{"ping":{}}`:                                  "ping: an interval of 0s",
		`{"ping":{"interval":"-1s"}}`:                  "ping: an interval of -1s",
		`{"ping":{"interval":"9000h"}}`:                "ping: an interval of 9000h",
		`{"ping":{"interval":"1s","timeout":"-1s"}}`:   "ping: a timeout of -1s",
		`{"ping":{"interval":"1s","timeout":"9000h"}}`: "ping: a timeout of 9000h",
		`{"idle_timeout":"-1s"}`:                       "idle_timeout: -1s",
		`{"idle_timeout":"9000h"}`:                     "idle_timeout: 9000h",
		`{"strict":"yes"}`:                             "strict",
	} {
		if _, err := readHandler(t, config); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %s in it", config, err, want)
		}
	}
}

func TestAllMistakesOfLimitsAreNamedAtOnce(t *testing.T) {
	t.Parallel()
	_, err := readHandler(t, `{"limit":{"connections":-1,"messages":{"count":-2,"per":"1s"}},"ping":{},"idle_timeout":-1}`)
	for _, want := range []string{"limit: connections: -1", "limit: messages: a count of -2", "ping: an interval of 0s", "idle_timeout: -1ns"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s in it", err, want)
		}
	}
}

func TestLimitsHaveDefaults(t *testing.T) {
	t.Parallel()
	h, err := readHandler(t, `{"limit":{"connections_per_ip":1,"messages":{"count":7,"per":"1s"}},"ping":{"interval":"1s"}}`)
	if err != nil {
		t.Fatal(err)
	}
	if m := h.Limit.Messages; m.burst() != 7 || m.action() != "wait" {
		t.Errorf("messages: a burst of %d, %s", m.burst(), m.action())
	}
	if h.Limit.ipv6Prefix() != 64 || h.Ping.timeout() != 10*time.Second {
		t.Errorf("a prefix of %d bits, a timeout of %s", h.Limit.ipv6Prefix(), h.Ping.timeout())
	}
}

func TestLargestLimitsAreAccepted(t *testing.T) {
	t.Parallel()
	year := caddy.Duration(maxPeriod)
	most := &FlowRate{Count: maxSize, Per: year, Burst: maxSize}
	config, err := json.Marshal(&Handler{
		Limit: &Limit{
			Connections: maxCount, ConnectionsPerIP: maxCount, ConnectionsPerUser: maxCount, IPv6Prefix: 128,
			HandshakesPerIP: &HandshakeRate{maxCount, year}, MessageSize: maxSize,
			Messages: &FlowRate{Count: maxCount, Per: year, Burst: maxCount}, Bytes: most,
		},
		Ping:        &Ping{year, year},
		IdleTimeout: year,
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := readHandler(t, string(config)); err != nil {
		t.Error(err)
	}
}

func TestBurstThatNeverComesIsFoundWithoutOverflow(t *testing.T) {
	t.Parallel()
	const huge = 1 << 62
	for _, row := range []struct {
		rate FlowRate
		ok   bool
	}{
		{FlowRate{Count: 1, Per: 1, Burst: int64(maxPeriod)}, true},
		{FlowRate{Count: 1, Per: 1, Burst: int64(maxPeriod) + 1}, false},
		{FlowRate{Count: 1, Per: math.MaxInt64, Burst: math.MaxInt64}, false},
		{FlowRate{Count: huge, Per: caddy.Duration(maxPeriod), Burst: huge}, true},
		{FlowRate{Count: huge - 1, Per: caddy.Duration(maxPeriod), Burst: huge}, true}, // rounded down
		{FlowRate{Count: huge / 2, Per: caddy.Duration(maxPeriod), Burst: huge}, false},
	} {
		if got := row.rate.burstComesWithin(maxPeriod); got != row.ok {
			t.Errorf("%+v: %t", row.rate, got)
		}
	}
}
