package wsgateway

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/wsgateway/caddy-ws-gateway/internal/balance"
	"github.com/wsgateway/caddy-ws-gateway/internal/relay"
)

// failing sets what early closes need.
func failing(count int, window, failDuration time.Duration) func(*Handler) {
	return func(h *Handler) {
		h.EarlyCloseCount, h.EarlyCloseWindow = count, caddy.Duration(window)
		h.Proxy.HealthChecks = &reverseproxy.HealthChecks{Passive: &reverseproxy.PassiveHealthChecks{
			MaxFails: 1, FailDuration: caddy.Duration(failDuration),
		}}
	}
}

func TestEarlyCloseIsTheUpstreamsOwnAndNotOrdinary(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		after   time.Duration
		outcome relay.Outcome
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
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				addresses := addressesOf(t, 1)
				h := load(t, "early "+name, new(reverseproxy.LeastConnSelection), addresses, failing(1, 0, 30*time.Second))
				defer unload(t, h)
				c := &connection{upstream: addresses[0], openedAt: time.Now(), early: h.earlyClose()}
				elapse(row.after)
				c.early.judge(c, row.outcome)
				down := len(h.balancer.Down(h.balancer.members)) == 1
				if down != row.counts {
					t.Errorf("the upstream is down: %t, want %t", down, row.counts)
				}
				elapse(31 * time.Second)
				if len(h.balancer.Down(h.balancer.members)) != 0 {
					t.Error("it is still down when fail_duration is over")
				}
			})
		})
	}
}

func TestEarlyClosesCountWithinTheFailDuration(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		addresses := addressesOf(t, 2)
		h := load(t, "early-count", new(reverseproxy.FirstSelection), addresses, failing(3, time.Second, 10*time.Second))
		defer unload(t, h)
		dropped := func(want string, pause time.Duration) {
			t.Helper()
			_, backend, at, refused := connectTo(h)
			if refused != balance.None || at != want {
				t.Fatalf("connected to %q (%d), want %q", at, refused, want)
			}
			_ = backend.Close()
			elapse(pause)
		}
		dropped(addresses[0], 6*time.Second)
		dropped(addresses[0], 6*time.Second) // the first is forgotten by now
		dropped(addresses[0], time.Second)
		dropped(addresses[0], time.Second) // the third within 10 s
		dropped(addresses[1], 2*time.Second)
		dropped(addresses[1], time.Second)
		dropped(addresses[0], time.Second) // two of the three are forgotten
		elapse(time.Minute)
	})
}

func TestWithoutACountNothingIsAnEarlyClose(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		addresses := addressesOf(t, 1)
		h := load(t, "early-off", new(reverseproxy.LeastConnSelection), addresses, failing(0, 0, 10*time.Second))
		defer unload(t, h)
		for range 20 {
			_, backend, at, _ := connectTo(h)
			if at == "" {
				t.Fatal("the upstream was taken out")
			}
			_ = backend.Close()
			synctest.Wait()
		}
		elapse(time.Minute)
	})
}
