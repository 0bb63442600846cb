// Package shout is an example of a message handler of one's own: it makes texts loud.
package shout

import (
	"bytes"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/wsgateway/caddy-ws-gateway/messages"
)

func init() { caddy.RegisterModule(Shout{}) }

// Shout turns texts into upper case.
type Shout struct{}

// CaddyModule returns the Caddy module information.
func (Shout) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.ws_gateway.messages.shout",
		New: func() caddy.Module { return new(Shout) },
	}
}

// UnmarshalCaddyfile sets the handler up from Caddyfile tokens, of which there is one.
func (Shout) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next()
	if d.NextArg() {
		return d.ArgErr()
	}
	return nil
}

// HandleMessage implements messages.Handler.
func (Shout) HandleMessage(m *messages.Message) (messages.Verdict, error) {
	if m.Type == messages.Text {
		m.Payload = bytes.ToUpper(m.Payload)
	}
	return messages.Pass, nil
}
