// Package replace is a handler of messages that replaces what matches a regular
// expression, such as secrets.
package replace

import (
	"fmt"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/wsgateway/caddy-ws-gateway/messages"
)

func init() { caddy.RegisterModule(Replace{}) }

// Replace replaces all matches of a regular expression in text messages. Binary messages
// pass as they are.
//
// A message that would grow by more than 1 MiB ends the connection (1011).
type Replace struct {
	Rule
}

// CaddyModule implements caddy.Module.
func (Replace) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.ws_gateway.messages.replace",
		New: func() caddy.Module { return new(Replace) },
	}
}

// Provision compiles the rule.
func (r *Replace) Provision(caddy.Context) error { return r.compile() }

func (r *Replace) compile() error {
	if err := r.Compile(); err != nil {
		return fmt.Errorf("replace: %w", err)
	}
	return nil
}

// HandleMessage replaces what matches in a text.
func (r *Replace) HandleMessage(m *messages.Message) (messages.Verdict, error) {
	if m.Type != messages.Text {
		return messages.Pass, nil
	}
	replaced, _, err := r.Apply(m.Payload, 0, m.Deadline())
	if err != nil {
		return messages.Pass, fmt.Errorf("replace: %w", err)
	}
	m.Payload = replaced
	return messages.Pass, nil
}

// UnmarshalCaddyfile sets up the handler from Caddyfile tokens. Syntax:
//
//	replace <regexp> <replacement>
func (r *Replace) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next()
	const usage = "replace <regexp> <replacement>"
	args := d.RemainingArgs()
	switch {
	case len(args) < 2:
		return d.Errf(`replace: an argument is missing: %s; the replacement "" deletes`, usage)
	case len(args) > 2:
		return d.Errf("replace: too many arguments: %s; what has blanks needs quotes", usage)
	case d.NextBlock(0):
		return d.Errf("replace: a block is not expected here: %s", usage)
	}
	r.Pattern, r.Replacement = args[0], args[1]
	if err := r.compile(); err != nil {
		return d.WrapErr(err)
	}
	return nil
}

// Interface guards.
var (
	_ caddy.Provisioner     = (*Replace)(nil)
	_ caddyfile.Unmarshaler = (*Replace)(nil)
	_ messages.Handler      = (*Replace)(nil)
)
