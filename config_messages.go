package wsgateway

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/caddyserver/caddy/v2"
)

// The directions of a MessageBlock.
const (
	fromClient   = "from_client"
	fromUpstream = "from_upstream"
)

// defaultMessageBudget is how long the handlers of a block may take for a message.
const defaultMessageBudget = time.Second

// MessageBlock is handlers that the messages of WebSocket connections go through, in
// order. Each may pass a message on, change it, drop it, answer it, or end the
// connection. Where there is a block, the gateway speaks the WebSocket protocol with
// both sides by itself: it joins fragments (RFC 6455, section 5.4), inflates what is
// compressed (RFC 7692), and answers pings.
//
// A message may have as many bytes as `message_size` in `limit` says, 1 MiB where that
// is not set, also once it is inflated: the side that sends a larger one gets the close
// code 1009.
type MessageBlock struct {
	// Whose messages go through the handlers: `from_client` or `from_upstream`; any other
	// word is an error. Default: those of both sides.
	Direction string `json:"direction,omitempty"`

	// How long the handlers of this block together may take for a message. After that
	// the connection is ended (1011). Default, and for 0: 1s. Less than 0 is an error.
	Budget caddy.Duration `json:"budget,omitempty"`

	// The handlers, in the order in which messages go through them. Default: none, so that
	// the gateway only checks how messages are framed.
	HandlersRaw []json.RawMessage `json:"handlers,omitempty" caddy:"namespace=http.ws_gateway.messages inline_key=handler"`
}

func (b *MessageBlock) validate() error {
	switch {
	case b == nil:
		return errors.New("messages: a block is null: give it handlers, or take it away")
	case b.Direction != "" && b.Direction != fromClient && b.Direction != fromUpstream:
		return fmt.Errorf("messages: direction %q is unknown: it is %s or %s, or left out for both", b.Direction, fromClient, fromUpstream)
	case b.Budget < 0:
		return fmt.Errorf("messages: budget: %s is negative: leave it out for %s", time.Duration(b.Budget), defaultMessageBudget)
	}
	return nil
}

func (b *MessageBlock) budget() time.Duration {
	if b.Budget == 0 {
		return defaultMessageBudget
	}
	return time.Duration(b.Budget)
}
