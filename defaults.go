package wsgateway

import (
	"time"

	"github.com/caddyserver/caddy/v2"
)

// What holds where the configuration says nothing.
const (
	defaultHandshakeTimeout = 10 * time.Second
	defaultWriteTimeout     = 30 * time.Second
	defaultDrainPeriod      = 30 * time.Second
	defaultQueueTimeout     = 10 * time.Second
	defaultEarlyCloseWindow = 5 * time.Second

	// defaultExitPeriod bounds an exit where grace_period does not.
	defaultExitPeriod = 10 * time.Second
)

func orDefault(d caddy.Duration, otherwise time.Duration) time.Duration {
	if d > 0 {
		return time.Duration(d)
	}
	return otherwise
}
