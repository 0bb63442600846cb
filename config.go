package wsgateway

import "github.com/caddyserver/caddy/v2"

// Auth says where a credential may be found in a request and which
// credentials are good. A credential is always removed before the request goes
// to an upstream.
type Auth struct {
	// The places where a token may be, in order: the first that is present in a
	// request decides, and all of them are stripped from it.
	// Default: the Authorization header with the Bearer scheme.
	Token []TokenCarrier `json:"token,omitempty"`

	// Static tokens that are accepted (RFC 6750). At least one is needed.
	Bearer []BearerToken `json:"bearer,omitempty"`

	// Whether a request without a credential may pass. One with a bad
	// credential is refused all the same. Default: false.
	Optional bool `json:"optional,omitempty"`
}

// TokenCarrier is one place in a request where a token may be.
type TokenCarrier struct {
	// Where to look: `header`, `cookie`, `query` or `subprotocol`.
	From string `json:"from"`

	// The name of the header field, cookie or query parameter; for
	// `subprotocol` the marker, so that a browser's
	// `new WebSocket(url, ["bearer", token])` is understood. An entry of the
	// form `<marker>.<token>` is understood as well.
	// Default: `Authorization` for a header, `bearer` for a subprotocol; a
	// cookie and a query parameter must be named.
	Name string `json:"name,omitempty"`

	// The authentication scheme in front of the token in a header, compared
	// without regard to case. Default: `Bearer` in the Authorization header,
	// none in any other.
	Scheme string `json:"scheme,omitempty"`
}

// BearerToken is a static token.
type BearerToken struct {
	// The token; or a placeholder for it, such as `{env.WS_TOKEN}` or
	// `{file./run/secrets/ws_token}`, resolved when the configuration is
	// loaded; or `sha256:` and the SHA-256 of the token in hexadecimal. A
	// token written in a Caddyfile is adapted to its hash, so that it does not
	// show in the running configuration.
	Token string `json:"token"`

	// The ID of the user that the token stands for: `{http.auth.user.id}`, and
	// `user_id` in logs. Default: none.
	UserID string `json:"user_id,omitempty"`
}

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
