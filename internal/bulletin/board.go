// Package bulletin makes what operators have said, revocations and states of upstreams,
// the same on all nodes of a fleet, and asks the other nodes what only they know.
//
// Records stand on the shelves of each node and, for all, in the engine. A node that
// joins unites the two; then it follows the engine's log by its beats, so that nothing is
// missed, however long it was away. Messages only make that soon.
package bulletin

import (
	"context"

	"go.uber.org/zap"

	"github.com/wsgateway/caddy-ws-gateway/fleet"
	"github.com/wsgateway/caddy-ws-gateway/internal/durable"
)

// Config is what a Board works with.
type Config struct {
	ID      string                   // of the node's incarnation
	Secret  []byte                   // that data is sealed with, the same on all nodes
	Shelves map[string]durable.Shelf // by kind
	Adopts  map[string]bool          // kinds whose records are the engine's when the node joins, and are united otherwise
	Logger  *zap.Logger

	// Keep stores what was learned in the node's own storage; no data: it deletes it. It
	// does not block. It may be nil.
	Keep func(kind, id string, data []byte)

	// Poke asks for a beat now.
	Poke func()

	// Answer is what this node says to a question; nil: nothing.
	Answer func(kind string, question []byte) []byte
}

// Node is a node that is asked.
type Node struct{ ID, Name string }

// Board is the node's end of what is the fleet's. It is safe for concurrent use.
type Board struct{ config Config }

// New returns a Board that has joined no engine yet.
func New(c Config) *Board { return &Board{config: c} }

// Joined has the Board follow an engine, from where it has followed the log before. It
// does not wait for the engine.
func (b *Board) Joined(ctx context.Context, engine fleet.Engine) {}

// Heard has the Board learn what the engine answered to a beat. It does not wait.
func (b *Board) Heard(ctx context.Context, engine fleet.Engine, answer *fleet.Answer) {}

// Position returns how far the Board has followed the log, for the next beat.
func (b *Board) Position() string { return "" }

// Left has the Board go on without an engine.
func (b *Board) Left() {}

// Share tells the fleet a record, or with no data that it was deleted. The error says
// that the others do not have it yet; they get it as soon as the engine is back.
func (b *Board) Share(ctx context.Context, kind, id string, data []byte) error { return nil }

// Ask asks other nodes, until they have answered or ctx is done. It returns the answers
// by the IDs of the nodes, and the names of those without one.
func (b *Board) Ask(ctx context.Context, kind string, question []byte, nodes []Node) (answers map[string][]byte, missing []string, err error) {
	return nil, nil, nil
}

// Close ends the goroutines of the Board.
func (b *Board) Close() {}
