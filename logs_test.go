package wsgateway

import (
	"testing"
	"time"

	"github.com/wsgateway/caddy-ws-gateway/internal/live"
	"github.com/wsgateway/caddy-ws-gateway/internal/relay"
)

// TestLinesSayWhatAConnectionSpeaks and give a code to WebSockets alone.
func TestLinesSayWhatAConnectionSpeaks(t *testing.T) {
	t.Parallel()
	for protocol, want := range map[string]any{live.ProtocolWebSocket: 1000, "sse": nil, "x-ndjson": nil} {
		logger, lines := panicLog()
		c := process.NewConn(live.Details{ID: "x", Gateway: "spoken", Protocol: protocol, OpenedAt: time.Now()}, "", live.Authority{})
		out := relay.Outcome{By: relay.Upstream, Reason: "it is over"}
		if !c.IsStream() {
			out.Code = 1000
		}
		reportOpened(logger, c)
		reportClosed(logger, c, out)
		for _, message := range []string{msgOpened, msgClosed} {
			entries := lines.FilterMessage(message).All()
			if len(entries) != 1 || entries[0].ContextMap()["protocol"] != protocol {
				t.Errorf("%s: the lines %q are %v", protocol, message, entries)
			}
		}
		fields := lines.FilterMessage(msgClosed).All()[0].ContextMap()
		if fields["code"] != want || fields["reason"] != "it is over" || fields["by"] != "upstream" {
			t.Errorf("%s: the fields of its end are %v", protocol, fields)
		}
		if _, has := fields["code"]; has == c.IsStream() {
			t.Errorf("%s: it has a code: %t", protocol, has)
		}
	}
}
