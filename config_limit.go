package wsgateway

import (
	"errors"
	"fmt"
	"math/bits"
	"time"

	"github.com/caddyserver/caddy/v2"
)

// Limit is how much clients may take of a gateway. What is left out has no limit.
//
// The caps on connections and the rate of handshakes hold for handshakes alone, plain
// requests pass, and count over all handlers of this process that have the gateway's
// name, over reloads too. A handshake beyond one of them is answered 429 (RFC 6585,
// section 4), or 503 where it is the cap on all connections, with Retry-After, before
// an upstream is chosen. A reload that lowers a cap ends no connection: nobody is let
// in until there are fewer.
//
// The other limits are those of a single connection, which keeps the limits of the
// configuration under which it was opened.
type Limit struct {
	// The most live connections that the gateway may hold, WebSockets and streams;
	// exact. A handshake beyond it is answered 503. Default: 0, no cap.
	Connections int `json:"connections,omitempty"`

	// The most live connections of one client address; exact. The address is the
	// client's behind trusted proxies as well; of IPv6, a network counts as one
	// address: see `ipv6_prefix`. A handshake beyond it is answered 429. Default: 0,
	// no cap.
	ConnectionsPerIP int `json:"connections_per_ip,omitempty"`

	// The most live connections of one user, by the user's ID, as
	// `{http.auth.user.id}` has it; exact. Clients without a user are not counted. A
	// handshake beyond it is answered 429. Default: 0, no cap.
	ConnectionsPerUser int `json:"connections_per_user,omitempty"`

	// How many bits of an IPv6 address stand for a client, from 1 to 128, for the
	// limits per address: a client is commonly given a network of 64 bits and may
	// choose any address in it. Default: 0, which is for 64.
	IPv6Prefix int `json:"ipv6_prefix,omitempty"`

	// How many handshakes one client address may make in a time, whatever comes of
	// them. A handshake beyond it is answered 429 before anything is done about its
	// token: no key set is fetched and no service is asked. Default: no limit.
	HandshakesPerIP *HandshakeRate `json:"handshakes_per_ip,omitempty"`

	// The largest message of either side, in bytes of payload, all fragments of the
	// message together; with compression (RFC 7692), as they are on the wire. The
	// side that sends a larger message gets the close code 1009 (RFC 6455, section
	// 7.4.1), and the other side 1001; the bytes beyond the limit are not passed on.
	// Default: 0, no limit.
	MessageSize int64 `json:"message_size,omitempty"`

	// How many messages the client of a connection may send in a time. Control
	// frames do not count. Default: no limit.
	Messages *FlowRate `json:"messages,omitempty"`

	// How many bytes of payload the client of a connection may send in a time, as
	// they are on the wire. With the action `close`, a single frame larger than the
	// burst ends the connection. Default: no limit.
	Bytes *FlowRate `json:"bytes,omitempty"`
}

// HandshakeRate is how many handshakes may come in a time.
type HandshakeRate struct {
	// How many handshakes may come within `per`, on average, and at once after a pause.
	Count int `json:"count"`

	// The time in which that many may come.
	Per caddy.Duration `json:"per"`
}

// FlowRate is how much a client may send in a time.
type FlowRate struct {
	// How much may come within `per`, on average: messages, or bytes.
	Count int64 `json:"count"`

	// The time in which that much may come.
	Per caddy.Duration `json:"per"`

	// How much may come at once. Default: 0, which is for as much as `count`.
	Burst int64 `json:"burst,omitempty"`

	// What is done where more comes: with `wait`, the client's socket is not read
	// until the client may go on, so that the client is slowed down and nothing is
	// lost; with `close`, the client gets the close code 1008 (RFC 6455, section
	// 7.4.1), and the upstream 1001. Default: `wait`.
	Action string `json:"action,omitempty"`
}

// Ping is how a gateway finds out whether clients are still there.
type Ping struct {
	// How often each client is sent a ping (RFC 6455, section 5.5.2). Its answer is
	// not passed on; other pongs, and the pings of either side, are.
	Interval caddy.Duration `json:"interval"`

	// How long a client may take to answer. A client that does not is gone: the
	// connection is closed, and the upstream gets the close code 1011. A client that
	// is still heard of may take up to four times as long. Default: 10s.
	Timeout caddy.Duration `json:"timeout,omitempty"`
}

// The actions of a FlowRate.
const (
	actionWait  = "wait"
	actionClose = "close"
)

// The defaults of limits.
const (
	defaultIPv6Prefix  = 64
	defaultPingTimeout = 10 * time.Second
)

// The bounds of limits: what is above them is a mistake, and might overflow where it is
// calculated with.
const (
	maxCount  = 1<<31 - 1
	maxSize   = 1 << 53              // bytes; Caddy keeps numbers in JSON as floats
	maxPeriod = 365 * 24 * time.Hour // a year
)

func (l *Limit) ipv6Prefix() int {
	if l.IPv6Prefix == 0 {
		return defaultIPv6Prefix
	}
	return l.IPv6Prefix
}

func (l *Limit) validate() error {
	switch {
	case l == nil:
		return nil
	case *l == Limit{}:
		return errors.New("limit: is empty: set what to limit, or remove it")
	case l.MessageSize < 0 || l.MessageSize > maxSize:
		return fmt.Errorf("limit: message_size: %d is not from 1 to 2^53 bytes, or 0 for no limit", l.MessageSize)
	}
	return errors.Join(
		validateCap("connections", l.Connections),
		validateCap("connections_per_ip", l.ConnectionsPerIP),
		validateCap("connections_per_user", l.ConnectionsPerUser),
		l.validateIPv6Prefix(),
		l.HandshakesPerIP.validate(),
		l.Messages.validate("messages", maxCount),
		l.Bytes.validate("bytes", maxSize),
	)
}

func validateCap(word string, n int) error {
	if n < 0 || n > maxCount {
		return fmt.Errorf("limit: %s: %d is not from 1 to %d, or 0 for no cap", word, n, maxCount)
	}
	return nil
}

func (l *Limit) validateIPv6Prefix() error {
	switch {
	case l.IPv6Prefix < 0 || l.IPv6Prefix > 128:
		return fmt.Errorf("limit: ipv6_prefix: %d is not from 1 to 128 bits, or 0 for %d", l.IPv6Prefix, defaultIPv6Prefix)
	case l.IPv6Prefix > 0 && l.ConnectionsPerIP == 0 && l.HandshakesPerIP == nil:
		return errors.New("limit: ipv6_prefix: has no effect without connections_per_ip or handshakes_per_ip: set one, or remove it")
	}
	return nil
}

func (r *HandshakeRate) validate() error {
	switch {
	case r == nil:
		return nil
	case r.Count < 1 || r.Count > maxCount:
		return fmt.Errorf("limit: handshakes_per_ip: %d is not a number of handshakes from 1 to %d: remove it for no limit", r.Count, maxCount)
	}
	return validatePeriod("limit: handshakes_per_ip", r.Per)
}

func validatePeriod(what string, per caddy.Duration) error {
	if per <= 0 || time.Duration(per) > maxPeriod {
		return fmt.Errorf("%s: %s is not a time above 0 and up to a year", what, time.Duration(per))
	}
	return nil
}

// burst is how much may come at once.
func (r *FlowRate) burst() int64 {
	if r.Burst == 0 {
		return r.Count
	}
	return r.Burst
}

func (r *FlowRate) action() string {
	if r.Action == "" {
		return actionWait
	}
	return r.Action
}

func (r *FlowRate) validate(word string, most int64) error {
	switch {
	case r == nil:
		return nil
	case r.Count < 1 || r.Count > most:
		return fmt.Errorf("limit: %s: a count of %d is not from 1 to %d: remove it for no limit", word, r.Count, most)
	case r.Burst < 0 || r.Burst > most:
		return fmt.Errorf("limit: %s: a burst of %d is not from 1 to %d, or 0 for as much as the count", word, r.Burst, most)
	case r.action() != actionWait && r.action() != actionClose:
		return fmt.Errorf("limit: %s: action %q is unknown: use wait or close", word, r.Action)
	}
	if err := validatePeriod("limit: "+word, r.Per); err != nil {
		return err
	}
	if !r.burstComesWithin(maxPeriod) {
		return fmt.Errorf("limit: %s: a burst of %d takes more than a year to come at %d in %s: use a smaller one",
			word, r.Burst, r.Count, time.Duration(r.Per))
	}
	return nil
}

// burstComesWithin reports whether a burst is allowed again after so long.
func (r *FlowRate) burstComesWithin(limit time.Duration) bool {
	hi, lo := bits.Mul64(uint64(r.burst()), uint64(r.Per))
	count := uint64(r.Count)
	if hi >= count {
		return false
	}
	takes, _ := bits.Div64(hi, lo, count)
	return takes <= uint64(limit)
}

func (p *Ping) timeout() time.Duration { return orDefault(p.Timeout, defaultPingTimeout) }

func (p *Ping) validate() error {
	switch {
	case p == nil:
		return nil
	case p.Interval <= 0 || time.Duration(p.Interval) > maxPeriod:
		return fmt.Errorf("ping: an interval of %s is not above 0 and up to a year: remove ping for none", time.Duration(p.Interval))
	case p.Timeout < 0 || time.Duration(p.Timeout) > maxPeriod:
		return fmt.Errorf("ping: a timeout of %s is not above 0 and up to a year", time.Duration(p.Timeout))
	}
	return nil
}

func validateIdleTimeout(timeout caddy.Duration) error {
	if timeout < 0 || time.Duration(timeout) > maxPeriod {
		return fmt.Errorf("idle_timeout: %s is not above 0 and up to a year, or 0 for no limit", time.Duration(timeout))
	}
	return nil
}
