package otherwise

import (
	"strconv"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

// syntax is what may follow the word else.
const syntax = "else drop, else close <code> [<reason>], or else reply <text>"

// Parse parses the rest of a line, of which d stands on the word else:
//
//	else drop
//	else close <code> [<reason>]
//	else reply <text>
//
// The line may be one in the block of a handler, or the handler's own.
func Parse(d *caddyfile.Dispenser) (*Otherwise, error) {
	args := d.RemainingArgs()
	if len(args) == 0 {
		return nil, d.Errf("an argument is missing: %s", syntax)
	}
	o := new(Otherwise)
	way, args := args[0], args[1:]
	least, most := 1, 1
	switch way {
	case "drop":
		least, most = 0, 0
	case "close":
		most = 2
	case "reply":
	default:
		return nil, d.Errf("unknown word %q after else: allowed are drop, close <code> [<reason>], reply <text>", way)
	}
	switch {
	case len(args) < least:
		return nil, d.Errf("an argument is missing: %s", syntax)
	case len(args) > most:
		return nil, d.Errf("too many arguments: %s; what has blanks needs quotes", syntax)
	}
	switch way {
	case "drop":
		o.Drop = true
	case "close":
		code, err := strconv.Atoi(args[0])
		if err != nil {
			return nil, d.Errf("else: the close code %q is not a number: %s", args[0], codes)
		}
		o.Close = &Close{Code: code}
		if len(args) == 2 {
			o.Close.Reason = args[1]
		}
	case "reply":
		if args[0] == "" {
			return nil, d.Err("else: the reply is empty: say what is sent, or else drop")
		}
		o.Reply = args[0]
	}
	if err := o.Validate(); err != nil {
		return nil, d.WrapErr(err)
	}
	return o, nil
}
