package live

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/wsgateway/caddy-ws-gateway/internal/balance"
	"github.com/wsgateway/caddy-ws-gateway/internal/relay"
)

// healthy is an upstream that its own health checks let pass.
type healthy struct{}

func (healthy) Healthy() bool    { return true }
func (healthy) Full(int) bool    { return false }
func (healthy) NumRequests() int { return 0 }
func (healthy) Fails() int       { return 0 }

func TestEarlyCloseIsTheUpstreamsOwnAndNotOrdinary(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		after   time.Duration
		outcome relay.Outcome // of a stream where it has no code
		counts  bool
	}{
		"broken off at once":      {0, relay.Outcome{By: relay.Upstream, Code: 1011}, true},
		"going away":              {time.Second, relay.Outcome{By: relay.Upstream, Code: 1001}, true},
		"without a code":          {time.Second, relay.Outcome{By: relay.Upstream, Code: 1005}, true},
		"at the end of the time":  {5 * time.Second, relay.Outcome{By: relay.Upstream, Code: 1011}, true},
		"later":                   {5*time.Second + 1, relay.Outcome{By: relay.Upstream, Code: 1011}, false},
		"restarting":              {0, relay.Outcome{By: relay.Upstream, Code: 1012}, true},
		"overloaded":              {0, relay.Outcome{By: relay.Upstream, Code: 1013}, true},
		"behind a bad gateway":    {0, relay.Outcome{By: relay.Upstream, Code: 1014}, true},
		"for a protocol error":    {0, relay.Outcome{By: relay.Upstream, Code: 1002}, false},
		"for data it takes not":   {0, relay.Outcome{By: relay.Upstream, Code: 1003}, false},
		"for data that is broken": {0, relay.Outcome{By: relay.Upstream, Code: 1007}, false},
		"for a policy":            {0, relay.Outcome{By: relay.Upstream, Code: 1008}, false},
		"for a message too big":   {0, relay.Outcome{By: relay.Upstream, Code: 1009}, false},
		"for want of extensions":  {0, relay.Outcome{By: relay.Upstream, Code: 1010}, false},
		"ordinarily":              {0, relay.Outcome{By: relay.Upstream, Code: 1000}, false},
		"by the application":      {0, relay.Outcome{By: relay.Upstream, Code: 3000}, false},
		"by the application, too": {0, relay.Outcome{By: relay.Upstream, Code: 4999}, false},
		"by the client":           {0, relay.Outcome{By: relay.Client, Code: 1011}, false},
		"by the gateway":          {0, relay.Outcome{By: relay.Gateway, Code: 1012}, false},
		"a stream, broken off":    {5 * time.Second, relay.Outcome{By: relay.Upstream, Torn: true}, true},
		"a stream, later":         {5*time.Second + 1, relay.Outcome{By: relay.Upstream, Torn: true}, false},
		"a stream, at its end":    {0, relay.Outcome{By: relay.Upstream}, false},
		"a stream, by the client": {0, relay.Outcome{By: relay.Client, Torn: true}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := newSet()
				members := []balance.Member{{Address: "a:1", Weight: 1, Source: healthy{}}}
				settings := balance.Settings{Policy: balance.LeastConn{}, MaxFails: 1, FailDuration: 30 * time.Second, EarlyCloses: 1}
				balancer := s.Ledger.New(settings, members)
				protocol := ProtocolWebSocket
				if row.outcome.Code == 0 {
					protocol = "sse"
				}
				c := s.NewConn(Details{
					Protocol: protocol, Upstream: "a:1", OpenedAt: time.Now(), EarlyClose: EarlyClose{Window: 5 * time.Second, FailDuration: 30 * time.Second},
				}, "a:1", Authority{})
				elapse(row.after)
				c.Finish(row.outcome)
				if down := len(balancer.Down(members)) == 1; down != row.counts {
					t.Errorf("the upstream is down: %t, want %t", down, row.counts)
				}
				elapse(31 * time.Second)
				if len(balancer.Down(members)) != 0 {
					t.Error("it is still down when fail_duration is over")
				}
			})
		})
	}
}
