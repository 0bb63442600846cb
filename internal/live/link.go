package live

import (
	"time"

	"github.com/wsgateway/caddy-ws-gateway/internal/relay"
	"github.com/wsgateway/caddy-ws-gateway/internal/wsframe"
)

// ProtocolWebSocket is the protocol of WebSockets. Every other is that of a stream.
const ProtocolWebSocket = "websocket"

// Link is what carries a connection between its client and its upstream. That of a
// WebSocket is a [relay.Relay]. All methods may be called from anywhere, also when the
// link has ended.
type Link interface {
	// End makes the gateway end the connection, which is ending already or does so as
	// soon as neither side is left in the middle of something. It does not block.
	End(client, upstream relay.Close)

	// LastActive returns when data last passed; at first, when the link was made.
	LastActive() time.Time

	// Counts returns what has come from each side so far.
	Counts() (fromClient, fromUpstream wsframe.Counts)

	// Look returns what there is to show of the connection.
	Look(now time.Time) relay.Look

	// Pending returns how many bytes are held for a side that does not read.
	Pending() (toClient, toUpstream int)
}

// Interface guards
var _ Link = (*relay.Relay)(nil)
