package relay

import "time"

var started = time.Now()

// monotonic returns a moment in nanoseconds of the monotonic clock, since the process
// started.
func monotonic(t time.Time) int64 { return int64(t.Sub(started)) }

// moment is the opposite of monotonic.
func moment(at int64) time.Time { return started.Add(time.Duration(at)) }
