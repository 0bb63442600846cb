package wsgateway

import "github.com/caddyserver/caddy/v2"

// Queue is a line of handshakes that wait for an upstream with room.
type Queue struct {
	// How many handshakes may wait; those beyond are answered 503.
	Size int `json:"size"`

	// How long each may wait before it is answered 503. Default: 10s.
	Timeout caddy.Duration `json:"timeout,omitempty"`
}

// Rebalance is the pace at which connections are moved.
type Rebalance struct {
	// How many percent of all connections may be moved within the time: more
	// than 0, 100 at the most.
	Percent float64 `json:"percent"`

	// The time.
	Per caddy.Duration `json:"per"`
}

// MaxAge is how old a connection may become.
type MaxAge struct {
	// The age.
	Duration caddy.Duration `json:"duration"`

	// By how many percent the age of each connection may differ from that, up
	// or down at random, so that connections that began together do not end
	// together; 100 at the most. Default: 10.
	JitterPercent *float64 `json:"jitter_percent,omitempty"`
}

// WebSocketHealth probes upstreams with a real handshake. Interval, timeout,
// headers, and how many probes in a row make a difference are those of active
// health checks (`health_interval` and so on), which need not be on.
type WebSocketHealth struct {
	// The path and query to ask for. Default: `/`.
	URI string `json:"uri,omitempty"`
}
