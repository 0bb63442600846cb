//go:build !linux || noloop || 386

package relay

// Where there is no loop, every connection has goroutines.

type (
	place  struct{}
	socket struct{}
)

func (r *Relay) startOnLoop(func(Outcome)) bool { return false }

func (r *Relay) callLoop() {}
