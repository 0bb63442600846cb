package wsgateway

import (
	"time"

	"github.com/wsgateway/caddy-ws-gateway/internal/bubble"
	"github.com/wsgateway/caddy-ws-gateway/internal/live"
	"github.com/wsgateway/caddy-ws-gateway/internal/relay"
)

// elapse lets the fake time of a synctest bubble pass.
var elapse = bubble.Elapse

// linked describes a connection of now, and its far ends.
func linked() (d live.Details, client, backend *bubble.Peer) {
	nearClient, client := bubble.NewPeer()
	nearBackend, backend := bubble.NewPeer()
	return live.Details{Protocol: live.ProtocolWebSocket, OpenedAt: time.Now(), Link: relay.New(relay.Config{Client: nearClient, Upstream: nearBackend})}, client, backend
}

// run relays until a connection that is linked is over.
func run(c *live.Conn) { c.Finish(c.Link.(*relay.Relay).Run()) }
