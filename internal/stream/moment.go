package stream

import "time"

var started = time.Now()

// moment is in nanoseconds of the monotonic clock, since the process started; 0 for never.
// A stream holds many, and a time.Time is thrice as large.
type moment int64

func momentOf(t time.Time) moment { return moment(t.Sub(started)) }

func (m moment) time() time.Time { return started.Add(time.Duration(m)) }

func (m moment) add(d time.Duration) moment { return m + moment(d) }

func (m moment) sub(other moment) time.Duration { return time.Duration(m - other) }
