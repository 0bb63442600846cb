package relay

import "time"

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
