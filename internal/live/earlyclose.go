package live

import (
	"time"

	"github.com/wsgateway/caddy-ws-gateway/internal/relay"
)

// EarlyClose says when the end of a connection counts against its upstream: within
// the window after it was opened, for the fail duration. Its zero value is never.
type EarlyClose struct {
	Window, FailDuration time.Duration
}

// judge counts an upstream that ended the connection soon after it took it.
func (c *Conn) judge(out relay.Outcome) {
	e := c.EarlyClose
	if e.Window > 0 && out.By == relay.Upstream && !ordinaryClose(out.Code) && time.Since(c.OpenedAt) <= e.Window {
		c.set.Ledger.EarlyClose(c.Upstream, e.FailDuration)
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
