package wsgateway

import (
	"crypto/tls"
	"errors"
	"fmt"
	"time"

	"github.com/caddyserver/caddy/v2"
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
		for _, policy := range server.TLSConnPolicies {
			all = append(all, policy.TLSConfig)
		}
	}
	return all, nil
}
