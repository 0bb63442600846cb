// Package bubble is for tests that run in a bubble of testing/synctest: time that
// passes, and the far ends of connections.
package bubble

import "time"

// Elapse lets the fake time of a bubble pass. It panics outside of one, where a
// test would wait in earnest: the clock of a bubble begins in the year 2000.
func Elapse(d time.Duration) {
	if time.Now().Year() > 2020 {
		panic("bubble.Elapse is called outside of a bubble")
	}
	time.Sleep(d)
}
