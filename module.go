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
	"regexp"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/headers"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
)

const moduleID = "http.handlers.ws_gateway"

func init() { caddy.RegisterModule(new(Handler)) }

// Handler is an HTTP handler that authenticates, decorates, balances and
// relays WebSocket connections. Other requests on its route get the same
// authentication and decoration and are proxied to the same upstreams.
//
// These placeholders are set for later handlers, for header operations and for
// the access log:
//
// Placeholder | Description
// ------------|-------------
// `{http.auth.user.id}` | The ID of the authenticated user.
// `{http.auth.user.<claim>}` | A claim of the user's token.
// `{http.ws_gateway.name}` | The name of this gateway.
// `{http.ws_gateway.upstream}` | The address of the chosen upstream.
// `{http.ws_gateway.connection}` | The ID of the WebSocket connection.
//
// The placeholders of reverse_proxy, such as
// `{http.reverse_proxy.upstream.hostport}`, `{http.reverse_proxy.status_code}` and
// `{http.reverse_proxy.upstream.latency_ms}`, are set as well.
type Handler struct {
	// The name of this gateway in logs and metrics. Handlers that share a name
	// are shown as one gateway. Letters, digits, `_`, `-` and `.` are allowed.
	// Default: `default`.
	Name string `json:"name,omitempty"`

	// How to reach the upstreams, in the form of the reverse_proxy handler:
	// upstreams, load balancing, health checks, headers, transport and so on.
	// All of it applies to plain HTTP and to WebSocket handshakes alike. The
	// default selection policy is `least_conn`, which here counts live
	// WebSockets and running requests together and in one step with the choice.
	// The `stream_*` settings are refused, because WebSockets are not streamed
	// by the proxy: use `drain_period` and `write_timeout` instead.
	Proxy *reverseproxy.Handler `json:"proxy,omitempty"`

	// Who may come in. Default: everyone.
	Auth *Auth `json:"auth,omitempty"`

	// The origins whose pages may open a WebSocket (RFC 6455, section 10.2).
	// Each is `scheme://host[:port]`, where the host may start with `*.` to
	// match every subdomain, and the port of a name of the browser's own machine
	// (`localhost`, `127.0.0.1`, `[::1]`) may be `*` for any; for pages of an
	// application or of a browser's extension, `scheme://`, `scheme://host`, or
	// `scheme://*` for every host; `file://`; `null`, every page that hides its
	// origin; or `same`, the scheme and host of the request itself; or `any`,
	// which turns the check off and must stand alone.
	// Default: not compared, except where browsers attach the credential by
	// themselves (a cookie, or Basic authentication): there it is `same`. A
	// handshake without an Origin is let in unless its credential is such a
	// one, any other request without an Origin always. Who is not let in is
	// answered 403.
	Origins []string `json:"origins,omitempty"`

	// The most WebSocket connections an upstream may hold; exact, over all
	// gateways of this process. Plain requests pass at the cap. When every
	// upstream is full, a handshake is answered 503. Default: 0, no cap.
	MaxConns int `json:"max_conns,omitempty"`

	// Lets handshakes wait in line, in order, while every upstream that is
	// available is full. Needs `max_conns`. Default: none; they are answered 503
	// with Retry-After at once.
	Queue *Queue `json:"queue,omitempty"`

	// Over how long an upstream that is new, recovered or set ready comes to
	// its full share: until then it takes a part that grows evenly, so that it
	// is not hit by every client that reconnects. Default: 0, at once.
	SlowStart caddy.Duration `json:"slow_start,omitempty"`

	// Moves connections to an upstream that was added or has recovered, by
	// closing idle ones of the fullest upstreams (1012) at this pace, until all
	// are within 10 % of their share. Not for policies that keep a client or a
	// key at its upstream, nor for upstreams with placeholders. Default: off.
	Rebalance *Rebalance `json:"rebalance,omitempty"`

	// How many connections an upstream may end soon after it accepted them,
	// within `fail_duration`, before it counts as down. Ends with 1000, with a code
	// of the application's (3000 and up), or with one that accuses the client (1002,
	// 1003 and 1007 to 1010) do not count. Those with 1001, 1011 to 1014, without a
	// code or without a close frame do. Needs `fail_duration`. Default: 0, not counted.
	EarlyCloseCount int `json:"early_close_count,omitempty"`

	// What soon means for `early_close_count`. Default: 5s.
	EarlyCloseWindow caddy.Duration `json:"early_close_window,omitempty"`

	// The percentage of healthy upstreams below which health is ignored, since
	// then it is more likely the checks that fail. Default: 0, never.
	PanicThreshold int `json:"panic_threshold,omitempty"`

	// Probes upstreams, dynamic ones too, with a WebSocket handshake of the
	// gateway's own. Default: off.
	WebSocketHealth *WebSocketHealth `json:"health_websocket,omitempty"`

	// Whether the live connections of an upstream that health checks take out
	// are drained (1012). Needs something that tells: active checks, which do not
	// reach dynamic upstreams, `health_websocket`, or `fail_duration`. Default:
	// false, they stay.
	DrainUnhealthy bool `json:"drain_unhealthy,omitempty"`

	// How old a connection may become; then it is closed (1012), so that
	// fleets spread anew by themselves. Default: no limit.
	MaxAge *MaxAge `json:"max_age,omitempty"`

	// How long an upstream may take from being dialed to answering the
	// handshake. One that stays silent is not retried: the client is answered
	// 504. The transport's read_timeout, response_header_timeout and TLS
	// handshake timeout hold as well, and none of them outlasts the handshake.
	// Default: 10s.
	HandshakeTimeout caddy.Duration `json:"handshake_timeout,omitempty"`

	// How long either side of a live connection may take nothing of what is
	// written to it before that side counts as gone. One that reads slowly is
	// not ended. Default: 30s.
	WriteTimeout caddy.Duration `json:"write_timeout,omitempty"`

	// Over how long the connections of an upstream that a reload removed are
	// closed (1012), idle ones first. 0 closes them at once. Default: 30s.
	DrainPeriod *caddy.Duration `json:"drain_period,omitempty"`

	*running `json:"-"`
}

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

// checkProxy refuses what the embedded proxy would take and a gateway cannot
// honour.
func (h *Handler) checkProxy() error {
	switch {
	case h.Proxy == nil, len(h.Proxy.Upstreams) == 0 && h.Proxy.DynamicUpstreamsRaw == nil:
		return errors.New("proxy: there is no upstream: name at least one, or a dynamic source of them")
	case h.Proxy.StreamTimeout != 0, h.Proxy.StreamCloseDelay != 0, h.Proxy.StreamBufferSize != 0:
		return errStreamSettings
	}
	return nil
}

var validName = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)

// Validate checks the settings that do not depend on other modules.
func (h *Handler) Validate() error {
	switch {
	case !validName.MatchString(h.name):
		return fmt.Errorf("name: %q must be 1 to 64 letters, digits, or one of . _ -", h.name)
	case h.MaxConns < 0:
		return fmt.Errorf("max_conns: %d is negative: leave it out, or 0, for no cap", h.MaxConns)
	case h.Queue != nil && h.MaxConns == 0:
		return errors.New("queue: there is nothing to wait for without max_conns: set it, or remove queue")
	case h.Queue != nil && (h.Queue.Size < 1 || h.Queue.Timeout < 0):
		return errors.New("queue: its size must be 1 or more, and its timeout not negative")
	case h.SlowStart < 0:
		return fmt.Errorf("slow_start: %s is negative", time.Duration(h.SlowStart))
	case h.PanicThreshold < 0 || h.PanicThreshold > 100:
		return fmt.Errorf("panic_threshold: %d is not a percentage from 0 to 100", h.PanicThreshold)
	case h.HandshakeTimeout < 0:
		return fmt.Errorf("handshake_timeout: %s is negative", time.Duration(h.HandshakeTimeout))
	case h.WriteTimeout < 0:
		return fmt.Errorf("write_timeout: %s is negative", time.Duration(h.WriteTimeout))
	case h.DrainPeriod != nil && *h.DrainPeriod < 0:
		return fmt.Errorf("drain_period: %s is negative: use 0 to end connections at once", time.Duration(*h.DrainPeriod))
	}
	return errors.Join(h.validateEarlyClose(), h.validateDrainUnhealthy(), h.validateRebalance(),
		h.MaxAge.validate(), h.WebSocketHealth.validate())
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

func (h *Handler) writeTimeout() time.Duration { return orDefault(h.WriteTimeout, defaultWriteTimeout) }

func (h *Handler) drainPeriod() time.Duration {
	if h.DrainPeriod == nil {
		return defaultDrainPeriod
	}
	return time.Duration(*h.DrainPeriod)
}

// Interface guards
var (
	_ caddy.Module                = (*Handler)(nil)
	_ caddy.Provisioner           = (*Handler)(nil)
	_ caddy.Validator             = (*Handler)(nil)
	_ caddy.CleanerUpper          = (*Handler)(nil)
	_ caddyhttp.MiddlewareHandler = (*Handler)(nil)
)
