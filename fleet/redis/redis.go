// Package redis has the engine in which the gateways of a fleet count together in Redis,
// or in Valkey.
package redis

import (
	"cmp"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/caddyserver/caddy/v2"
	"github.com/redis/rueidis"

	"github.com/wsgateway/caddy-ws-gateway/fleet"
)

func init() {
	caddy.RegisterModule(new(Redis))
}

// Redis lets the gateways of many nodes count together in Redis 6.2 or later, or in
// Valkey: one server, a cluster, or servers that sentinels watch.
type Redis struct {
	// The URLs of the servers: `redis://user:password@host:6379/0`, or `rediss://` for
	// TLS; user, password, port and the number of the database may be left out. Several
	// are nodes of one cluster. With `?master_set=<name>` they are sentinels that know
	// the master by that name; `sentinel_user` and `sentinel_password` are what the
	// sentinels want, if anything. `skip_verify=true` accepts any certificate. `addr`
	// adds a host, and may be repeated. Placeholders such as `{env.REDIS_URL}` are
	// replaced when the configuration is loaded. There must be at least one.
	URLs []string `json:"urls,omitempty"`

	// The name of this node, for people: in views of the fleet and in logs. It has at
	// most 100 bytes, without control characters. Placeholders are replaced. Default: the
	// host's name.
	Node string `json:"node,omitempty"`

	// What the names of all keys begin with, in braces. Fleets that share a Redis need
	// prefixes of their own. It has at most 100 bytes, without braces, blanks and control
	// characters. Placeholders are replaced. Default: `ws_gateway`.
	Prefix string `json:"prefix,omitempty"`

	// How often this node gives a sign of life; from 500ms to 1m. What a node had is free
	// again three of these and a second after the last one. Default: 3s.
	Heartbeat caddy.Duration `json:"heartbeat,omitempty"`

	// An answer of Redis that takes longer is an outage; from 1ms to the heartbeat. It is
	// the longest that a handshake waits for Redis. Default: 50ms.
	Timeout caddy.Duration `json:"timeout,omitempty"`

	// What users and addresses are hashed with in the names of keys, and revocations are
	// sealed with. It must be the same on all nodes. Placeholders are replaced. Default:
	// derived from the password in the first URL and the prefix, with a warning where
	// there is no password.
	Secret string `json:"secret,omitempty"`

	// What gateways with a cap do while Redis does not answer: `local` goes on with what
	// this node knew last; `closed` refuses handshakes with 503. Default: `local`.
	OnOutage string `json:"on_outage,omitempty"`

	running
}

// running is what Provision makes of a Redis.
type running struct {
	options rueidis.ClientOption
	secret  []byte
}

// Defaults, and bounds.
const (
	defaultPrefix    = "ws_gateway"
	defaultHeartbeat = 3 * time.Second
	defaultTimeout   = 50 * time.Millisecond

	leastHeartbeat = 500 * time.Millisecond
	mostHeartbeat  = time.Minute
	leastTimeout   = time.Millisecond
	longestName    = 100
)

// CaddyModule implements [caddy.Module].
func (*Redis) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "ws_gateway.fleet.redis", New: func() caddy.Module { return new(Redis) }}
}

// Provision implements [caddy.Provisioner].
func (r *Redis) Provision(ctx caddy.Context) error {
	if err := r.replace(); err != nil {
		return err
	}
	if r.Node == "" {
		name, err := os.Hostname()
		if err != nil || name == "" {
			return fmt.Errorf("node: give it a name, as the host has none: %w", cmp.Or(err, errors.New("it is empty")))
		}
		r.Node = name
	}
	r.Prefix = orDefault(r.Prefix, defaultPrefix)
	r.Heartbeat = orDefault(r.Heartbeat, caddy.Duration(defaultHeartbeat))
	r.Timeout = orDefault(r.Timeout, caddy.Duration(defaultTimeout))
	r.OnOutage = orDefault(r.OnOutage, "local")
	options, err := parseURLs(r.URLs)
	if err != nil {
		return err
	}
	r.options = options
	r.secret = []byte(r.Secret)
	if r.Secret == "" {
		if options.Password == "" {
			ctx.Logger().Warn("the fleet has no secret: who can read Redis can guess whose connections are counted, and who can write it can revoke; " +
				"set secret to the same text on all nodes, or a password in the URL")
		}
		derived := hmac.New(sha256.New, []byte(options.Password))
		derived.Write([]byte("ws_gateway fleet " + r.Prefix))
		r.secret = derived.Sum(nil)
	}
	return nil
}

func orDefault[T comparable](value, otherwise T) T {
	var zero T
	if value == zero {
		return otherwise
	}
	return value
}

// replace replaces the placeholders. Its errors name them, and never a value.
func (r *Redis) replace() error {
	replacer := caddy.NewReplacer()
	urls := make([]string, len(r.URLs)) // the configuration's own slice stays as it is
	copy(urls, r.URLs)
	r.URLs = urls
	fields := map[string]*string{"node": &r.Node, "prefix": &r.Prefix, "secret": &r.Secret}
	for i := range urls {
		fields[fmt.Sprintf("urls: URL %d", i+1)] = &urls[i]
	}
	for name, field := range fields {
		if *field == "" {
			continue
		}
		replaced, err := replacer.ReplaceOrErr(*field, true, true)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if replaced == "" {
			return fmt.Errorf("%s is empty after its placeholders were replaced: set what they stand for", name)
		}
		*field = replaced
	}
	return nil
}

// Validate implements [caddy.Validator].
func (r *Redis) Validate() error {
	heartbeat, timeout := time.Duration(r.Heartbeat), time.Duration(r.Timeout)
	switch {
	case heartbeat < leastHeartbeat || heartbeat > mostHeartbeat:
		return fmt.Errorf("heartbeat must be from %v to %v, got %v", leastHeartbeat, mostHeartbeat, heartbeat)
	case timeout < leastTimeout || timeout > heartbeat:
		return fmt.Errorf("timeout must be from %v to the heartbeat (%v), got %v", leastTimeout, heartbeat, timeout)
	case r.OnOutage != "local" && r.OnOutage != "closed":
		return fmt.Errorf("on_outage must be local or closed, got %q", r.OnOutage)
	}
	if err := checkName("prefix", r.Prefix); err != nil {
		return err
	}
	if strings.ContainsAny(r.Prefix, "{}") || strings.ContainsFunc(r.Prefix, unicode.IsSpace) {
		return fmt.Errorf("prefix %q must have no braces and no blanks: use letters, digits, colons, - and _", r.Prefix)
	}
	return checkName("node", r.Node)
}

// checkName holds a name to what can be printed, and to a length.
func checkName(field, name string) error {
	switch {
	case len(name) > longestName:
		return fmt.Errorf("%s has %d bytes: shorten it to %d", field, len(name), longestName)
	case !utf8.ValidString(name) || strings.ContainsFunc(name, func(r rune) bool { return !unicode.IsPrint(r) }):
		return fmt.Errorf("%s %q has characters that cannot be printed: leave them out", field, name)
	}
	return nil
}

// Settings implements [fleet.Module].
func (r *Redis) Settings() fleet.Settings {
	return fleet.Settings{
		Node:      r.Node,
		Heartbeat: time.Duration(r.Heartbeat),
		Timeout:   time.Duration(r.Timeout),
		Secret:    r.secret,
		Closed:    r.OnOutage == "closed",
	}
}

// Open implements [fleet.Module].
func (r *Redis) Open(ctx context.Context) (fleet.Engine, error) {
	options := r.options
	options.ConnWriteTimeout = min(max(2*time.Duration(r.Timeout), time.Second), 10*time.Second)
	e, err := open(ctx, options, r.Prefix, newScripts(clockLua))
	if err != nil {
		return nil, err
	}
	return e, nil
}

// Interface guards.
var (
	_ caddy.Module      = (*Redis)(nil)
	_ caddy.Provisioner = (*Redis)(nil)
	_ caddy.Validator   = (*Redis)(nil)
	_ fleet.Module      = (*Redis)(nil)
	_ fleet.Engine      = (*engine)(nil)
)
