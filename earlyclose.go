package wsgateway

import (
	"errors"
	"fmt"
	"time"

	"github.com/wsgateway/caddy-ws-gateway/internal/relay"
)

// earlyClose is what of the configuration a connection needs to know at its end.
type earlyClose struct {
	window, failDuration time.Duration
}

func (h *Handler) earlyClose() earlyClose {
	if h.EarlyCloseCount == 0 {
		return earlyClose{}
	}
	return earlyClose{
		window:       orDefault(h.EarlyCloseWindow, defaultEarlyCloseWindow),
		failDuration: time.Duration(h.Proxy.HealthChecks.Passive.FailDuration),
	}
}

func (h *Handler) validateEarlyClose() error {
	passive := h.Proxy != nil && h.Proxy.HealthChecks != nil && h.Proxy.HealthChecks.Passive != nil &&
		h.Proxy.HealthChecks.Passive.FailDuration > 0
	switch {
	case h.EarlyCloseCount < 0:
		return fmt.Errorf("early_close_count: %d is negative", h.EarlyCloseCount)
	case h.EarlyCloseWindow < 0:
		return fmt.Errorf("early_close_window: %s is negative", time.Duration(h.EarlyCloseWindow))
	case h.EarlyCloseCount > 0 && !passive:
		return errors.New("early_close_count: nothing says how long an early close counts: set fail_duration")
	case h.EarlyCloseCount == 0 && h.EarlyCloseWindow > 0:
		return errors.New("early_close_window: has no effect without early_close_count: set that, or remove it")
	}
	return nil
}

// judge counts an upstream that ended the connection soon after it took it.
func (e earlyClose) judge(c *connection, out relay.Outcome) {
	ordinary := out.Code == 1000 || out.Code >= 3000
	if e.window > 0 && out.By == relay.Upstream && !ordinary && time.Since(c.openedAt) <= e.window {
		process.ledger.EarlyClose(c.upstream, e.failDuration)
	}
}
