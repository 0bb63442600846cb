package membership

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"

	"github.com/wsgateway/caddy-ws-gateway/internal/panics"
)

const (
	failuresOfOutage = 3 // in a row; before the engine was ever reached, one will do
	retrySoon        = 50 * time.Millisecond
	retryLater       = time.Second
)

// breaker knows whether it is worth asking the engine. It is guarded by the lock of the
// member.
type breaker struct {
	failures int  // in a row
	reached  bool // the engine has answered before
	said     bool // the log has the outage
}

// errSilent is about an engine that may still answer.
var errSilent = errors.New("it does not answer")

// failed counts a failure of what the courier has tried.
func (c *courier) failed(err error) {
	c.holds = false
	if b := c.flight; b != nil {
		c.flight = nil
		c.putBack(b, false)
	}
	if c.fail(err) {
		c.left()
	}
}

// fail counts a failure, and reports whether there is an outage.
func (m *Member) fail(err error) bool {
	out, began, say := m.count(err)
	if began && !m.config.Settings.Closed {
		m.raiseAll()
	}
	if say {
		m.config.Logger.Error("the fleet's engine cannot be reached; this node decides by itself until it can be",
			zap.String("engine", m.config.Engine), m.cause(err))
	}
	return out
}

func (m *Member) count(err error) (out, began, say bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	b := &m.breaker
	b.failures++
	out = m.out.Load()
	if !out && (b.failures >= failuresOfOutage || !b.reached) && !m.ended {
		m.out.Store(true)
		m.decideAllLocked()
		out, began = true, true
	}
	// A connection takes longer to be made than an answer to come.
	if out && !b.said && (b.reached || !errors.Is(err, errSilent)) {
		b.said, say = true, true
	}
	return out, began, say
}

// decideAllLocked has the node decide what was for the engine to decide.
func (m *Member) decideAllLocked() {
	for _, p := range m.claims {
		m.decideLocked(p)
	}
	for _, p := range m.knocks {
		m.decideLocked(p)
	}
	m.claims, m.knocks = nil, nil
	for s, n := range m.needs {
		delete(m.needs, s)
		n.again = true
		close(n.done)
	}
}

// recover notes that the engine has the share, and reports whether that ends an outage.
func (m *Member) recover() bool {
	ended, say := m.reach()
	if say {
		m.config.Logger.Info("the fleet's engine answers again", zap.String("engine", m.config.Engine))
	}
	return ended
}

func (m *Member) reach() (ended, say bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	ended, say = m.out.Load(), m.breaker.said
	m.out.Store(false)
	m.breaker = breaker{reached: true}
	return ended, say
}

// watch counts a failure each time that what is under way, and may take long, has taken
// the timeout, until stop is called.
func (c *courier) watch() (stop func()) {
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		defer panics.Contain()
		ticker := time.NewTicker(c.config.Settings.Timeout)
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
				c.fail(errSilent)
			case <-done:
				return
			}
		}
	}()
	return func() {
		close(done)
		<-ended
	}
}

// pause waits before the next try.
func (c *courier) pause(begun time.Time) {
	wait := retrySoon
	if c.out.Load() {
		wait = retryLater
	}
	timer := time.NewTimer(wait - time.Since(begun))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-c.ending.Done():
	}
}

// cause says why the engine cannot be reached.
func (m *Member) cause(err error) zap.Field {
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, errSilent) {
		err = fmt.Errorf("no answer within %s", m.config.Settings.Timeout)
	}
	return zap.Error(err)
}
