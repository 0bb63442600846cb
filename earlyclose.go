package wsgateway

import (
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

// judge counts an upstream that ended the connection soon after it took it.
func (e earlyClose) judge(c *connection, out relay.Outcome) {
	if e.window > 0 && out.By == relay.Upstream && !ordinaryClose(out.Code) && time.Since(c.openedAt) <= e.window {
		process.ledger.EarlyClose(c.upstream, e.failDuration)
	}
}

// ordinaryClose reports whether an upstream that is well may close with the code
// at once: when it is done (1000), for the application's reasons (3000 and up), or
// because of what the client sent, which is the client's fault. The others speak of
// the upstream: it leaves (1001), fails (1011), restarts (1012), has too much to do
// (1013) or fails behind itself (1014), or does not say why.
func ordinaryClose(code int) bool {
	switch code {
	case 1000, 1002, 1003, 1007, 1008, 1009, 1010:
		return true
	}
	return code >= 3000
}
