package live

import (
	"time"

	"github.com/wsgateway/caddy-ws-gateway/internal/relay"
)

// EarlyClose says when the end of a connection counts against its upstream: within
// Window after the connection was opened. It counts for FailDuration. The zero value
// is never.
type EarlyClose struct {
	Window, FailDuration time.Duration
}

// judge counts the end of the connection against the upstream where the upstream ended
// it too soon.
func (c *Conn) judge(out relay.Outcome) {
	e := c.EarlyClose
	if e.Window > 0 && out.By == relay.Upstream && c.brokenOff(&out) && time.Since(c.OpenedAt) <= e.Window {
		c.set.Ledger.EarlyClose(c.Upstream, e.FailDuration)
	}
}

// brokenOff reports whether an end by the upstream is not one that a healthy upstream may
// choose.
func (c *Conn) brokenOff(out *relay.Outcome) bool {
	if c.IsStream() {
		return out.Torn
	}
	return !ordinaryClose(out.Code)
}

// ordinaryClose reports whether a healthy upstream may close a new connection with the
// code: when it is done (1000), for the application's reasons (3000 and up), or because
// of the client's messages (1002, 1003, 1007 to 1010). Every other code is about the
// upstream: it leaves (1001), fails (1011), restarts (1012), is overloaded (1013), has
// a failure behind it (1014), or does not say why.
func ordinaryClose(code int) bool {
	switch code {
	case 1000, 1002, 1003, 1007, 1008, 1009, 1010:
		return true
	}
	return code >= 3000
}
