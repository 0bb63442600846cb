package wsgateway

import (
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/dustin/go-humanize"
)

// limitWords are the words of a limit block.
var limitWords = map[string]func(*Limit, *caddyfile.Dispenser) error{
	"connections":          (*Limit).unmarshalConnections,
	"connections_per_ip":   (*Limit).unmarshalConnectionsPerIP,
	"connections_per_user": (*Limit).unmarshalConnectionsPerUser,
	"ipv6_prefix":          (*Limit).unmarshalIPv6Prefix,
	"handshakes_per_ip":    (*Limit).unmarshalHandshakesPerIP,
	"message_size":         (*Limit).unmarshalMessageSize,
	"messages":             (*Limit).unmarshalMessages,
	"bytes":                (*Limit).unmarshalBytes,
}

// unmarshalLimit parses a block with the words of limitWords. docs/configuration.md has
// the grammar.
func (h *Handler) unmarshalLimit(d *caddyfile.Dispenser) error {
	if d.NextArg() {
		return d.Err("limit takes no arguments, only a block")
	}
	h.Limit = new(Limit)
	seen := make(map[string]bool)
	if err := parseWords(d, h.Limit, "limit", limitWords, seen); err != nil {
		return err
	}
	d.Reset()
	d.Next() // an error is about the block, not about its last line
	if len(seen) == 0 {
		return d.Errf("limit is empty: allowed are %s", strings.Join(sortedKeys(limitWords), ", "))
	}
	return wrapped(d, h.Limit.validate())
}

// unmarshalConnections parses:
//
//	connections <n>
func (l *Limit) unmarshalConnections(d *caddyfile.Dispenser) (err error) {
	l.Connections, err = capArg(d, "connections")
	return err
}

// unmarshalConnectionsPerIP parses:
//
//	connections_per_ip <n>
func (l *Limit) unmarshalConnectionsPerIP(d *caddyfile.Dispenser) (err error) {
	l.ConnectionsPerIP, err = capArg(d, "connections_per_ip")
	return err
}

// unmarshalConnectionsPerUser parses:
//
//	connections_per_user <n>
func (l *Limit) unmarshalConnectionsPerUser(d *caddyfile.Dispenser) (err error) {
	l.ConnectionsPerUser, err = capArg(d, "connections_per_user")
	return err
}

// unmarshalIPv6Prefix parses:
//
//	ipv6_prefix <bits>
func (l *Limit) unmarshalIPv6Prefix(d *caddyfile.Dispenser) error {
	args, err := lineArgs(d, "ipv6_prefix <bits>", 1, 1)
	if err != nil {
		return err
	}
	n, err := strconv.Atoi(strings.TrimPrefix(args[0], "/"))
	if err != nil || n < 1 || n > 128 {
		return d.Errf("ipv6_prefix must be a whole number of bits from 1 to 128, such as 64, not %q", args[0])
	}
	l.IPv6Prefix = n
	return nil
}

// unmarshalHandshakesPerIP parses:
//
//	handshakes_per_ip <n>/<duration>
func (l *Limit) unmarshalHandshakesPerIP(d *caddyfile.Dispenser) error {
	args, err := lineArgs(d, "handshakes_per_ip <n>/<duration>", 1, 1)
	if err != nil {
		return err
	}
	count, per, err := rateArg(d, "handshakes_per_ip", args[0], countArg, "30/1m")
	if err != nil {
		return err
	}
	l.HandshakesPerIP = &HandshakeRate{Count: int(count), Per: per}
	return wrapped(d, l.HandshakesPerIP.validate())
}

// unmarshalMessageSize parses:
//
//	message_size <size>
func (l *Limit) unmarshalMessageSize(d *caddyfile.Dispenser) error {
	args, err := lineArgs(d, "message_size <size>", 1, 1)
	if err != nil {
		return err
	}
	l.MessageSize, err = sizeArg(d, "message_size", args[0])
	return err
}

// unmarshalMessages parses:
//
//	messages <n>/<duration> [burst <n>] [wait|close]
func (l *Limit) unmarshalMessages(d *caddyfile.Dispenser) (err error) {
	args, err := lineArgs(d, "messages <n>/<duration> [burst <n>] [wait|close]", 1, 4)
	if err != nil {
		return err
	}
	if l.Messages, err = flowRate(d, "messages", args, countArg, "20/1s"); err != nil {
		return err
	}
	return wrapped(d, l.Messages.validate("messages", maxCount))
}

// unmarshalBytes parses:
//
//	bytes <size>/<duration> [burst <size>] [wait|close]
func (l *Limit) unmarshalBytes(d *caddyfile.Dispenser) (err error) {
	args, err := lineArgs(d, "bytes <size>/<duration> [burst <size>] [wait|close]", 1, 4)
	if err != nil {
		return err
	}
	if l.Bytes, err = flowRate(d, "bytes", args, sizeArg, "1MiB/1s"); err != nil {
		return err
	}
	return wrapped(d, l.Bytes.validate("bytes", maxSize))
}

// unmarshalPing parses:
//
//	ping <interval> [<timeout>]
func (h *Handler) unmarshalPing(d *caddyfile.Dispenser) error {
	args, err := lineArgs(d, "ping <interval> [<timeout>]", 1, 2)
	if err != nil {
		return err
	}
	h.Ping = new(Ping)
	if h.Ping.Interval, err = positiveDuration(d, "ping's interval", args[0]); err != nil {
		return err
	}
	if len(args) > 1 {
		if h.Ping.Timeout, err = positiveDuration(d, "ping's timeout", args[1]); err != nil {
			return err
		}
	}
	return wrapped(d, h.Ping.validate())
}

// unmarshalIdleTimeout parses:
//
//	idle_timeout <duration>
func (h *Handler) unmarshalIdleTimeout(d *caddyfile.Dispenser) (err error) {
	if h.IdleTimeout, err = durationArg(d, "idle_timeout", 1); err != nil {
		return err
	}
	return wrapped(d, validateIdleTimeout(h.IdleTimeout))
}

// unmarshalStrict parses:
//
//	strict
func (h *Handler) unmarshalStrict(d *caddyfile.Dispenser) error {
	_, err := lineArgs(d, "strict", 0, 0)
	h.Strict = err == nil
	return err
}

// amountArg reads how much of something; what names it in the error.
type amountArg func(d *caddyfile.Dispenser, what, arg string) (int64, error)

// flowRate reads how much may come, its burst and its action.
func flowRate(d *caddyfile.Dispenser, word string, args []string, amount amountArg, example string) (*FlowRate, error) {
	r := new(FlowRate)
	var err error
	if r.Count, r.Per, err = rateArg(d, word, args[0], amount, example); err != nil {
		return nil, err
	}
	for args = args[1:]; len(args) > 0; args = args[1:] {
		switch args[0] {
		case "burst":
			switch {
			case r.Burst != 0:
				return nil, d.Errf("burst of %s is already set: it may stand once", word)
			case len(args) == 1:
				return nil, d.Errf("%s: burst needs how much may come at once behind it", word)
			}
			if r.Burst, err = amount(d, "burst of "+word, args[1]); err != nil {
				return nil, err
			}
			args = args[1:]
		case actionWait, actionClose:
			switch r.Action {
			case args[0]:
				return nil, d.Errf("%s of %s is already set: it may stand once", args[0], word)
			case actionWait, actionClose:
				return nil, d.Errf("%s can either wait or close, not both", word)
			}
			r.Action = args[0]
		default:
			allowed := []string{"burst", actionWait, actionClose}
			return nil, d.Errf("unknown word %q in %s%s: allowed are %s", args[0], word, guess(args[0], allowed), strings.Join(allowed, ", "))
		}
	}
	return r, nil
}

// rateArg reads how much of something may come in a time.
func rateArg(d *caddyfile.Dispenser, word, arg string, amount amountArg, example string) (int64, caddy.Duration, error) {
	count, per, ok := strings.Cut(arg, "/")
	if !ok {
		return 0, 0, d.Errf("%s %q must be how much in which time, such as %s", word, arg, example)
	}
	n, err := amount(d, word, count)
	if err != nil {
		return 0, 0, err
	}
	if _, err := caddy.ParseDuration("1" + per); err == nil && per != "" && strings.Trim(per, "0123456789.") == per {
		return 0, 0, d.Errf("%s: %q has no number in front of its unit: write %s/1%s", word, arg, count, per)
	}
	in, err := positiveDuration(d, "the time of "+word, per)
	return n, in, err
}

// capArg reads the one argument of a cap.
func capArg(d *caddyfile.Dispenser, word string) (int, error) {
	args, err := lineArgs(d, word+" <n>", 1, 1)
	if err != nil {
		return 0, err
	}
	n, err := countArg(d, word, args[0])
	if err != nil {
		return 0, err
	}
	return int(n), nil
}

func countArg(d *caddyfile.Dispenser, what, arg string) (int64, error) {
	n, err := strconv.ParseInt(arg, 10, 64)
	if err != nil || n < 1 || n > maxCount {
		return 0, d.Errf("%s must be a whole number from 1 to %d, not %q: give one, or leave it out%s", what, maxCount, arg, separated(arg))
	}
	return n, nil
}

func sizeArg(d *caddyfile.Dispenser, what, arg string) (int64, error) {
	size, err := humanize.ParseBytes(arg)
	switch {
	case err != nil:
		return 0, d.Errf("%s: %q is not a size: write one such as 64KiB or 10MB%s", what, arg, separated(arg))
	case size == 0:
		return 0, d.Errf("%s must be at least 1 byte, not %q: give more, or leave it out", what, arg)
	case size > maxSize:
		return 0, d.Errf("%s must be 8PiB at the most, not %q", what, arg)
	}
	return int64(size), nil
}

// wrapped is an error that names the line; nil where there is none.
func wrapped(d *caddyfile.Dispenser, err error) error {
	if err == nil {
		return nil
	}
	return d.WrapErr(err)
}
