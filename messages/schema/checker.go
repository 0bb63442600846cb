package schema

import (
	"errors"
	"runtime"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/wsgateway/caddy-ws-gateway/messages"
)

// checkers are the checkers of a schema, one for each call at the same time.
type checkers struct {
	source *source
	idle   chan *checker
	slots  slots
}

// newCheckers reads and compiles the schema in a file.
func newCheckers(file string, assertFormat bool) (*checkers, error) {
	source, err := newSource(file, assertFormat)
	if err != nil {
		return nil, err
	}
	first, err := source.compile()
	if err != nil {
		return nil, err
	}
	source.complete = true
	c := &checkers{source: source, idle: make(chan *checker, 4*runtime.GOMAXPROCS(0)), slots: process}
	c.put(first)
	return c, nil
}

func (c *checkers) get() (*checker, error) {
	select {
	case idle := <-c.idle:
		return idle, nil
	default:
		return c.source.compile()
	}
}

func (c *checkers) put(used *checker) {
	select {
	case c.idle <- used:
	default:
	}
}

// checker checks one value after the other.
type checker struct {
	meter   *meter
	whole   *jsonschema.Schema
	refused *jsonschema.Schema // see accepts
}

// Bounds on looking for what is wrong with a value that is known to be wrong. The
// validator notes all faults, each with its path.
const (
	mostSteps = 100_000
	mostNoted = 4 << 20 // names in the paths of faults
)

// check returns what is wrong with a value that is nested so deep, nil if nothing is.
func (c *checker) check(value any, depth int, deadline time.Time) (*messages.Fault, error) {
	var valid bool
	err := c.meter.guarded(deadline, 0, func() { valid = c.refused.Validate(value) != nil })
	if err != nil || valid {
		return nil, err
	}
	var found error
	err = c.meter.guarded(deadline, min(mostSteps, mostNoted/(depth+8)), func() { found = c.whole.Validate(value) })
	var invalid *jsonschema.ValidationError
	switch {
	case errors.Is(err, errSteps):
		large := fault("", "is not valid, and too large for saying where")
		return &large, nil
	case err != nil:
		return nil, err
	case !errors.As(found, &invalid):
		return nil, errors.New("the validator contradicts itself")
	}
	leaf, _ := pick(invalid)
	told := fault(pointer(leaf.InstanceLocation), words(leaf.ErrorKind))
	return &told, nil
}
