package handshake

import (
	"net/http"
	"reflect"
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

func TestEndToEndIsWhatRemovingLeaves(t *testing.T) {
	t.Parallel()
	for name, connection := range map[string][]string{
		"an upgrade":        {"Upgrade"},
		"in another case":   {"upgrade"},
		"with a field":      {"keep-alive, x-hop, Upgrade"},
		"in several values": {"Upgrade", "X-Hop"},
		"nothing":           nil,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := http.Header{
				"Upgrade": {"websocket"}, "Sec-Websocket-Key": {"k"}, "Sec-Websocket-Protocol": {"chat"}, ":protocol": {"websocket"},
				"Keep-Alive": {"5"}, "X-Hop": {"1"}, "Cookie": {"a=1", "b=2"}, "content-length": {"0"},
			}
			if connection != nil {
				h["Connection"] = connection
			}
			before, want := h.Clone(), h.Clone()
			RemoveHopByHop(want)
			got := EndToEnd(h)
			if !reflect.DeepEqual(got, want) {
				t.Errorf("got %v, want %v", got, want)
			}
			delete(got, "Cookie")
			if !reflect.DeepEqual(h, before) {
				t.Errorf("the header is %v now", h)
			}
		})
	}
}

func TestSpellingsOfAFieldAreTheSame(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name, other string
		want        bool
	}{
		{"X-User-Id", "x_user.ID", true},
		{"X-User-Id", "X-User-Id", true},
		{"X-User-Id", "X-User-Ids", false},
		{"X-User-Ids", "X-User-Id", false},
		{"X-User-Id", "X-User Id", false},
		{"", "", true},
	} {
		if got := SameField(row.name, row.other); got != row.want || got != (Fold(row.name) == Fold(row.other)) {
			t.Errorf("%q and %q: %t, want %t", row.name, row.other, got, row.want)
		}
	}
}
