package redis

import (
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

// words are the words of the block, with how each is written.
var words = map[string]string{
	"node":      "node <name>",
	"prefix":    "prefix <text>",
	"heartbeat": "heartbeat <duration>",
	"timeout":   "timeout <duration>",
	"secret":    "secret <text>",
	"on_outage": "on_outage local | closed",
}

// UnmarshalCaddyfile parses the rest of the option fleet. Syntax:
//
//	redis <url...> {
//	    node <name>
//	    prefix <text>
//	    heartbeat <duration>
//	    timeout <duration>
//	    secret <text>
//	    on_outage local | closed
//	}
func (r *Redis) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the engine's name
	r.URLs = d.RemainingArgs()
	if len(r.URLs) == 0 {
		return d.Errf("an argument is missing: fleet redis <url...>; %s", exampleURL)
	}
	for i, text := range r.URLs {
		if strings.Contains(text, "{") {
			continue // checked when the placeholder was replaced
		}
		if _, err := parseURL(text); err != nil {
			return d.Errf("fleet redis: URL %d %v", i+1, err)
		}
	}
	seen := make(map[string]bool)
	for d.NextBlock(0) {
		word := d.Val()
		syntax, known := words[word]
		switch {
		case !known:
			return d.Errf("unknown word %q in fleet redis: allowed are %s", word,
				strings.Join(slices.Sorted(maps.Keys(words)), ", "))
		case seen[word]:
			return d.Errf("%s is already set: it may stand once", word)
		}
		seen[word] = true
		args := d.RemainingArgs()
		switch {
		case opensBlock(d):
			return d.Errf("a block is not expected here: %s", syntax)
		case len(args) == 0:
			return d.Errf("an argument is missing: %s", syntax)
		case len(args) > 1:
			return d.Errf("too many arguments: %s; what has blanks needs quotes", syntax)
		}
		if err := r.set(d, word, args[0]); err != nil {
			return err
		}
	}
	return nil
}

// opensBlock reports whether a block follows what d stands on.
func opensBlock(d *caddyfile.Dispenser) bool {
	if !d.Next() {
		return false
	}
	if d.Val() == "{" {
		return true
	}
	d.Prev()
	return false
}

// set sets a word of the block.
func (r *Redis) set(d *caddyfile.Dispenser, word, arg string) (err error) {
	if arg == "" {
		return d.Errf("%s is empty: %s, or leave it out", word, words[word])
	}
	switch word {
	case "node":
		r.Node = arg
	case "prefix":
		r.Prefix = arg
	case "secret":
		r.Secret = arg
	case "on_outage":
		if arg != "local" && arg != "closed" {
			return d.Errf("on_outage must be local or closed, got %q", arg)
		}
		r.OnOutage = arg
	case "heartbeat":
		r.Heartbeat, err = duration(d, word, arg, leastHeartbeat, mostHeartbeat)
	case "timeout":
		r.Timeout, err = duration(d, word, arg, leastTimeout, mostHeartbeat)
	}
	return err
}

// duration reads a duration within bounds.
func duration(d *caddyfile.Dispenser, word, arg string, least, most time.Duration) (caddy.Duration, error) {
	value, err := caddy.ParseDuration(arg)
	if err != nil {
		if _, err := strconv.ParseFloat(arg, 64); err == nil {
			return 0, d.Errf("%s: %q has no unit: write %ss or %sms", word, arg, arg, arg)
		}
		return 0, d.Errf("%s: %q is not a duration: write one such as 50ms or 3s", word, arg)
	}
	if value < least || value > most {
		return 0, d.Errf("%s must be from %v to %v, got %s", word, least, most, arg)
	}
	return caddy.Duration(value), nil
}

// Interface guard.
var _ caddyfile.Unmarshaler = (*Redis)(nil)
