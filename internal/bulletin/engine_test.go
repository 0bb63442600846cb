package bulletin

import (
	"context"
	"sync/atomic"

	"github.com/wsgateway/caddy-ws-gateway/fleet"
	"github.com/wsgateway/caddy-ws-gateway/fleet/memory"
)

// failingPublish is an engine that takes no records until stop.
type failingPublish struct {
	fleet.Engine
	fleet   *memory.Fleet
	stopped atomic.Bool
}

func (e *failingPublish) wrap(engine fleet.Engine) fleet.Engine {
	e.Engine = engine
	return e
}

func (e *failingPublish) stop() { e.stopped.Store(true) }

// Publish implements fleet.Engine.
func (e *failingPublish) Publish(ctx context.Context, records ...fleet.Record) error {
	if !e.stopped.Load() {
		return errDown
	}
	return e.Engine.Publish(ctx, records...)
}

func answerOf(position string, records ...fleet.Record) *fleet.Answer {
	return &fleet.Answer{Position: position, Records: records}
}
