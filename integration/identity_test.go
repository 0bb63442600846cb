package integration

import (
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
)

// TestOneUpstreamIsOneHoweverItIsSpelled for its cap, its state and its numbers.
func TestOneUpstreamIsOneHoweverItIsSpelled(t *testing.T) {
	b := newBackend(t, hold)
	_, port, _ := net.SplitHostPort(b.addr)
	spellings := []string{b.addr, "tcp/" + b.addr, "http://" + b.addr, "[::ffff:127.0.0.1]:" + port, "127.0.0.1:0" + port, "[::ffff:7f00:1]:" + port}
	var site strings.Builder
	for i, spelling := range spellings {
		fmt.Fprintf(&site, "ws_gateway /%d {\n to %s\n max_conns 4\n }\n", i, spelling)
	}
	g := start(t, site.String())
	for i := range 4 {
		overWS.open(t, g, fmt.Sprint("/", i), nil)
	}
	for i := range spellings {
		overWS.refused(t, g, fmt.Sprint("/", i), nil, 503)
	}
	if up := g.shown(t, "default", b.addr); up.Live != 4 || up.Opened < 4 {
		t.Errorf("shown as %+v", up)
	}
	if n := g.connections(t, b.addr); n != 4 {
		t.Errorf("the metric says %v", n)
	}
	defer g.setState(t, b.addr, "ready")
	for _, spelling := range append(spellings, "TCP4/"+b.addr, "HTTP://"+b.addr) {
		g.setState(t, spelling, "maintenance")
		if up := g.shown(t, "default", b.addr); up.State != "maintenance" {
			t.Errorf("set by %s, it is shown as %+v", spelling, up)
		}
		g.setState(t, b.addr, "ready")
	}
	if status, body := g.adminDo(t, http.MethodDelete, "/ws_gateway/connections?upstream=tcp/"+b.addr, "", ""); body != `{"ended":4}`+"\n" {
		t.Errorf("%d %s", status, body)
	}
}
