package schema

import (
	"errors"
	"runtime"
	"time"
)

// slots bound how many large messages are decoded at the same time: the values that are
// made of one take up to 70 times the memory of its payload.
type slots chan struct{}

// large is the size in bytes of the largest message that needs no slot.
const large = 64 << 10

// process has the slots of all schemas.
var process = make(slots, runtime.GOMAXPROCS(0))

var errBusy = errors.New("too busy: no large message was done with within the budget of this one")

// take waits for a slot, until the deadline if there is one.
func (s slots) take(deadline time.Time) error {
	select {
	case s <- struct{}{}:
		return nil
	default:
	}
	var over <-chan time.Time
	if !deadline.IsZero() {
		timer := time.NewTimer(time.Until(deadline))
		defer timer.Stop()
		over = timer.C
	}
	select {
	case s <- struct{}{}:
		return nil
	case <-over:
		return errBusy
	}
}

func (s slots) free() { <-s }
