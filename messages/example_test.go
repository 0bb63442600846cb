package messages_test

import (
	"bytes"
	"fmt"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/wsgateway/caddy-ws-gateway/messages"
)

func init() { caddy.RegisterModule(Shout{}) }

// Shout turns texts into upper case: the word shout in a block of messages.
type Shout struct{}

// CaddyModule returns the Caddy module information.
func (Shout) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.ws_gateway.messages.shout",
		New: func() caddy.Module { return new(Shout) },
	}
}

// UnmarshalCaddyfile parses: shout.
func (*Shout) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // shout
	if d.NextArg() {
		return d.ArgErr()
	}
	return nil
}

// HandleMessage implements messages.Handler.
func (*Shout) HandleMessage(m *messages.Message) (messages.Verdict, error) {
	if m.Type == messages.Text { // a binary message is anything, and no letters
		m.Payload = bytes.ToUpper(m.Payload)
	}
	return messages.Pass, nil
}

// A whole handler, and how a test calls it.
func Example() {
	m := &messages.Message{Conn: &messages.Connection{Gateway: "chat", UserID: "alice"}}
	m.Begin(messages.FromClient, messages.Text, []byte("hello"), time.Time{})
	defer m.Finish()
	verdict, err := new(Shout).HandleMessage(m)
	fmt.Println(string(m.Payload), verdict.Kind == messages.KindPass, err)
	// Output: HELLO true <nil>
}
