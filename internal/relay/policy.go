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
}

// Rate is how much may come in a time. Its zero value is for no limit.
type Rate struct {
	Count uint64        // how much may come, on average, in each Per
	Per   time.Duration // more than 0, where Count is
	Burst uint64        // how much may come at once; at least 1, where Count is
	Close bool          // what is above ends the connection; else the client is made to wait
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
