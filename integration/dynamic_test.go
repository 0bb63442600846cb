package integration

import (
	"fmt"
	"net/http"
	"sync"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
)

func init() {
	caddy.RegisterModule(new(shiftingPool))
}

// shifting is where the dynamic upstreams of a test come from.
var shifting struct {
	mu    sync.Mutex // protects the following
	addrs []string
	err   error
	asked int
}

// shift changes the dynamic upstreams.
func shift(err error, upstreams ...*backend) {
	shifting.mu.Lock()
	defer shifting.mu.Unlock()
	shifting.addrs, shifting.err = nil, err
	for _, b := range upstreams {
		shifting.addrs = append(shifting.addrs, b.addr)
	}
}

// shiftingPool is the source "integration_pool" of dynamic upstreams. Its mark is
// what a reload changes of it.
type shiftingPool struct {
	Mark string `json:"mark,omitempty"`
}

// CaddyModule registers the source.
func (*shiftingPool) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.reverse_proxy.upstreams.integration_pool",
		New: func() caddy.Module { return new(shiftingPool) },
	}
}

func (p *shiftingPool) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next()
	d.Args(&p.Mark)
	return nil
}

func (*shiftingPool) GetUpstreams(*http.Request) ([]*reverseproxy.Upstream, error) {
	shifting.mu.Lock()
	defer shifting.mu.Unlock()
	shifting.asked++
	var upstreams []*reverseproxy.Upstream
	for _, addr := range shifting.addrs {
		upstreams = append(upstreams, &reverseproxy.Upstream{Dial: addr})
	}
	return upstreams, shifting.err
}

// TestDynamicUpstreamsComeAndGo with what they hold kept by their address.
func TestDynamicUpstreamsComeAndGo(t *testing.T) {
	all, _ := backends(t, 3, hold)
	shift(nil, all[0], all[1])
	g := start(t, "ws_gateway {\n dynamic integration_pool\n max_conns 10\n }")
	storm(t, g, overWS, 12)
	expect := func(want ...int) {
		t.Helper()
		for i, b := range all {
			if n := b.count(&b.live); n != want[i] {
				t.Errorf("upstream %d holds %d, want %d", i, n, want[i])
			}
		}
	}
	expect(6, 6, 0)

	shift(nil, all[0], all[2]) // the second is gone, its connections are not
	storm(t, g, overWS, 6)
	expect(6, 6, 6)
	for i, b := range all {
		eventually(t, fmt.Sprint("6 to be shown at upstream ", i), func() bool {
			return g.shown(t, "default", b.addr).Live == 6
		})
	}

	shift(nil, all...) // and back again, as full as it was
	conns, byStatus := storm(t, g, overWS, 15)
	if len(conns) != 12 || byStatus[503] != 3 {
		t.Errorf("answers by status: %v, want 12 to fill them and 3 too many", byStatus)
	}
	expect(10, 10, 10)
	for i, b := range all {
		if n := len(book.closedBy(b.addr)); n != 0 {
			t.Errorf("%d connections of upstream %d were closed as upstreams came and went", n, i)
		}
	}
	if a := g.get(t, "/plain", nil); a.status != 200 {
		t.Errorf("a plain request: status %d", a.status)
	}
}

// TestDynamicUpstreamHasAStateToo by its address, like one that is named.
func TestDynamicUpstreamHasAStateToo(t *testing.T) {
	all, _ := backends(t, 2, echo)
	shift(nil, all...)
	g := start(t, "ws_gateway {\n dynamic integration_pool\n lb_policy first\n drain_period 0s\n }")
	conn := overWS.open(t, g, "/ws", nil)
	defer g.setState(t, all[0].addr, "ready")
	g.setState(t, all[0].addr, "drain")
	conn.expectClose(t, 1012)
	overH2.open(t, g, "/ws", nil).ping(t, "elsewhere")
	if n := all[1].count(&all[1].opened); n != 1 {
		t.Errorf("the other one has %d connections", n)
	}
}

// TestSourceThatFailsIsNoUpstream but hurts nobody who is connected.
func TestSourceThatFailsIsNoUpstream(t *testing.T) {
	b := newBackend(t, echo)
	shift(nil, b)
	g := start(t, "ws_gateway {\n dynamic integration_pool\n }")
	conn := overWS.open(t, g, "/ws", nil)
	shift(fmt.Errorf("no name server"))
	eachCarrier(t, func(t *testing.T, c carrier) {
		if a := c.refused(t, g, "/ws", nil, 503); a.header.Get("Retry-After") == "" {
			t.Error("503 without Retry-After")
		}
	})
	conn.ping(t, "still here")
	shift(nil)
	overWS.refused(t, g, "/ws", nil, 503)
	shift(nil, b)
	overWS.open(t, g, "/ws", nil).finish(t)
}

// TestDynamicUpstreamIsProbedByWebSocket once it is known.
func TestDynamicUpstreamIsProbedByWebSocket(t *testing.T) {
	fails := make(chan struct{})
	ill := newBackend(t, func(c *backendConn) {
		select {
		case <-fails:
			_ = c.reply("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
		default:
			named(c)
		}
	})
	well := newBackend(t, named)
	shift(nil, ill, well)
	g := start(t, "ws_gateway {\n dynamic integration_pool\n lb_policy first\n health_websocket\n health_interval 50ms\n health_timeout 2s\n }")
	if got, _ := where(t, g, nil); got != ill.addr {
		t.Fatalf("while both are well a handshake went to %s", got)
	}
	close(fails)
	goesTo(t, g, well)
	eventually(t, "it to be shown as unhealthy", func() bool { return g.shown(t, "default", ill.addr).State == "unhealthy" })
}

// TestRemovedSourceIsDrained by a reload without it.
func TestRemovedSourceIsDrained(t *testing.T) {
	b := newBackend(t, echo)
	shift(nil, b)
	g := start(t, "ws_gateway {\n dynamic integration_pool\n drain_period 0s\n }")
	conns := oneOfEach(t, g)
	g.reload(t, "ws_gateway {\n dynamic integration_pool\n drain_period 1s\n max_conns 9\n }")
	for _, conn := range conns {
		conn.ping(t, "the same source")
	}
	g.reload(t, "respond hello")
	for _, conn := range conns {
		conn.expectClose(t, 1012)
	}
}
