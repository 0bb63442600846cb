package integration

import (
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddytls"

	wsgateway "github.com/wsgateway/caddy-ws-gateway"
)

// inMemory names the parts of a configuration that are still in memory.
type inMemory struct {
	mu    sync.Mutex // guards parts
	parts []string
}

// watch follows an object until it is collected.
func watch[T any](m *inMemory, object *T, name string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.parts = append(m.parts, name)
	slices.Sort(m.parts)
	runtime.AddCleanup(object, m.forget, name)
}

func (m *inMemory) forget(name string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.parts = slices.DeleteFunc(m.parts, func(part string) bool { return part == name })
}

func (m *inMemory) left() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return strings.Join(m.parts, ", ")
}

// expectCollected waits until nothing is left.
func (m *inMemory) expectCollected(t *testing.T, what string) {
	t.Helper()
	if !poll(patience/2, func() bool { runtime.GC(); return m.left() == "" }) {
		t.Errorf("%s is still in memory: %s", what, m.left())
	}
}

// watchConfiguration follows the running configuration: the apps, servers and
// TLS policies, our handlers and what these embed.
//
//go:noinline
func watchConfiguration(t *testing.T) *inMemory {
	t.Helper()
	m := new(inMemory)
	web := runningApp[*caddyhttp.App](t, "http")
	watch(m, web, "app http")
	watch(m, runningApp[*caddytls.TLS](t, "tls"), "app tls")
	for name, server := range web.Servers {
		watch(m, server, name)
		for i, h := range gatewaysOf(server.Routes) {
			watch(m, h, fmt.Sprintf("%s handler %d", name, i))
			watch(m, h.Proxy, fmt.Sprintf("%s reverse_proxy %d", name, i))
		}
		for i, policy := range server.TLSConnPolicies {
			watch(m, policy, fmt.Sprintf("%s policy %d", name, i))
			watch(m, policy.TLSConfig, fmt.Sprintf("%s TLS config %d", name, i))
		}
	}
	for _, want := range []string{"srv0 handler 0", "srv1 handler 0", "srv1 TLS config 0"} {
		if !slices.Contains(m.parts, want) {
			t.Fatalf("there is no %s, only %s", want, m.left())
		}
	}
	return m
}

func runningApp[T caddy.App](t *testing.T, name string) T {
	t.Helper()
	app, err := caddy.ActiveContext().App(name)
	if err != nil {
		t.Fatal(err)
	}
	return app.(T)
}

func gatewaysOf(routes caddyhttp.RouteList) (found []*wsgateway.Handler) {
	for _, route := range routes {
		for _, h := range route.Handlers {
			switch h := h.(type) {
			case *wsgateway.Handler:
				found = append(found, h)
			case *caddyhttp.Subroute:
				found = append(found, gatewaysOf(h.Routes)...)
			}
		}
	}
	return found
}

// shortIdle is for HTTP/2, whose server may keep a connection that broke off in
// memory for as long as an idle one may last, which is five minutes by default.
const shortIdle = "servers {\n timeouts {\n idle 500ms\n }\n }"

// shortWrite is for HTTP/2 as well. The deadline of a write that the client
// breaks off may outlive its stream, and keeps it in memory until then: for 30 s
// by default.
const shortWrite = "write_timeout 1s"

// TestReloadsLeaveNoConfigurationBehind follows configurations that live
// connections were opened under, or have seen come and go.
func TestReloadsLeaveNoConfigurationBehind(t *testing.T) {
	long(t)
	for _, row := range []struct {
		carrier
		// holds is why a connection keeps the configuration it was opened
		// under, but no later one, for as long as it lives.
		holds string
	}{
		{overWS, ""},
		{overWSS, ""},
		{overH2, "a stream lives in its request, and that belongs to its server"},
		{overH3, "a stream lives in its request, and that belongs to its server"},
	} {
		t.Run(row.name, func(t *testing.T) {
			b := newBackend(t, echo)
			site := "ws_gateway " + b.addr + " {\n " + shortWrite + "\n %s\n }"
			g := startWith(t, shortIdle, fmt.Sprintf(site, ""))
			conns := make([]*wsConn, 8)
			for i := range conns {
				conns[i] = row.open(t, g, "/ws", nil)
				conns[i].ping(t, "opened")
			}
			first := watchConfiguration(t)
			var between []*inMemory
			for _, change := range []string{
				"respond /unrelated hello\n" + site,
				"route {\n" + site + "\n }", // another handler
				site,
			} {
				g.reload(t, fmt.Sprintf(change, "max_conns 10"))
				between = append(between, watchConfiguration(t))
			}
			running := between[len(between)-1]
			for i, configuration := range between[:len(between)-1] {
				configuration.expectCollected(t, fmt.Sprint("configuration ", i+2))
			}
			if row.holds == "" {
				first.expectCollected(t, "the configuration that the connections were opened under")
			}
			for _, conn := range conns {
				conn.ping(t, "still here")
				conn.finish(t)
			}
			first.expectCollected(t, "the configuration of connections that are over")
			if want := watchConfiguration(t).left(); running.left() != want {
				t.Errorf("of the running configuration only %s is left, so that the rest proves nothing", running.left())
			}
		})
	}
}

// TestResetStreamsLeaveNoConfigurationBehind resets streams of HTTP/2 while
// something is on its way, and then ends their connection.
func TestResetStreamsLeaveNoConfigurationBehind(t *testing.T) {
	b := newBackend(t, echo)
	g := startWith(t, shortIdle, "ws_gateway "+b.addr+" {\n "+shortWrite+"\n }")
	client, conn, err := connH2(g)
	if err != nil {
		t.Fatal(err)
	}
	for range 100 {
		stream, err := shakeH2(t.Context(), client, g, "/ws", nil)
		if err != nil || stream.conn == nil {
			t.Fatalf("%d, %v", stream.status, err)
		}
		stream.conn.ping(t, "opened")
		for range 3 {
			stream.conn.mustSend(t, text("on its way"))
		}
		stream.conn.kill()
	}
	g.waitConnections(t, 0)
	configuration := watchConfiguration(t)
	g.reload(t, "respond hello")
	_ = conn.Close()
	configuration.expectCollected(t, "the configuration of streams that were reset")
}
