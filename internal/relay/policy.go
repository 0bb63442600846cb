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
const (
	// Of the small fragments of a message, the first aside. A message of 4 MiB in
	// fragments of 64 bytes has none.
	maxSmallFragments = 1 << 16
)

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

// Rate is how much may come in a time. Its zero value is for no limit.
type Rate struct {
	Count uint64        // how much may come, on average, in each Per
	Per   time.Duration // more than 0, where Count is
	Burst uint64        // how much may come at once; at least 1, where Count is
	Close bool          // what is above ends the connection; else the client is made to wait
}

// A bucket is a rate's state: the moment, in nanoseconds of the monotonic clock, at
// which all that has come would be paid for at the rate (the theoretical arrival time
// of the generic cell rate algorithm). What has come may run ahead of now by as much as
// a burst takes.
type bucket = int64

// cost is the time in which n may come.
func (r *Rate) cost(n uint64) int64 {
	return int64(min(float64(n)*float64(r.Per)/float64(r.Count), maxCost))
}

// maxCost keeps sums of a few from overflowing: some 36 years.
const maxCost = 1 << 60

// In the methods of a rate, late is by how much now may be later than what came could have
// been looked at: nothing is lost by that.

// wait returns how long it takes until n may come; 0 if n may come now. What is more
// than a burst may come when a whole burst may.
func (r *Rate) wait(b bucket, n uint64, now, late int64) int64 {
	return max(0, max(b, now-late)+r.cost(min(n, r.Burst))-now-r.cost(r.Burst))
}

// room returns how much may come now.
func (r *Rate) room(b bucket, now, late int64) uint64 {
	free := r.cost(r.Burst) - (max(b, now-late) - now)
	if free <= 0 {
		return 0
	}
	return uint64(float64(free) * float64(r.Count) / float64(r.Per))
}

// take notes that n has come.
func (r *Rate) take(b *bucket, n uint64, now, late int64) { *b = max(*b, now-late) + r.cost(n) }
