// Package assembly brings the messages of a WebSocket connection together from their
// frames, has handlers look at them, and makes frames of what comes of that.
//
// A [Conn] stands where a relay expects the upstream. What the relay writes, which is the
// client's stream, ends here: frames are unmasked, fragments joined, and compressed
// messages inflated (RFC 7692), and each message goes through the handlers before it
// goes on, in frames of our own. The upstream's stream takes the same way back. So each
// side speaks to the gateway alone: its extensions, fragments and pings are a matter
// between the two. All else is the relay's, which sees two streams of frames as ever:
// the counts, the limits, the deadlines, the end.
//
// The goroutine that writes to a Conn handles the messages of the client, and the one
// that reads from it those of the upstream. Nothing else runs, and a quiet connection
// holds no buffer.
package assembly
