package main

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"
)

// shownWrongs is how many of the wrongs are shown.
const shownWrongs = 20

// outcomes counts how the handshakes went.
type outcomes struct {
	mu     sync.Mutex // guards what follows
	counts map[string]int
	wrongs []string
	total  int // of wrongs
	late   int
}

// errLate is that of a client that was let down after it had waited for long: on a
// busy machine, the clocks of the gateway and of the server run out, and they may.
// There may not be many.
var errLate = errors.New("out of time")

const (
	mayBeLate = 0.01 // of all

	// long is less than what runs out first: a connection's 3 seconds to close in
	// order, and an upstream's to take one.
	long = 2500 * time.Millisecond
)

// note takes down how a handshake went.
func (o *outcomes) note(p plan, err error) {
	o.mu.Lock()
	if o.counts == nil {
		o.counts = make(map[string]int)
	}
	left := p.leave.When
	if left == "" {
		left = "stayed"
	}
	o.counts[p.carrier+", upstream "+p.script.Does+", client "+left]++
	o.mu.Unlock()
	if err != nil {
		o.wrong(fmt.Errorf("%s: %w", &p, err))
	}
}

// wrong takes down what must not happen.
func (o *outcomes) wrong(err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if errors.Is(err, errLate) {
		o.late++
		return
	}
	o.total++
	if len(o.wrongs) < shownWrongs {
		o.wrongs = append(o.wrongs, err.Error())
	}
}

// String lists the counts.
func (o *outcomes) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	var b strings.Builder
	for _, what := range slices.Sorted(maps.Keys(o.counts)) {
		fmt.Fprintf(&b, "%7d  %s\n", o.counts[what], what)
	}
	if o.late > 0 {
		fmt.Fprintf(&b, "%7d of them ran out of time\n", o.late)
	}
	return b.String()
}

// verdict is an error if anything went wrong.
func (o *outcomes) verdict() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	made := 0
	for _, n := range o.counts {
		made += n
	}
	switch {
	case float64(o.late) > mayBeLate*float64(made):
		return fmt.Errorf("%d clients of %d ran out of time", o.late, made)
	case o.total == 0:
		return nil
	}
	return fmt.Errorf("%d went wrong:\n%s", o.total, strings.Join(o.wrongs, "\n"))
}
