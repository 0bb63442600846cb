//go:build race

package integration

import (
	"context"
	"encoding/json"
	"net"
	"sync"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyevents"
)

func init() {
	caddy.RegisterModule(gate{})
	admitted = throughGates
}

// gate keeps connections over TCP from a server until all of Caddy has started. Caddy takes
// them before that, and what it serves them by is set while it does: the race detector
// would fail the tests that come while a configuration is loaded.
type gate struct {
	opened chan struct{}
	open   func()
}

// CaddyModule registers the gate.
func (gate) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "caddy.listeners.integration_gate", New: func() caddy.Module { return new(gate) }}
}

// Provision has the gate opened by the event of Caddy's.
func (g *gate) Provision(ctx caddy.Context) error {
	g.opened = make(chan struct{})
	g.open = sync.OnceFunc(func() { close(g.opened) })
	events, err := ctx.App("events")
	if err != nil {
		return err
	}
	return events.(*caddyevents.App).On("started", g)
}

// Handle opens the gate.
func (g *gate) Handle(context.Context, caddy.Event) error {
	g.open()
	return nil
}

// Cleanup opens the gate of what has not started.
func (g *gate) Cleanup() error {
	g.open()
	return nil
}

// WrapListener implements caddy.ListenerWrapper.
func (g *gate) WrapListener(ln net.Listener) net.Listener { return gated{ln, g.opened} }

type gated struct {
	net.Listener
	opened <-chan struct{}
}

// Accept takes a connection once the gate is open.
func (g gated) Accept() (net.Conn, error) {
	conn, err := g.Listener.Accept()
	if err == nil {
		<-g.opened
	}
	return conn, err
}

// throughGates puts one before every server.
func throughGates(config []byte) ([]byte, error) {
	var all map[string]any
	if err := json.Unmarshal(config, &all); err != nil {
		return nil, err
	}
	apps, _ := all["apps"].(map[string]any)
	http, _ := apps["http"].(map[string]any)
	servers, _ := http["servers"].(map[string]any)
	for _, server := range servers {
		if server, ok := server.(map[string]any); ok {
			wrappers, _ := server["listener_wrappers"].([]any)
			server["listener_wrappers"] = append(wrappers, map[string]string{"wrapper": "integration_gate"})
		}
	}
	return json.Marshal(all)
}
