package wsgateway

import (
	"net/http"
	"testing"

	"github.com/caddyserver/caddy/v2"

	"github.com/wsgateway/caddy-ws-gateway/internal/live"
)

func TestMatchWebSocket(t *testing.T) {
	t.Parallel()
	upgrade := func(connection, protocol string) http.Header {
		return http.Header{"Connection": {connection}, "Upgrade": {protocol}}
	}
	tests := []struct {
		name    string
		request http.Request
		want    bool
	}{
		{"h1", http.Request{ProtoMajor: 1, Method: "GET", Header: upgrade("Upgrade", "websocket")}, true},
		{"h1 in any case and among other tokens", http.Request{ProtoMajor: 1, Method: "GET", Header: upgrade("keep-alive, UPGRADE", "WebSocket")}, true},
		{"h1 with two connection lines", http.Request{ProtoMajor: 1, Method: "GET", Header: http.Header{"Connection": {"keep-alive", "upgrade"}, "Upgrade": {"websocket"}}}, true},
		{"h1 plain", http.Request{ProtoMajor: 1, Method: "GET", Header: http.Header{}}, false},
		{"h1 without the connection token", http.Request{ProtoMajor: 1, Method: "GET", Header: upgrade("keep-alive", "websocket")}, false},
		{"h1 with a token that contains upgrade", http.Request{ProtoMajor: 1, Method: "GET", Header: upgrade("upgraded", "websocket")}, false},
		{"h1 to another protocol", http.Request{ProtoMajor: 1, Method: "GET", Header: upgrade("Upgrade", "h2c")}, false},
		{"h1 to a choice of protocols", http.Request{ProtoMajor: 1, Method: "GET", Header: upgrade("Upgrade", "websocket, h2c")}, false},
		{"h1 with two upgrade lines", http.Request{ProtoMajor: 1, Method: "GET", Header: http.Header{"Connection": {"upgrade"}, "Upgrade": {"websocket", "h2c"}}}, false},
		{"h1 by POST", http.Request{ProtoMajor: 1, Method: "POST", Header: upgrade("Upgrade", "websocket")}, false},
		{"h1 by CONNECT", http.Request{ProtoMajor: 1, Method: "CONNECT", Proto: "websocket", Header: http.Header{":protocol": {"websocket"}}}, false},
		{"h2", http.Request{ProtoMajor: 2, Method: "CONNECT", Header: http.Header{":protocol": {"websocket"}}}, true},
		{"h2 plain CONNECT", http.Request{ProtoMajor: 2, Method: "CONNECT", Header: http.Header{}}, false},
		{"h2 to another protocol", http.Request{ProtoMajor: 2, Method: "CONNECT", Header: http.Header{":protocol": {"connect-udp"}}}, false},
		{"h2 with the headers of h1", http.Request{ProtoMajor: 2, Method: "GET", Header: upgrade("Upgrade", "websocket")}, false},
		{"h3", http.Request{ProtoMajor: 3, Method: "CONNECT", Proto: "websocket", Header: http.Header{}}, true},
		{"h3 plain CONNECT", http.Request{ProtoMajor: 3, Method: "CONNECT", Proto: "HTTP/3.0", Header: http.Header{}}, false},
		{"h3 to another protocol", http.Request{ProtoMajor: 3, Method: "CONNECT", Proto: "webtransport", Header: http.Header{}}, false},
		{"h3 by GET", http.Request{ProtoMajor: 3, Method: "GET", Proto: "websocket", Header: http.Header{}}, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			got, err := MatchWebSocket{}.MatchWithError(&test.request)
			if err != nil {
				t.Fatal(err)
			}
			if got != test.want {
				t.Errorf("got %t, want %t", got, test.want)
			}
		})
	}
}

func TestMatchDraining(t *testing.T) {
	t.Parallel()
	set := live.NewSet(live.Reports{}, caddy.Exiting)
	for _, step := range []struct {
		name string
		do   func()
		want bool
	}{
		{"at first", func() {}, false},
		{"while the node drains", func() { set.DrainNode(nil) }, true},
		{"once it is ready", set.ReadyNode, false},
	} {
		step.do()
		if got, err := (MatchDraining{live: set}).MatchWithError(new(http.Request)); got != step.want || err != nil {
			t.Errorf("%s: %t, %v", step.name, got, err)
		}
	}
}
