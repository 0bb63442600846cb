//go:build !race

package assembly

// raced is whether the race detector is on, under which pools forget what they have.
const raced = false
