package relay

import "time"

// Policy is what a connection is held to while it lives. It is shared by all
// connections of a configuration, and does not change.
type Policy struct {
	// The largest message of either side, in bytes of payload as they are on the
	// wire, fragments together. 0 is for no limit.
	MessageSize uint64

	// How many messages, and how many bytes of payload, the client may send.
	Messages, Bytes Rate

	// Whether frames are held to RFC 6455.
	Strict bool

	// How often the client is sent a ping, 0 for never, and how long it may take to
	// answer.
	PingInterval, PingTimeout time.Duration

	// How long a connection may be without messages; 0 is for ever.
	IdleTimeout time.Duration

	// Called where a rate begins to hold a client back, with the name of the limit;
	// nil for nothing. It must not block.
	Slowed func(limit string)

	// Called with how long the client took to answer a ping, where that was measured;
	// nil for nothing. It must not block.
	Answered func(rtt time.Duration)
}

// The names of the limits that end connections, as in Outcome.
const (
	LimitMessageSize   = "message_size"
	LimitMessages      = "messages"
	LimitBytes         = "bytes"
	LimitControlFrames = "control_frames"
	LimitFragments     = "fragments"
	LimitBuffers       = "buffers"
)

// What holds for every connection. No client or server is known to come near these,
// and an attacker gets no further.

// maxSmallFragments is how many small fragments a message may have, its first frame
// aside. A message of 4 MiB in fragments of 64 bytes has none.
const maxSmallFragments = 1 << 16

// controlRate bounds pings and pongs, each side's by itself.
var controlRate = Rate{Count: 1000, Per: time.Second, Burst: 2000}

// noPolicy is that of a connection without a policy of its own.
var noPolicy Policy

// guards reports whether the policy asks for more than a look at each frame.
func (p *Policy) guards() bool {
	return p.Messages.Count > 0 || p.Bytes.Count > 0 || p.PingInterval > 0 || p.IdleTimeout > 0
}

// holdsBack reports whether the policy may make a client wait.
func (p *Policy) holdsBack() bool {
	return p.Messages.Count > 0 && !p.Messages.Close || p.Bytes.Count > 0 && !p.Bytes.Close
}
