package wsgateway

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
)

// Queue is a line of handshakes that wait for an upstream with room.
type Queue struct {
	// How many handshakes may wait; further handshakes are answered 503.
	Size int `json:"size"`

	// How long each handshake may wait before it is answered 503. Default: 10s.
	Timeout caddy.Duration `json:"timeout,omitempty"`
}

// Rebalance is the pace at which connections are moved.
type Rebalance struct {
	// How many percent of all connections may be moved within `per`: more
	// than 0, 100 at the most.
	Percent float64 `json:"percent"`

	// The time in which that percentage may be moved.
	Per caddy.Duration `json:"per"`
}

func (r *Rebalance) validate() error {
	switch {
	case r == nil:
		return nil
	case !(r.Percent > 0 && r.Percent <= 100):
		return fmt.Errorf("rebalance: %g percent is not above 0 and up to 100", r.Percent)
	case r.Per <= 0:
		return fmt.Errorf("rebalance: %s is not a time to move that many in", time.Duration(r.Per))
	}
	return nil
}

// MaxAge is how old a connection may become.
type MaxAge struct {
	// The age at which a connection is closed.
	Duration caddy.Duration `json:"duration"`

	// By how many percent the age of each connection may differ from
	// `duration`, up or down at random, so that connections that began together
	// do not end together; 100 at the most, 0 for no difference. Default: 10.
	JitterPercent *float64 `json:"jitter_percent,omitempty"`
}

// defaultJitterPercent is used where jitter_percent is not configured.
const defaultJitterPercent = 10

func (m *MaxAge) jitter() float64 {
	if m.JitterPercent == nil {
		return defaultJitterPercent
	}
	return *m.JitterPercent
}

// draw is the age of one connection.
func (m *MaxAge) draw() time.Duration {
	spread := m.jitter() / 100 * (2*rand.Float64() - 1) //nolint:gosec // jitter needs no secrecy
	return time.Duration(float64(m.Duration) * (1 + spread))
}

func (m *MaxAge) validate() error {
	switch {
	case m == nil:
		return nil
	case m.Duration <= 0:
		return fmt.Errorf("max_age: %s is not an age: give one above 0, or remove it", time.Duration(m.Duration))
	case !(m.jitter() >= 0 && m.jitter() <= 100):
		return fmt.Errorf("max_age: a jitter of %g percent is not from 0 to 100", m.jitter())
	}
	return nil
}

// WebSocketHealth probes upstreams with a real handshake. The interval, the timeout,
// the headers, and the number of probes in a row that change the state of an upstream
// are taken from the settings of active health checks (`health_interval` and so on),
// which need not be on.
type WebSocketHealth struct {
	// The path and query to ask for. Default: `/`.
	URI string `json:"uri,omitempty"`
}

func (c *WebSocketHealth) validate() error {
	if c == nil || c.URI == "" {
		return nil
	}
	if u, err := url.ParseRequestURI(c.URI); err != nil || u.IsAbs() || strings.HasPrefix(c.URI, "//") {
		return fmt.Errorf("health_websocket: %q must be a path, such as /health", c.URI)
	}
	return nil
}

// The defaults of the configuration.
const (
	defaultHandshakeTimeout = 10 * time.Second
	defaultWriteTimeout     = 30 * time.Second
	defaultDrainPeriod      = 30 * time.Second
	defaultQueueTimeout     = 10 * time.Second
	defaultEarlyCloseWindow = 5 * time.Second

	// defaultExitPeriod bounds an exit where grace_period does not.
	defaultExitPeriod = 10 * time.Second
)

func orDefault(d caddy.Duration, otherwise time.Duration) time.Duration {
	if d > 0 {
		return time.Duration(d)
	}
	return otherwise
}

// hasPlaceholder reports whether a configured text depends on the request.
func hasPlaceholder(s string) bool { return strings.Contains(s, "{") }

// hasPlaceholderUpstream reports whether the address of any upstream depends on the
// request.
func hasPlaceholderUpstream(proxy *reverseproxy.Handler) bool {
	return slices.ContainsFunc(proxy.Upstreams, func(up *reverseproxy.Upstream) bool { return hasPlaceholder(up.Dial) })
}

// placeholderIn reports whether any text in a module's JSON depends on the request,
// and not on placeholders that are the same for all requests.
func placeholderIn(config string) bool {
	var value any
	if json.Unmarshal([]byte(config), &value) != nil {
		return false
	}
	repl := caddy.NewReplacer()
	var found func(any) bool
	found = func(v any) bool {
		switch v := v.(type) {
		case string:
			return hasPlaceholder(repl.ReplaceKnown(v, ""))
		case []any:
			return slices.ContainsFunc(v, found)
		case map[string]any:
			return slices.ContainsFunc(slices.Collect(maps.Values(v)), found)
		}
		return false
	}
	return found(value)
}
