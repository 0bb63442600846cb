package live

import "github.com/wsgateway/caddy-ws-gateway/internal/relay"

// Ending is the close code and reason that each side is sent where the gateway ends a
// connection.
type Ending struct{ Client, Upstream relay.Close }

// The close codes that the gateway sends of its own accord (RFC 6455 section 7.4.1 and
// the IANA registry). The relay decides which code a side is sent when the other side
// is gone.
var (
	// The process exits: clients should reconnect to another one.
	endExit = Ending{
		Client:   relay.Close{Code: 1001, Reason: "server is shutting down"},
		Upstream: relay.Close{Code: 1001, Reason: "gateway is shutting down"},
	}
	// The upstream was taken out: clients should reconnect, to another upstream.
	endDrain = Ending{
		Client:   relay.Close{Code: 1012, Reason: "service restart"},
		Upstream: relay.Close{Code: 1001, Reason: "gateway is draining"},
	}
	// The connection has become as old as it may.
	endAge = Ending{
		Client:   relay.Close{Code: 1012, Reason: "connection is too old"},
		Upstream: relay.Close{Code: 1001, Reason: "gateway ends old connections"},
	}
	// The client is to reconnect, to an upstream that holds fewer connections.
	endRebalance = Ending{
		Client:   relay.Close{Code: 1012, Reason: "rebalancing"},
		Upstream: relay.Close{Code: 1001, Reason: "gateway is rebalancing"},
	}
	// The registered code 3000 says that the client is not authorized any more.
	endExpired = Ending{
		Client:   relay.Close{Code: 3000, Reason: "token expired"},
		Upstream: relay.Close{Code: 1001, Reason: "the client's token expired"},
	}
)

// EndRevoked is the end of a connection whose credential was taken out of the
// configuration, or that was revoked by hand.
var EndRevoked = Ending{
	Client:   relay.Close{Code: 3000, Reason: "token revoked"},
	Upstream: relay.Close{Code: 1001, Reason: "the client's token was revoked"},
}
