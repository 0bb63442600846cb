package wsgateway

import (
	"fmt"
	"math/rand/v2"
	"time"
)

// defaultJitterPercent is by how much ages differ where nothing is said.
const defaultJitterPercent = 10

func (m *MaxAge) jitter() float64 {
	if m.JitterPercent == nil {
		return defaultJitterPercent
	}
	return *m.JitterPercent
}

func (m *MaxAge) validate() error {
	switch {
	case m == nil:
		return nil
	case m.Duration <= 0:
		return fmt.Errorf("max_age: %s is not an age: give one above 0, or remove it", time.Duration(m.Duration))
	case !(m.jitter() >= 0 && m.jitter() <= 100):
		return fmt.Errorf("max_age: a jitter of %g percent is not from 0 to 100", m.jitter())
	}
	return nil
}

// draw is the age of one connection.
func (m *MaxAge) draw() time.Duration {
	spread := m.jitter() / 100 * (2*rand.Float64() - 1) //nolint:gosec // jitter needs no secrecy
	return time.Duration(float64(m.Duration) * (1 + spread))
}

// endsBy is when the connection has to end: when its authority does, or when it
// is too old.
func (c *connection) endsBy(expires time.Time) time.Time {
	if c.tooOld.IsZero() || !expires.IsZero() && expires.Before(c.tooOld) {
		return expires
	}
	return c.tooOld
}

// endOnTime tells the sides of a connection whose time has come.
func (c *connection) endOnTime() {
	if !c.tooOld.IsZero() && !time.Now().Before(c.tooOld) {
		c.tell(endAge)
		return
	}
	c.tell(endExpired)
}
