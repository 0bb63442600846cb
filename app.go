package wsgateway

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/caddyserver/caddy/v2"

	"github.com/wsgateway/caddy-ws-gateway/fleet"
	"github.com/wsgateway/caddy-ws-gateway/internal/relay"
)

func init() {
	caddy.RegisterModule(new(App))
}

// minBuffers is the least budget with which connections can be told apart by how long
// they have been slow: some hundred pieces of the smallest kind.
const minBuffers = 1 << 20

// App is what all gateways of the process have in common. It is needed only to set
// something other than the defaults, which hold without it as well.
type App struct {
	// How many bytes may be held in memory, over all gateways, for clients and
	// upstreams that do not read what is sent to them. Connections with a slow side
	// are read from in smaller pieces as this fills; when it is full, those that have
	// been slow for longest are ended: the slow side gets the close code 1013. At
	// least 1048576. Default: an eighth of the memory that the process may use, which
	// Caddy takes from the container or the machine, or GOMEMLIMIT says; at least
	// 67108864.
	//
	// A reload changes it for live connections, too.
	Buffers int64 `json:"buffers,omitempty"`

	// The engine through which the gateways of many nodes act as one: caps are those of
	// all nodes together, revocations and states of upstreams are known to each, and
	// balancing goes by what all of them hold. Default: none, which is one node.
	//
	// A reload keeps the node what it is in the fleet; one that changes this leaves the
	// old engine and joins the new one. Live connections stay in any case.
	FleetRaw json.RawMessage `json:"fleet,omitempty" caddy:"namespace=ws_gateway.fleet inline_key=engine"`

	// Where the keys of TLS session tickets come from, with which clients that come again
	// resume their session instead of a full handshake: `standard` keeps them in the
	// process through reloads, `distributed` in a storage that several nodes share. It is
	// for all servers of this configuration, as `session_tickets` of the app `tls` is,
	// which cannot be set as well. A key is used for 12 hours, and its tickets are taken
	// for 36 hours more. Default: `standard` for servers with a gateway, unless the app
	// `tls` has `session_tickets`; other servers have new keys at each reload, as Caddy
	// makes them.
	SessionTicketsRaw json.RawMessage `json:"session_tickets,omitempty" caddy:"namespace=tls.stek inline_key=provider"`

	fleet   *fleetOfConfig // nil without one
	tickets *ticketKeys    // nil without their own keys
}

// CaddyModule returns the Caddy module information.
func (*App) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "ws_gateway",
		New: func() caddy.Module { return new(App) },
	}
}

// Provision loads the modules. It does not wait for anything on the network, unless keys
// of session tickets are in a storage that is there.
func (a *App) Provision(ctx caddy.Context) (err error) {
	if a.FleetRaw != nil {
		if a.fleet, err = loadFleet(ctx, a); err != nil {
			return err
		}
	}
	if a.SessionTicketsRaw != nil {
		loaded, err := ctx.LoadModule(a, "SessionTicketsRaw")
		if err != nil {
			return fmt.Errorf("session_tickets: %w", err)
		}
		if a.tickets, err = newTicketKeys(ctx, loaded); err != nil {
			return err
		}
		return a.tickets.start(ctx)
	}
	return nil
}

// suppliesTickets reports whether the servers use keys of the app's for session tickets.
func (a *App) suppliesTickets() bool { return a.tickets != nil }

// loadFleet loads the engine that the app names.
func loadFleet(ctx caddy.Context, a *App) (*fleetOfConfig, error) {
	var named struct {
		Engine string `json:"engine"`
	}
	if err := json.Unmarshal(a.FleetRaw, &named); err != nil {
		return nil, fmt.Errorf("fleet: %w", err)
	}
	loaded, err := ctx.LoadModule(a, "FleetRaw")
	if err != nil {
		return nil, fmt.Errorf("fleet: %w", err)
	}
	module, ok := loaded.(fleet.Module)
	if !ok {
		return nil, fmt.Errorf("fleet: the module %s.%s is no engine: it has to be a fleet.Module", fleetNamespace, named.Engine)
	}
	said, err := json.Marshal(loaded)
	if err != nil {
		return nil, errors.New("fleet: the engine's configuration cannot be compared with the next one")
	}
	return &fleetOfConfig{engine: named.Engine, module: module, said: said, logger: ctx.Logger()}, nil
}

// Validate checks the configuration.
func (a *App) Validate() error {
	if a.Buffers != 0 && a.Buffers < minBuffers {
		return fmt.Errorf("buffers must be at least %d bytes, not %d: leave it out for an eighth of the memory", minBuffers, a.Buffers)
	}
	return nil
}

// Start makes the settings those of the process.
func (a *App) Start() error {
	apps.start(a)
	if a.fleet != nil {
		ours.join(a.fleet)
	}
	return nil
}

// Stop gives up the settings. A fleet is left at once, unless the process exits: then it is
// left when the last connection is gone.
func (a *App) Stop() error {
	if a.tickets != nil {
		a.tickets.stop()
	}
	apps.stop(a)
	if a.fleet != nil && !caddy.Exiting() {
		ours.leave(a.fleet)
	}
	return nil
}

// Cleanup gives up the settings, for Caddy does not stop the apps of a configuration
// that fails after all of them have started.
func (a *App) Cleanup() error { return a.Stop() }

// apps are those that run: two while a reload lasts, since Caddy starts the apps of the
// new configuration before it stops those of the old one, or of the new one if it
// fails.
var apps startedApps

type startedApps struct {
	mu   sync.Mutex
	list []*App
}

func (s *startedApps) start(a *App) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.list = append(s.list, a)
	s.apply()
}

func (s *startedApps) stop(a *App) {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := slices.Index(s.list, a)
	if i < 0 {
		return
	}
	s.list = slices.Delete(s.list, i, i+1)
	s.apply()
}

// apply has the larger setting hold as long as it is not known which configuration
// stays, so that one that fails to start ends nobody.
func (s *startedApps) apply() {
	buffers := int64(0)
	for _, a := range s.list {
		size := a.Buffers
		if size == 0 {
			size = relay.DefaultBuffers()
		}
		buffers = max(buffers, size)
	}
	relay.SetBuffers(buffers)
}

// Interface guards.
var (
	_ caddy.App          = (*App)(nil)
	_ caddy.Provisioner  = (*App)(nil)
	_ caddy.Validator    = (*App)(nil)
	_ caddy.CleanerUpper = (*App)(nil)
)
