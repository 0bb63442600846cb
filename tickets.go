package wsgateway

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyevents"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddytls"
	"go.uber.org/zap"
)

// The namespace of Caddy's sources of keys for session tickets, and the member of their
// configuration that names one.
const (
	ticketNamespace = "tls.stek"
	ticketKeySource = "provider"
)

// For how long new tickets are made with a key, and with how many keys tickets are
// taken: as Caddy's own session_tickets has it.
const (
	ticketKeyInterval = 12 * time.Hour
	ticketKeysKept    = 4
)

// ticketKeys has the servers of a configuration use the keys of a source for their
// session tickets. Those that crypto/tls makes by itself go with the configuration.
type ticketKeys struct {
	source caddytls.STEKProvider
	logger *zap.Logger
	done   chan struct{} // closed to end what start has begun; nil when nothing runs
}

// newTicketKeys takes a source of keys that was loaded.
func newTicketKeys(ctx caddy.Context, loaded any) (*ticketKeys, error) {
	source, ok := loaded.(caddytls.STEKProvider)
	if !ok {
		return nil, fmt.Errorf("session_tickets: the module %T is no source of keys: it has to be a caddytls.STEKProvider", loaded)
	}
	switch app, err := ctx.AppIfConfigured("tls"); {
	case errors.Is(err, caddy.ErrNotConfigured):
	case err != nil:
		return nil, fmt.Errorf("session_tickets: %w", err)
	case app.(*caddytls.TLS).SessionTickets != nil:
		return nil, errors.New("session_tickets: the app tls has its own: leave them out of one of the two")
	}
	return &ticketKeys{source: source, logger: ctx.Logger()}, nil
}

// start gives the servers of the configuration their keys before they serve anybody, and
// new ones when it is time.
func (k *ticketKeys) start(ctx caddy.Context) error {
	servers, err := tlsOfServers(ctx)
	if err != nil {
		return err
	}
	if err := k.supply(servers); err != nil {
		return fmt.Errorf("session_tickets: %w", err)
	}
	return nil
}

func (k *ticketKeys) supply(servers []*tls.Config) error {
	keys, err := k.source.Initialize(&caddytls.SessionTicketService{
		RotationInterval: caddy.Duration(ticketKeyInterval), MaxKeys: ticketKeysKept,
	})
	if err != nil {
		return err
	}
	done := make(chan struct{})
	k.done = done
	changed := k.source.Next(done) // whatever happens, for it also ends what Initialize began
	if len(keys) == 0 {
		return errors.New("the source has no keys")
	}
	useTicketKeys(servers, keys)
	go func() {
		defer contain(k.logger)
		for {
			select {
			case keys := <-changed:
				useTicketKeys(servers, keys)
			case <-done:
				return
			}
		}
	}()
	return nil
}

// stop may be called again, and when nothing was started.
func (k *ticketKeys) stop() {
	if k.done != nil {
		close(k.done)
		k.done = nil
	}
}

// keptTickets has the servers with a gateway use keys that outlive reloads, where the
// configuration says nothing about session tickets. They have one source between them,
// because each makes a new key for the whole process when it is time, and has it forget
// the oldest.
type keptTickets struct {
	ctx  caddy.Context
	once sync.Once

	mu      sync.Mutex // guards the rest
	servers []*caddyhttp.Server
	keys    *ticketKeys
	ended   bool
}

// ticketed are the keptTickets, each by the app for events of its configuration: a
// configuration may have many gateways.
var ticketed sync.Map

// keepTickets prepares that for the server of a handler. The policies of the server are not
// made yet, so that keys are there when the first connection is: over TCP before
// anything of it is looked at, and otherwise when all of Caddy has started.
func keepTickets(ctx caddy.Context) (giveBack func(), err error) {
	nothing := func() {}
	server, ok := ctx.Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server)
	if !ok {
		return nothing, nil
	}
	events, err := ctx.App("events")
	if err != nil {
		return nothing, fmt.Errorf("keys of session tickets: %w", err)
	}
	if k, there := ticketed.Load(events); there {
		k.(*keptTickets).keepFor(server) //nolint:forcetypeassert // it holds nothing else
		return nothing, nil
	}
	loaded, err := ctx.LoadModuleByID(ticketNamespace+".standard", nil)
	if err != nil {
		return nothing, fmt.Errorf("keys of session tickets: %w", err)
	}
	source, ok := loaded.(caddytls.STEKProvider)
	if !ok {
		return nothing, nil
	}
	k := &keptTickets{ctx: ctx, keys: &ticketKeys{source: source, logger: ctx.Logger()}}
	k.keepFor(server)
	ticketed.Store(events, k)
	giveBack = func() {
		ticketed.Delete(events)
		k.end()
	}
	if err := events.(*caddyevents.App).On("started", k); err != nil {
		return giveBack, fmt.Errorf("keys of session tickets: %w", err)
	}
	return giveBack, nil
}

// keepFor adds a server, unless another of its gateways has done so.
func (k *keptTickets) keepFor(server *caddyhttp.Server) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if slices.Contains(k.servers, server) {
		return
	}
	k.servers = append(k.servers, server)
	server.RegisterConnContext(func(ctx context.Context, _ net.Conn) context.Context {
		k.once.Do(k.begin)
		return ctx
	})
}

// Handle implements caddyevents.Handler.
func (k *keptTickets) Handle(context.Context, caddy.Event) error {
	k.once.Do(k.begin)
	return nil
}

// begin supplies the servers with keys, unless the configuration says otherwise.
func (k *keptTickets) begin() {
	k.mu.Lock()
	defer k.mu.Unlock()
	defer contain(k.keys.logger)
	servers := make([]*tls.Config, 0, len(k.servers))
	for _, server := range k.servers {
		servers = append(servers, tlsOf(server)...)
	}
	if k.ended || len(servers) == 0 || configuresTickets(k.ctx) {
		return
	}
	if err := k.keys.supply(servers); err != nil {
		k.keys.logger.Error("TLS sessions will not outlive a reload", zap.Error(err))
	}
}

// end is the end of the configuration.
func (k *keptTickets) end() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.ended = true
	k.keys.stop()
}

// configuresTickets reports whether a configuration, all of which is loaded, says something
// about session tickets.
func configuresTickets(ctx caddy.Context) bool {
	app, _ := ctx.AppIfConfigured("tls")
	if of, ok := app.(*caddytls.TLS); ok && of.SessionTickets != nil {
		return true
	}
	app, _ = ctx.AppIfConfigured("ws_gateway")
	of, ok := app.(interface{ suppliesTickets() bool })
	return ok && of.suppliesTickets()
}

// useTicketKeys has servers make tickets with the first of the keys, and take those of all.
func useTicketKeys(servers []*tls.Config, keys [][32]byte) {
	for _, server := range servers {
		server.SetSessionTicketKeys(keys)
	}
}

// tlsOfServers are the settings of TLS that connections to the servers of a
// configuration are accepted with. They are there once the app is provisioned, which
// this sees to: apps start in any order. Caddy has them make no tickets where clients show
// certificates, whatever the keys.
func tlsOfServers(ctx caddy.Context) (all []*tls.Config, err error) {
	app, err := ctx.AppIfConfigured("http")
	if errors.Is(err, caddy.ErrNotConfigured) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	for _, server := range app.(*caddyhttp.App).Servers {
		all = append(all, tlsOf(server)...)
	}
	return all, nil
}

// tlsOf are the settings of one server.
func tlsOf(server *caddyhttp.Server) (all []*tls.Config) {
	for _, policy := range server.TLSConnPolicies {
		all = append(all, policy.TLSConfig)
	}
	return all
}
