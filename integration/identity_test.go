package integration

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
)

// dynamicA is a gateway that looks its upstream up by name.
func dynamicA(b *backend, block string) string {
	_, port, _ := net.SplitHostPort(b.addr)
	return fmt.Sprintf("ws_gateway {\n drain_period 0s\n dynamic a localhost %s {\n versions ipv4\n %s\n }\n }", port, block)
}

// TestReloadThatChangesNoUpstreamEndsNoConnection however the configuration says
// which upstreams there are, before and after.
func TestReloadThatChangesNoUpstreamEndsNoConnection(t *testing.T) {
	b := newBackend(t, echo)
	_, port, _ := net.SplitHostPort(b.addr)
	t.Setenv("WSGW_INTEGRATION_HOST", "127.0.0.1")
	shift(nil, b)
	sites := []struct{ name, site string }{
		{"a name is looked up", dynamicA(b, "refresh 500ms")},
		{"more often", dynamicA(b, "refresh 700ms")},
		{"by a resolver's timeout", dynamicA(b, "dial_timeout 3s")},
		{"a list", "ws_gateway " + b.addr + " {\n drain_period 0s\n }"},
		{"with a scheme", "ws_gateway http://" + b.addr + " {\n drain_period 0s\n }"},
		{"with a network", "ws_gateway {\n to tcp/" + b.addr + "\n drain_period 0s\n }"},
		{"IPv4 within IPv6", "ws_gateway [::ffff:127.0.0.1]:" + port + " {\n drain_period 0s\n }"},
		{"a source of someone else's", "ws_gateway {\n dynamic integration_pool one\n drain_period 0s\n }"},
		{"the same, changed", "ws_gateway {\n dynamic integration_pool two\n drain_period 0s\n }"},
		{"an address from the environment", "ws_gateway {env.WSGW_INTEGRATION_HOST}:" + port + " {\n drain_period 0s\n }"},
		{"a list again", "ws_gateway 127.0.0.1:0" + port + " {\n drain_period 0s\n }"},
		{"several sources", "ws_gateway {\n dynamic multi {\n integration_pool one\n integration_pool two\n }\n drain_period 0s\n }"},
		{"a name again", dynamicA(b, "")},
		{"several sources, one of them a name", "ws_gateway {\n dynamic multi {\n a localhost " + port + " {\n versions ipv4\n }\n }\n drain_period 0s\n }"},
		{"the same, looked up more often", "ws_gateway {\n dynamic multi {\n a localhost " + port + " {\n versions ipv4\n refresh 2s\n }\n }\n drain_period 0s\n }"},
	}
	for _, traffic := range []bool{true, false} {
		t.Run(fmt.Sprintf("with other handshakes %t", traffic), func(t *testing.T) {
			g := start(t, sites[0].site)
			conns := oneOfEach(t, g)
			for _, row := range sites[1:] {
				g.reload(t, row.site)
				if traffic {
					overWS.open(t, g, "/ws", nil).finish(t)
				}
				for _, conn := range conns {
					conn.ping(t, "after "+row.name)
				}
			}
			for _, conn := range conns {
				conn.finish(t)
			}
			for _, line := range book.closedBy(b.addr) {
				if line.str("by") == "gateway" {
					t.Errorf("a reload closed a connection: %v %s", line.num("code"), line.str("reason"))
				}
			}
		})
	}
}

// TestSourceThatAnswersWithoutAnUpstreamEndsItsConnections once it has answered,
// asked by a client or, where none comes, by the gateway.
func TestSourceThatAnswersWithoutAnUpstreamEndsItsConnections(t *testing.T) {
	long(t)
	for _, traffic := range []bool{true, false} {
		t.Run(fmt.Sprintf("with other handshakes %t", traffic), func(t *testing.T) {
			removed, kept := newBackend(t, echo), newBackend(t, echo)
			g := start(t, "ws_gateway "+removed.addr+" {\n drain_period 0s\n }")
			conns := oneOfEach(t, g)
			shift(errors.New("no name server"))
			g.reload(t, "ws_gateway {\n dynamic integration_pool\n drain_period 0s\n }")
			overWS.do(t, g, "/ws", nil)
			asked := func() int {
				shifting.mu.Lock()
				defer shifting.mu.Unlock()
				return shifting.asked
			}
			before := asked()
			eventually(t, "the source to be asked", func() bool { return asked() > before })
			for _, conn := range conns {
				conn.ping(t, "while the source has no answer")
			}
			shift(nil, kept)
			if traffic {
				overWS.open(t, g, "/ws", nil).ping(t, "elsewhere")
			}
			for _, conn := range conns {
				conn.expectClose(t, 1012)
			}
		})
	}
}

// TestAddressThatASourceReturnsNoMoreKeepsItsConnections through reloads that leave
// the source as it is, or change only how often it is asked.
func TestAddressThatASourceReturnsNoMoreKeepsItsConnections(t *testing.T) {
	gone, there := newBackend(t, echo), newBackend(t, echo)
	shift(nil, gone)
	g := start(t, "ws_gateway {\n dynamic integration_pool\n drain_period 0s\n }")
	conns := oneOfEach(t, g)
	shift(nil, there)
	overWS.open(t, g, "/ws", nil).ping(t, "at the new one")
	g.reload(t, "respond /other hello\nws_gateway {\n dynamic integration_pool\n drain_period 0s\n max_conns 9\n }")
	overWS.open(t, g, "/ws", nil).ping(t, "at the new one")
	for _, conn := range conns {
		conn.ping(t, "still here")
	}
	g.reload(t, "ws_gateway {\n dynamic integration_pool changed\n drain_period 0s\n }")
	for _, conn := range conns {
		conn.expectClose(t, 1012)
	}
}

// TestCredentialsHoldForAConnectionThatPassedToAnotherSource: what lets it in may
// be taken from there, although it leads elsewhere.
func TestCredentialsHoldForAConnectionThatPassedToAnotherSource(t *testing.T) {
	b, other := newBackend(t, echo), newBackend(t, echo)
	shift(nil, b)
	site := func(upstreams, token string) string {
		return fmt.Sprintf("ws_gateway /other %s {\n auth {\n bearer alice-token-alice alice\n }\n }\n"+
			"ws_gateway /ws {\n %s\n drain_period 0s\n auth {\n bearer %s alice\n }\n }", other.addr, upstreams, token)
	}
	g := start(t, site("to "+b.addr, "alice-token-alice"))
	var conns []*wsConn
	for _, c := range carriers {
		conns = append(conns, c.open(t, g, "/ws", bearer("alice-token-alice")))
	}
	g.reload(t, site("dynamic integration_pool", "alice-token-alice"))
	overWS.do(t, g, "/ws", bearer("alice-token-alice"))
	for _, conn := range conns {
		conn.ping(t, "its credential is good")
	}
	g.reload(t, site("dynamic integration_pool", "another-token-altogether"))
	for _, conn := range conns {
		conn.expectClose(t, 3000)
	}
}

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
	eventually(t, "the connections are shown", func() bool { return g.shown(t, "default", b.addr).Live == 4 })
	eventually(t, "the connections are counted", func() bool { return g.connections(t, b.addr) == 4 })
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
