package wsgateway

import (
	"errors"
	"fmt"
	"regexp"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
)

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

	// The authentication of requests and WebSocket handshakes. Default: none,
	// every client may come in.
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
	// handshake without an Origin is let in unless browsers attach its
	// credential by themselves; any other request without an Origin is let in
	// always. A request that is not let in is answered 403.
	Origins []string `json:"origins,omitempty"`

	// The most live connections an upstream may hold; exact, over all
	// gateways of this process. Plain requests pass at the cap. When every
	// upstream is full, a handshake is answered 503. Default: 0, no cap.
	MaxConns int `json:"max_conns,omitempty"`

	// Lets handshakes wait in line, in order, while every upstream that is
	// available is full. Needs `max_conns`. Default: none; such handshakes are
	// answered 503 with Retry-After at once.
	Queue *Queue `json:"queue,omitempty"`

	// The time in which an upstream that is new, recovered or set ready comes to
	// its full share. Until then the upstream takes a part that grows evenly, so
	// that not every client that reconnects goes there. Default: 0, at once.
	SlowStart caddy.Duration `json:"slow_start,omitempty"`

	// Moves connections to an upstream that was added or has recovered, by
	// closing idle ones of the fullest upstreams (1012) at this pace, until all
	// are within 10 % of their share. Not for policies that keep a client or a
	// key at its upstream, nor for upstreams with placeholders. Default: off.
	Rebalance *Rebalance `json:"rebalance,omitempty"`

	// How many connections an upstream may end soon after it accepted them,
	// within `fail_duration`, before it counts as down. Ends with the close code
	// 1000, with a code of the application's (3000 and up), or with a code that
	// blames the client (1002, 1003 and 1007 to 1010) do not count (RFC 6455,
	// section 7.4). Ends with 1001 or 1011 to 1014, without a code or without a
	// close frame count. Needs `fail_duration`. Default: 0, not counted.
	EarlyCloseCount int `json:"early_close_count,omitempty"`

	// The time after the upstream accepted a connection in which its end counts
	// for `early_close_count`. Default: 5s.
	EarlyCloseWindow caddy.Duration `json:"early_close_window,omitempty"`

	// The percentage of healthy upstreams below which health is ignored, because
	// the checks are then more likely to be wrong than the upstreams down.
	// Default: 0, never.
	PanicThreshold int `json:"panic_threshold,omitempty"`

	// Probes upstreams, dynamic ones too, with a WebSocket handshake of the
	// gateway's own. Default: off.
	WebSocketHealth *WebSocketHealth `json:"health_websocket,omitempty"`

	// Whether the live connections of an upstream that health checks take out
	// are drained (1012). Needs checks that can take an upstream out: active
	// health checks, which do not reach dynamic upstreams, `health_websocket`, or
	// `fail_duration`. Default: false, the connections stay.
	DrainUnhealthy bool `json:"drain_unhealthy,omitempty"`

	// How much clients may take: caps on connections, and rates and sizes of what a
	// connection carries. Default: no limits.
	Limit *Limit `json:"limit,omitempty"`

	// Sends pings to the clients (RFC 6455, section 5.5.2), and ends the connections of
	// those that do not answer, where a cable was pulled or a phone is out of reach.
	// Default: off.
	Ping *Ping `json:"ping,omitempty"`

	// How long a connection may be without a message of either side before it is
	// closed; both sides get the close code 1001. Pings and pongs are no messages.
	// Default: 0, for ever.
	IdleTimeout caddy.Duration `json:"idle_timeout,omitempty"`

	// Handlers that whole messages go through, in the order of the blocks. Default: none,
	// and bytes pass unchanged.
	Messages []*MessageBlock `json:"messages,omitempty"`

	// The content types of answers that are live connections of the gateway as WebSockets
	// are: counted where they live, listed, logged, held to the caps on connections, and
	// ended, between two events and by a proper end of the body, by whatever ends a
	// WebSocket, so that an EventSource reconnects. A type is compared without its
	// parameters and without regard to case, and stands for itself alone: `type/subtype`.
	// `text/event-stream`, by which server-sent events come (HTML, section 9.2), is the
	// protocol `sse`; others are called by their subtype, end at the next flush and have
	// no messages that could be counted. A GET whose Accept names a type is admitted as a
	// handshake is, before an upstream sees it. An answer to another request is found by
	// its header, and answered 429 or 503 instead where there is no room for it. Not with
	// `response_buffers`. Default: none, every answer is a plain one.
	Streams []string `json:"streams,omitempty"`

	// Whether frames are held to RFC 6455: masking, reserved bits against the
	// extensions that were agreed on, opcodes, control frames, the order of fragments,
	// lengths, what close frames say, and the UTF-8 of texts that are not compressed.
	// The side that breaks a rule gets the close code 1002, or 1007 for UTF-8 (section
	// 7.4.1), and the other side 1001. Default: false, everything passes as through a
	// tunnel, except for a frame after which nobody could tell where the next one
	// begins (1002).
	Strict bool `json:"strict,omitempty"`

	// How old a connection may become. Then it is closed (1012), so that clients
	// reconnect and spread over the upstreams anew. Default: no limit.
	MaxAge *MaxAge `json:"max_age,omitempty"`

	// How long an upstream may take from being dialed to answering the
	// handshake. Where an upstream stays silent for that long, no other upstream
	// is tried, and the client is answered 504. The transport's read_timeout,
	// response_header_timeout and TLS handshake timeout hold as well, and none of
	// them outlasts the handshake. Default: 10s.
	HandshakeTimeout caddy.Duration `json:"handshake_timeout,omitempty"`

	// How long either side of a live connection may take nothing of what is
	// written to it before that side counts as gone. A side that reads slowly is
	// not ended. Default: 30s.
	WriteTimeout caddy.Duration `json:"write_timeout,omitempty"`

	// The time over which the connections of an upstream that a reload removed
	// are closed (1012), idle ones first. 0 closes all of them at once. Default:
	// 30s.
	DrainPeriod *caddy.Duration `json:"drain_period,omitempty"`

	// Leaves out log lines when there are many. Default: every line is written.
	LogSampling *LogSampling `json:"log_sampling,omitempty"`

	*running `json:"-"`
}

func (h *Handler) writeTimeout() time.Duration { return orDefault(h.WriteTimeout, defaultWriteTimeout) }

func (h *Handler) drainPeriod() time.Duration {
	if h.DrainPeriod == nil {
		return defaultDrainPeriod
	}
	return time.Duration(*h.DrainPeriod)
}

// validateStreams refuses what would hold streams back.
func (h *Handler) validateStreams() error {
	if len(h.Streams) > 0 && h.Proxy.ResponseBuffers != 0 {
		return errors.New("streams: response_buffers holds answers back, of which a stream has no end: " +
			"remove it, or serve streams by a handler of their own")
	}
	return nil
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

var errStreamSettings = errors.New("proxy: stream_timeout, stream_close_delay and stream_buffer_size have no effect on a gateway: " +
	"use max_age to end connections after a time, drain_period for reloads and write_timeout for stalled peers, and remove them")

var validName = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)

// validateNumbers checks each setting that does not depend on others.
func (h *Handler) validateNumbers() error {
	switch {
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
	return nil
}

// validateDrainUnhealthy refuses drain_unhealthy where no check could take an upstream
// out. Caddy's active checks do not reach dynamic upstreams.
func (h *Handler) validateDrainUnhealthy(dynamic bool) error {
	if !h.DrainUnhealthy || h.WebSocketHealth != nil || h.Proxy.CB != nil || h.Proxy.CBRaw != nil {
		return nil
	}
	if hc := h.Proxy.HealthChecks; hc != nil {
		if hc.Passive != nil && hc.Passive.FailDuration > 0 {
			return nil
		}
		if hc.Active != nil && hc.Active.IsEnabled() && !dynamic && !hasPlaceholderUpstream(h.Proxy) {
			return nil
		}
	}
	if dynamic || hasPlaceholderUpstream(h.Proxy) {
		return errors.New("drain_unhealthy: nothing tells which of these upstreams is unhealthy: " +
			"set fail_duration, or health_websocket for dynamic ones, or remove drain_unhealthy")
	}
	return errors.New("drain_unhealthy: nothing tells which upstream is unhealthy: " +
		"set health_uri, health_websocket or fail_duration, or remove drain_unhealthy")
}

func (h *Handler) validateEarlyClose() error {
	passive := h.Proxy != nil && h.Proxy.HealthChecks != nil && h.Proxy.HealthChecks.Passive != nil &&
		h.Proxy.HealthChecks.Passive.FailDuration > 0
	switch {
	case h.EarlyCloseCount < 0:
		return fmt.Errorf("early_close_count: %d is negative", h.EarlyCloseCount)
	case h.EarlyCloseWindow < 0:
		return fmt.Errorf("early_close_window: %s is negative", time.Duration(h.EarlyCloseWindow))
	case h.EarlyCloseCount > 0 && !passive:
		return errors.New("early_close_count: nothing says how long an early close counts: set fail_duration")
	case h.EarlyCloseCount == 0 && h.EarlyCloseWindow > 0:
		return errors.New("early_close_window: has no effect without early_close_count: set that, or remove it")
	}
	return nil
}
