package wsgateway

import (
	"time"

	"github.com/wsgateway/caddy-ws-gateway/internal/bubble"
	"github.com/wsgateway/caddy-ws-gateway/internal/live"
	"github.com/wsgateway/caddy-ws-gateway/internal/relay"
	"github.com/wsgateway/caddy-ws-gateway/internal/wsframe"
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

// streamLink is the link of a stream that nothing comes over. It keeps what it is told.
type streamLink struct{ told chan relay.Close }

// End implements live.Link.
func (l streamLink) End(client, _ relay.Close) { l.told <- client }

// LastActive implements live.Link.
func (streamLink) LastActive() time.Time { return time.Now() }

// Counts implements live.Link.
func (streamLink) Counts() (fromClient, fromUpstream wsframe.Counts) { return fromClient, fromUpstream }

// Look implements live.Link.
func (streamLink) Look(now time.Time) relay.Look { return relay.Look{LastActive: now} }

// Pending implements live.Link.
func (streamLink) Pending() (toClient, toUpstream int) { return 0, 0 }

// streamOf adds an event stream to the set, until it is removed.
func streamOf(set *live.Set, gateway, upstream string) (*live.Conn, streamLink) {
	link := streamLink{make(chan relay.Close, 1)}
	c := set.NewConn(live.Details{
		ID: live.NewID(), Gateway: gateway, Protocol: "sse", Upstream: upstream, OpenedAt: time.Now(), Link: link,
	}, upstream, live.Authority{})
	set.Add(c)
	return c, link
}
