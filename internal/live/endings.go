package live

import (
	"cmp"

	"github.com/wsgateway/caddy-ws-gateway/internal/relay"
)

// Ending is the close code and reason that each side is sent where the gateway ends a
// connection. A stream has the client's reason for its end, and sends nothing.
type Ending struct {
	Client, Upstream relay.Close

	deadline deadline // that has passed; none where the end is not a matter of time
}

// deadline is what sets a connection an end in time.
type deadline uint8

const (
	noDeadline deadline = iota
	deadlineToken
	deadlineAge
	deadlineDrain
)

// String returns the word for the deadline in logs, "" for none.
func (d deadline) String() string {
	return [...]string{noDeadline: "", deadlineToken: "token", deadlineAge: "max_age", deadlineDrain: "drain"}[d]
}

// EndedBy returns the word for the deadline that has ended the connection: token,
// max_age, drain or idle_timeout; "" where it was none.
func (c *Conn) EndedBy(out *relay.Outcome) string {
	due := deadline(c.deadline.Load())
	switch {
	case out.By != relay.Gateway:
		return ""
	case out.Idle:
		return "idle_timeout"
	case due != noDeadline && c.told(*due.closes()) != relay.Close{Code: out.Code, Reason: out.Reason}:
		return "" // the gateway was ending it for another reason, when it was due
	}
	return due.String()
}

// told is what the connection is told where the client of a WebSocket is sent a close. A
// stream has no code, and so that it ends for a reason where only a code was given, that
// is the reason of an end by hand.
func (c *Conn) told(client relay.Close) relay.Close {
	if !c.IsStream() {
		return client
	}
	return relay.Close{Reason: cmp.Or(client.Reason, EndRevoked.Client.Reason)}
}

// closes is what the client is told where the deadline has passed.
func (d deadline) closes() *relay.Close {
	return [...]*relay.Close{deadlineToken: &endExpired.Client, deadlineAge: &endAge.Client, deadlineDrain: &endDrain.Client}[d]
}

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
		deadline: deadlineDrain,
	}
	// The connection has become as old as it may.
	endAge = Ending{
		Client:   relay.Close{Code: 1012, Reason: "connection is too old"},
		Upstream: relay.Close{Code: 1001, Reason: "gateway ends old connections"},
		deadline: deadlineAge,
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
		deadline: deadlineToken,
	}
)

// EndRevoked is the end of a connection whose credential was taken out of the
// configuration, or that was revoked by hand.
var EndRevoked = Ending{
	Client:   relay.Close{Code: 3000, Reason: "token revoked"},
	Upstream: relay.Close{Code: 1001, Reason: "the client's token was revoked"},
}
