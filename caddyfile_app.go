package wsgateway

import (
	"encoding/json"
	"slices"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/dustin/go-humanize"
)

func init() {
	httpcaddyfile.RegisterGlobalOption("ws_gateway", parseApp)
}

// parseApp sets up the app from the global option ws_gateway. Syntax:
//
//	ws_gateway {
//	    # the words of appWords
//	}
//
// Several of these options are one, as when some come from imported files.
func parseApp(d *caddyfile.Dispenser, existing any) (any, error) {
	d.Next() // the option's name
	app, seen := new(App), make(map[string]bool)
	if before, ok := existing.(httpcaddyfile.App); ok {
		var words map[string]json.RawMessage // have the names of the members
		if err := json.Unmarshal(before.Value, &words); err != nil {
			return nil, err
		}
		if err := json.Unmarshal(before.Value, app); err != nil {
			return nil, err
		}
		for word := range words {
			seen[word] = true
		}
	}
	if d.NextArg() {
		return nil, d.Errf("the global option ws_gateway takes no arguments, got %q: it has a block, and a gateway stands in a site", d.Val())
	}
	if err := parseWords(d, app, "the global option ws_gateway", appWords, seen); err != nil {
		return nil, err
	}
	return httpcaddyfile.App{Name: "ws_gateway", Value: caddyconfig.JSON(app, nil)}, nil
}

// appWords are the words of the global option.
var appWords = map[string]func(*App, *caddyfile.Dispenser) error{
	"buffers":         (*App).unmarshalBuffers,
	"fleet":           (*App).unmarshalFleet,
	"session_tickets": (*App).unmarshalSessionTickets,
}

// unmarshalBuffers parses:
//
//	buffers <size>
func (a *App) unmarshalBuffers(d *caddyfile.Dispenser) error {
	args, err := lineArgs(d, "buffers <size>", 1, 1)
	if err != nil {
		return err
	}
	size, err := humanize.ParseBigBytes(strings.TrimPrefix(args[0], "-"))
	switch {
	case err != nil:
		return d.Errf("buffers: %q is not a size: write one such as 64MiB, 512MB or 1GiB", args[0])
	case !size.IsInt64():
		return d.Errf("buffers: %s is more than any machine has: write a size such as 64MiB, 512MB or 1GiB", args[0])
	case size.Int64() < minBuffers || strings.HasPrefix(args[0], "-"):
		return d.Errf("buffers must be at least 1MiB, not %s: %s", args[0], insteadOf(args[0]))
	}
	a.Buffers = size.Int64()
	return nil
}

// unmarshalFleet parses:
//
//	fleet <engine> ...
//
// The rest is the engine's own.
func (a *App) unmarshalFleet(d *caddyfile.Dispenser) error {
	engines := make([]string, 0, 1)
	for _, info := range caddy.GetModules(fleetNamespace) {
		engines = append(engines, info.ID.Name())
	}
	if !d.NextArg() {
		return d.Err("an argument is missing: fleet redis <url...>")
	}
	name := d.Val()
	if !slices.Contains(engines, name) {
		return d.Errf("the engine %.64q of the fleet is unknown: known are %s", name, strings.Join(engines, ", "))
	}
	engine, err := caddyfile.UnmarshalModule(d, fleetNamespace+"."+name)
	if err != nil {
		return err
	}
	a.FleetRaw = caddyconfig.JSONModuleObject(engine, fleetKey, name, nil)
	return nil
}

// unmarshalSessionTickets parses:
//
//	session_tickets standard | distributed
//
// or another of Caddy's modules that needs no options.
func (a *App) unmarshalSessionTickets(d *caddyfile.Dispenser) error {
	args, err := lineArgs(d, "session_tickets standard | distributed", 1, 1)
	if err != nil {
		return err
	}
	if known := registered(ticketNamespace); !slices.Contains(known, args[0]) {
		return d.Errf("session_tickets: the source of keys %.64q is unknown: known are %s", args[0], strings.Join(known, ", "))
	}
	a.SessionTicketsRaw = caddyconfig.JSON(map[string]string{ticketKeySource: args[0]}, nil)
	return nil
}

// insteadOf says what to write for a size that is too small.
func insteadOf(size string) string {
	if n, err := strconv.ParseUint(size, 10, 64); err == nil && n > 0 {
		return "a number alone is in bytes; write " + size + "MiB"
	}
	return "leave it out for an eighth of the memory"
}
