package wsgateway

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/wsgateway/caddy-ws-gateway/internal/balance"
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
