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
// the others with close code 1012. When the process exits, every connection is
// closed with 1001.
package wsgateway

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/headers"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
)

const moduleID = "http.handlers.ws_gateway"

func init() { caddy.RegisterModule(new(Handler)) }

// running is what Provision compiles a handler's configuration to.
type running struct {
	name          string
	logger        *zap.Logger
	authenticator *authenticator // nil without auth
	originPolicy  *originPolicy
	balancer      *balancer
	probes        *probes // nil where upstreams are not probed
	transport     *transport
	dialer        *dialer
	forwarder     forwarder
	aliases       aliases
	transportOps  *headers.HeaderOps
	requestOps    *headers.HeaderOps
	responseOps   *headers.RespHeaderOps

	endAll func() // ends all connections of the process, which exits

	handshakesOK func() prometheus.Counter
	dialInfos    map[string]*reverseproxy.DialInfo // of the upstreams that are always the same

	dynamicMember string                   // what stands for the dynamic upstreams in the registry
	dynamicSeen   atomic.Pointer[[]string] // their addresses, when last asked for

	// What Cleanup has to undo; it is called after a failed Provision too.
	auth             *loadedAuth
	accepted         accesses
	proxyProvisioned bool
	reporting        bool
	joined           []string
	sourceJoined     bool
	shown            []seriesKey
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
	h.running = &running{name: h.Name, logger: ctx.Logger()}
	if h.name == "" {
		h.name = "default"
	}
	if err := h.checkProxy(); err != nil {
		return err
	}
	h.handshakesOK = sync.OnceValue(func() prometheus.Counter { return handshakesTotal.WithLabelValues(h.name, resultOK) })
	var err error
	if h.Auth != nil {
		if h.auth, err = loadAuth(ctx, h.Auth); err != nil {
			return err
		}
		h.authenticator = h.auth.authenticator
	}
	if h.originPolicy, err = newOriginPolicy(h.Origins); err != nil {
		return err
	}
	if h.originPolicy.null && h.authenticator != nil && h.authenticator.takesAmbient() {
		h.logger.Warn("origins: null is every page that hides its origin, sandboxed frames of other sites among them: " +
			"with a credential that browsers attach by themselves, each of them can open a WebSocket as your users")
	}
	if h.Proxy.DynamicUpstreamsRaw != nil {
		h.dynamicMember = sourceMember(h.Proxy.DynamicUpstreamsRaw)
	}
	if err := h.provisionProxy(ctx); err != nil {
		return err
	}
	h.dialer = newDialer(h.transport.RoundTripper, orDefault(h.HandshakeTimeout, defaultHandshakeTimeout))
	if err := registerMetrics(ctx.GetMetricsRegistry()); err != nil {
		return err
	}
	h.listenForExit(ctx)
	knowSockets(ctx)
	if err := h.enter(); err != nil {
		return err
	}
	h.watch(ctx)
	if h.auth != nil {
		h.auth.watch(ctx, h.moveTo)
	}
	process.tls.tell(h.logger)
	return nil
}

// enter makes the process-wide registry know what this configuration names.
func (h *Handler) enter() error {
	process.reportTo(h.name, h.logger)
	h.reporting = true
	members := make([]string, 0, len(h.Proxy.Upstreams)+1)
	repl := caddy.NewReplacer()
	for _, up := range h.Proxy.Upstreams {
		address := canonicalAddress(up.Dial)
		members = append(members, address)
		if !hasPlaceholder(address) {
			key := seriesKey{h.name, address}
			process.show(key, 1)
			process.ledger.Want(address, 1)
			h.shown = append(h.shown, key)
		} else if resolved := repl.ReplaceKnown(up.Dial, ""); !hasPlaceholder(resolved) {
			members = append(members, canonicalAddress(resolved)) // as {env.*}: it is the same for all requests
		}
	}
	if h.dynamicMember != "" {
		members = append(members, h.dynamicMember)
		process.joinSource(h.dynamicMember, h.name, placeholderIn(h.dynamicSource()))
		h.sourceJoined = true
		if known := process.lastAnswer(h.dynamicMember); known != nil {
			h.dynamicSeen.Store(&known)
		}
	}
	for _, member := range members {
		if err := process.join(member); err != nil {
			return fmt.Errorf("joining upstream %s: %w", member, err)
		}
		h.joined = append(h.joined, member)
	}
	process.enter(h)
	if h.authenticator == nil {
		return nil
	}
	return h.accepted.accept(h.authenticator.credentials(h.authenticator.current.Load()), members)
}

// moveTo puts other verifiers into force. Their credentials are accepted before,
// and those that are gone are withdrawn after, which ends what they let in.
func (h *Handler) moveTo(next *verifiers) {
	credentials := h.authenticator.credentials(next)
	if err := h.accepted.accept(credentials, h.joined); err != nil {
		h.logger.Error("accepting credentials", zap.Error(err))
		return
	}
	h.authenticator.current.Store(next)
	h.accepted.keepOnly(credentials)
}

// memberOf is what names the upstream in this configuration.
func (h *Handler) memberOf(up *reverseproxy.Upstream) string {
	if h.dynamicMember != "" {
		return h.dynamicMember
	}
	return canonicalAddress(up.Dial)
}

// Cleanup gives back what Provision took. Live connections go on, unless no
// loaded configuration names their upstream any more, or the process exits.
func (h *Handler) Cleanup() error {
	if h.running == nil {
		return nil
	}
	if caddy.Exiting() && h.endAll != nil {
		h.endAll() // the server may not have told us yet
	}
	var err error
	if h.proxyProvisioned {
		err = h.Proxy.Cleanup()
	}
	if h.transport != nil {
		if t, ok := h.transport.RoundTripper.(*reverseproxy.HTTPTransport); ok {
			err = errors.Join(err, t.Cleanup())
		}
	}
	for _, key := range h.shown {
		process.show(key, -1)
		process.ledger.Want(key.upstream, -1)
	}
	if h.balancer != nil {
		h.balancer.Close()
	}
	if h.sourceJoined {
		process.leaveSource(h.dynamicMember, h.name)
	}
	for _, member := range h.joined {
		process.leave(member)
	}
	h.accepted.close()
	h.auth.release()
	process.leaveAs(h)
	if h.reporting {
		process.noReportTo(h.name, h.logger)
	}
	if caddy.Exiting() {
		process.awaitEmpty()
	}
	return err
}

// Interface guards
var (
	_ caddy.Module                = (*Handler)(nil)
	_ caddy.Provisioner           = (*Handler)(nil)
	_ caddy.Validator             = (*Handler)(nil)
	_ caddy.CleanerUpper          = (*Handler)(nil)
	_ caddyhttp.MiddlewareHandler = (*Handler)(nil)
)

// Validate checks what the configuration says.
func (h *Handler) Validate() error {
	if !validName.MatchString(h.name) {
		return fmt.Errorf("name: %q must be 1 to 64 letters, digits, or one of . _ -", h.name)
	}
	if err := h.validateNumbers(); err != nil {
		return err
	}
	return errors.Join(h.validateEarlyClose(), h.validateDrainUnhealthy(h.dynamicSource() != ""), h.validateRebalance(),
		h.MaxAge.validate(), h.WebSocketHealth.validate())
}
