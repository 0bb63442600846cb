package assembly

import (
	"errors"
	"io"
	"time"

	"github.com/wsgateway/caddy-ws-gateway/internal/panics"
	"github.com/wsgateway/caddy-ws-gateway/messages"
)

// Handler is a handler and what it is called in logs. One that is for both directions is
// in both chains.
type Handler struct {
	messages.Handler
	Name string
}

// Step is a part of a chain that has a time of its own.
type Step struct {
	Budget   time.Duration // for the handlers together, for each message; 0 for any
	Handlers []*Handler
}

// Chain is what the messages of a direction go through.
type Chain []Step

// NeedsPayload reports whether messages have to be brought together for the chain.
func (c Chain) NeedsPayload() bool {
	for _, step := range c {
		for _, h := range step.Handlers {
			if ignorer, ok := h.Handler.(messages.PayloadIgnorer); !ok || !ignorer.IgnoresPayload() {
				return true
			}
		}
	}
	return false
}

// Reporter is told what comes of messages. Its methods must not block.
type Reporter interface {
	// Decided is called where a message does not just pass.
	Decided(c *messages.Connection, d messages.Direction, kind messages.Kind)

	// Failed is called where a handler has failed, or taken too long, and Panicked where
	// it has panicked. The connection is ended.
	Failed(c *messages.Connection, d messages.Direction, handler string, err error)
	Panicked(c *messages.Connection, d messages.Direction, handler string, p *panics.Panic)
}

// ErrBudget is why a connection ends whose handlers have taken too long.
var ErrBudget = errors.New("handling a message took longer than the budget")

// opened are the chains of a connection: those of its gateway, with what handlers have
// made for the connection.
type opened struct {
	chains  [2]Chain
	closers []io.Closer
}

// openChains has the handlers prepare for a connection that want to. A handler that is
// in both chains prepares once. If one panics, those before let go of what they keep, for
// nobody else comes to know of them.
func openChains(chains [2]Chain, c *messages.Connection) (o opened, err error) {
	returns := false
	defer func() {
		if !returns {
			o.close()
		}
	}()
	err = o.prepare(chains, c)
	returns = true
	return o, err
}

func (o *opened) prepare(chains [2]Chain, c *messages.Connection) (err error) {
	made := make(map[*Handler]*Handler)
	for d, chain := range chains {
		if !opens(chain) {
			o.chains[d] = chain
			continue
		}
		own := make(Chain, len(chain))
		for i, step := range chain {
			own[i] = Step{Budget: step.Budget, Handlers: make([]*Handler, len(step.Handlers))}
			for j, h := range step.Handlers {
				if own[i].Handlers[j], err = o.open(h, c, made); err != nil {
					return &OpenError{h.Name, err}
				}
			}
		}
		o.chains[d] = own
	}
	return nil
}

// close lets go of what handlers have made for the connection.
func (o *opened) close() {
	for _, closer := range o.closers {
		closeContained(closer)
	}
}

func opens(chain Chain) bool {
	for _, step := range chain {
		for _, h := range step.Handlers {
			if _, ok := h.Handler.(messages.Opener); ok {
				return true
			}
		}
	}
	return false
}

// open returns what handles the messages of the connection for h.
func (o *opened) open(h *Handler, c *messages.Connection, made map[*Handler]*Handler) (*Handler, error) {
	opener, ok := h.Handler.(messages.Opener)
	if !ok {
		return h, nil
	}
	if own := made[h]; own != nil {
		return own, nil
	}
	handler, err := opener.Open(c)
	if err != nil {
		return nil, err
	}
	if handler == nil {
		return nil, errors.New("its Open has returned no handler")
	}
	if closer, ok := handler.(io.Closer); ok {
		o.closers = append(o.closers, closer)
	}
	own := &Handler{handler, h.Name}
	made[h] = own
	return own, nil
}

// OpenError is why a connection ends before it begins: a handler cannot prepare for it.
type OpenError struct {
	Handler string
	Err     error
}

func (e *OpenError) Error() string { return e.Handler + ": " + e.Err.Error() }
func (e *OpenError) Unwrap() error { return e.Err }
