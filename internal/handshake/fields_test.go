package handshake

import (
	"net/http"
	"testing"
)

func TestAttackConnectionCannotNominateWhatWeSet(t *testing.T) {
	t.Parallel()
	h := http.Header{
		"Connection":             {"Upgrade, X-Forwarded-For, sec-websocket-key, X_Forwarded_Host", "X-Hop"},
		"X-Forwarded-For":        {"192.0.2.1"},
		"Sec-Websocket-Protocol": {"chat"},
		"X-Hop":                  {"1"},
		"Te":                     {"trailers"},
	}
	GuardConnection(h)
	RemoveHopByHop(h)
	if h.Get("X-Forwarded-For") == "" || h.Get("Sec-WebSocket-Protocol") == "" {
		t.Errorf("Connection had them dropped: %v", h)
	}
	if h.Get("X-Hop") != "" || h.Get("Te") != "" || h.Get("Connection") != "" {
		t.Errorf("hop-by-hop fields are left: %v", h)
	}
}
