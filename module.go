// Package wsgateway is a Caddy HTTP handler, ws_gateway, that does for
// WebSockets what reverse_proxy does for requests.
//
// A request passes through it in one direction: it is classified (plain HTTP,
// or a WebSocket handshake over HTTP/1.1, HTTP/2 or HTTP/3), authenticated,
// decorated, and given a lease on an upstream. Plain HTTP is then served by an
// embedded reverse_proxy over the same upstreams. A handshake is rebuilt, sent
// to the upstream and verified; only then is the client upgraded, and from
// there on frames are relayed unchanged until one side ends the connection, or
// the gateway does.
//
//	example.com {
//		ws_gateway /ws* localhost:9001 localhost:9002 {
//			auth {
//				token subprotocol
//				bearer {env.WS_TOKEN} alice
//			}
//		}
//	}
//
// Live connections belong to the process and not to a configuration: a reload
// leaves alone every connection whose upstream is still configured and drains
// all other connections with close code 1012. When the process exits, every
// connection is closed with 1001.
package wsgateway

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	_ "github.com/wsgateway/caddy-ws-gateway/fleet/redis" // the engine of fleets
	"github.com/wsgateway/caddy-ws-gateway/internal/admission"
	_ "github.com/wsgateway/caddy-ws-gateway/internal/command" // caddy ws-gateway
	"github.com/wsgateway/caddy-ws-gateway/internal/dial"
	"github.com/wsgateway/caddy-ws-gateway/internal/live"
	"github.com/wsgateway/caddy-ws-gateway/internal/origin"
	"github.com/wsgateway/caddy-ws-gateway/internal/upgrade"
	_ "github.com/wsgateway/caddy-ws-gateway/messages/convert" // this and what follows: handlers of messages
	_ "github.com/wsgateway/caddy-ws-gateway/messages/filter"
	_ "github.com/wsgateway/caddy-ws-gateway/messages/json"
	_ "github.com/wsgateway/caddy-ws-gateway/messages/log"
	_ "github.com/wsgateway/caddy-ws-gateway/messages/replace"
	_ "github.com/wsgateway/caddy-ws-gateway/messages/respond"
	_ "github.com/wsgateway/caddy-ws-gateway/messages/schema"
)

func init() {
	caddy.RegisterModule(new(Handler))

	// For live connections of gateways that no loaded configuration has.
	caddy.OnExit(func(context.Context) {
		defer contain(nil) // other modules have something to do at the exit as well
		process.Exit(defaultExitPeriod)
		process.AwaitEmpty()
		ours.exit()
	})
}

// CaddyModule returns the Caddy module information.
func (*Handler) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  moduleID,
		New: func() caddy.Module { return new(Handler) },
	}
}

// Provision sets the handler up. It does not wait for anything on the network.
func (h *Handler) Provision(ctx caddy.Context) error {
	h.running = &running{name: h.Name, logger: h.LogSampling.wrap(ctx.Logger()), live: process, fleet: ours}
	if h.name == "" {
		h.name = "default"
	}
	if err := h.checkProxy(); err != nil {
		return err
	}
	var err error
	if h.streams, err = newStreamTypes(h.Streams); err != nil {
		return err
	}
	h.caps = h.Limit.caps()
	h.hasCap = h.MaxConns > 0 || h.caps != (admission.Caps{IPv6Bits: h.caps.IPv6Bits})
	h.relayPolicy = relayPolicy(h.name, h.Limit, h.Ping, time.Duration(h.IdleTimeout), h.Strict)
	if h.messages, err = loadMessages(ctx, h.Messages, h.Limit.messageSize(), messageReporter{h.name, h.live}); err != nil {
		return err
	}
	if h.Auth != nil {
		h.auth, err = loadAuth(ctx, h.Auth, h.isRevoked)
		h.taken.add(h.auth.release)
		if err != nil {
			return err
		}
		h.authenticator = h.auth.authenticator
	}
	if h.originPolicy, err = origin.New(h.Origins); err != nil {
		return err
	}
	if h.originPolicy.AllowsNull() && h.authenticator != nil && h.authenticator.takesAmbient() {
		h.logger.Warn("origins: null is every page that hides its origin, sandboxed frames of other sites among them: " +
			"with a credential that browsers attach by themselves, each of them can open a WebSocket as your users")
	}
	if h.Proxy.DynamicUpstreamsRaw != nil {
		h.dynamicMember = sourceMember(h.Proxy.DynamicUpstreamsRaw)
	}
	if err := h.provisionProxy(ctx); err != nil {
		return err
	}
	h.dialer = dial.New(h.transport.RoundTripper, orDefault(h.HandshakeTimeout, defaultHandshakeTimeout), clientIP)
	if err := registerMetrics(ctx.GetMetricsRegistry(), h.live, h.name); err != nil {
		return err
	}
	h.taken.add(kept.attach(ctx))
	h.listenForExit(ctx)
	upgrade.KnowSockets(ctx)
	h.taken.add(upgrade.GrowStacks(ctx))
	giveBack, err := keepTickets(ctx)
	h.taken.add(giveBack)
	if err != nil {
		return err
	}
	h.enter()
	h.watch(ctx)
	if h.auth != nil {
		h.auth.tokens.Watch(ctx, h.moveTo)
	}
	h.live.WarnOfTLS(h.logger)
	return nil
}

// enter tells the set of live connections which members, source and credentials this
// configuration names. They are given back in the opposite order: the source before
// its member, and the credentials after the members, whose connections are drained.
func (h *Handler) enter() {
	h.named = h.namedMembers()
	h.taken.add(h.live.ReportTo(h.name, h.logger))
	h.taken.add(h.live.Enter(h.name, h.named, loadedGateway{h}))
	h.taken.add(h.live.Hold(h.name, h.caps))
	if h.authenticator != nil {
		h.credentials = h.live.NewCredentials()
		h.taken.add(h.credentials.Release)
		h.credentials.Accept(h.authenticator.credentials(h.authenticator.tokens.Credentials()), h.named)
	}
	for _, up := range h.Proxy.Upstreams {
		if address := dial.Canonical(up.Dial); !hasPlaceholder(address) {
			h.taken.add(h.live.Show(h.name, address))
		}
	}
	h.taken.add(h.live.Name(h.named...))
	if h.dynamicMember == "" {
		return
	}
	h.taken.add(h.live.Source(h.dynamicMember, h.name, placeholderIn(h.dynamicSource())))
	if known := h.live.LastAnswer(h.dynamicMember); known != nil {
		h.dynamicSeen.Store(&known)
	}
}

// moveTo has apply put a change of the credentials of tokens into force. New
// credentials are accepted before, and removed credentials are withdrawn after, which
// ends the connections that they let in.
func (h *Handler) moveTo(ofTokens []string, apply func()) {
	credentials := h.authenticator.credentials(ofTokens)
	h.credentials.Accept(credentials, h.named)
	apply()
	h.credentials.KeepOnly(credentials)
}

// Validate checks the configuration.
func (h *Handler) Validate() error {
	if !validName.MatchString(h.name) {
		return fmt.Errorf("name: %q must be 1 to 64 letters, digits, or one of . _ -", h.name)
	}
	if err := h.validateNumbers(); err != nil {
		return err
	}
	return errors.Join(h.validateEarlyClose(), h.validateDrainUnhealthy(h.dynamicSource() != ""), h.validateRebalance(),
		h.validateStreams(), h.Limit.validate(), h.Ping.validate(), validateIdleTimeout(h.IdleTimeout), h.MaxAge.validate(), h.WebSocketHealth.validate(),
		h.LogSampling.validate())
}

// Cleanup gives back everything that Provision took. Live connections go on, unless no
// loaded configuration names their upstream any more, or the process exits.
func (h *Handler) Cleanup() error {
	if h.running == nil {
		return nil
	}
	if caddy.Exiting() && h.exit != nil {
		h.exit() // the server may not have called it yet
	}
	err := h.taken.giveBack()
	if caddy.Exiting() {
		h.live.AwaitEmpty()
	}
	return err
}

// watch starts the goroutines beside requests, which last as long as the configuration.
func (h *Handler) watch(ctx caddy.Context) {
	if h.probes != nil {
		go h.probes.run(ctx, h.dialer.Shake, h.currentMembers)
	}
	if h.dynamicMember != "" && !placeholderIn(h.dynamicSource()) {
		go h.watchSource(ctx)
	}
	if h.DrainUnhealthy {
		go h.watchHealth(ctx)
	}
	if h.Rebalance != nil {
		go h.rebalance(ctx)
	}
}

// listenForExit makes the handler hear of an exit when its server begins to shut
// down, because the server waits for streams that only the gateway can end.
func (h *Handler) listenForExit(ctx caddy.Context) {
	h.exit = func() { exit(h.live, gracePeriod(ctx)) }
	server, ok := ctx.Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server)
	if !ok {
		return
	}
	server.RegisterOnShutdown(func() {
		if caddy.Exiting() {
			exit(h.live, gracePeriod(ctx))
		}
	})
}

// gracePeriod is how long servers have to shut down; 0 is for ever.
func gracePeriod(ctx caddy.Context) caddy.Duration {
	app, err := ctx.AppIfConfigured("http")
	if err != nil {
		return 0
	}
	web, ok := app.(*caddyhttp.App)
	if !ok {
		return 0
	}
	return web.GracePeriod
}

// exit ends every connection, because the process exits.
func exit(set *live.Set, grace caddy.Duration) {
	defer contain(nil) // each server calls exit in a goroutine of its own
	if set.Exit(orDefault(grace, defaultExitPeriod)) && grace == 0 {
		set.HangUp()
	}
}

// Interface guards
var (
	_ caddy.Module                = (*Handler)(nil)
	_ caddy.Provisioner           = (*Handler)(nil)
	_ caddy.Validator             = (*Handler)(nil)
	_ caddy.CleanerUpper          = (*Handler)(nil)
	_ caddyhttp.MiddlewareHandler = (*Handler)(nil)
)
