// Package fleet is what an engine is written against in which the gateways of many
// nodes count together, so that their caps, revocations and states are those of all.
//
// The nodes own the truth: each knows its own connections, and tells the engine how many
// there are of each key, its share. The engine adds the shares up and keeps no count of
// its own, so that what it loses is rebuilt by the next word of each node. A share lives
// as long as its node gives signs of life.
//
// An [Engine] is told keys and data that say nothing: users and addresses in keys are
// hashed, and data that has to say them is sealed.
package fleet

import (
	"context"
	"errors"
	"time"
)

// Module is what the modules in the namespace ws_gateway.fleet are.
type Module interface {
	// Settings returns what the operator wants of the node, with the defaults filled
	// in. It is called after the module was provisioned.
	Settings() Settings

	// Open returns the engine. It may wait for the network, until ctx is done. An error
	// is an outage of the engine: Open is called again, about once a second, until it
	// succeeds. The engine does not use the module's configuration after that.
	Open(ctx context.Context) (Engine, error)
}

// Settings are what an operator wants of a node, with the defaults filled in.
type Settings struct {
	Node      string        // the name of the node for people; not empty, need not be unique
	Heartbeat time.Duration // between two signs of life
	Timeout   time.Duration // an answer later than that is an outage
	Secret    []byte        // that keys and data are hashed and sealed with, the same on all nodes
	Closed    bool          // gateways with a cap refuse handshakes while there is an outage
}

// Void returns how long after its last sign of life a node's share is void.
func (s Settings) Void() time.Duration { return 3*s.Heartbeat + time.Second }

// ErrLost is what [Engine.Exchange] returns where the engine does not have the share of
// the node as the node's last batch left it. Nothing of the batch was applied, and the
// node has to assert its share.
var ErrLost = errors.New("the engine does not have the node's share")

// Engine adds up what the nodes of a fleet have. It is safe for concurrent use; a node
// calls Exchange and Assert one after the other, and the others at any time. Its errors
// never contain a password.
type Engine interface {
	// Exchange applies a batch in one step: sets first, then slices, claims and knocks,
	// each kind in its order. The answer has an element for each. A batch whose number is
	// not higher than that of the last one which was applied, or asserted, is dropped
	// with an error, however late it comes. [ErrLost] asks for the node's share.
	Exchange(ctx context.Context, batch *Batch) (*Answer, error)

	// Assert replaces all that the engine knows of the node, in one step for the other
	// nodes. It is a sign of life.
	Assert(ctx context.Context, share *Share) error

	// Publish puts records, or deletes those without data, and adds them to the log, all
	// in one step.
	Publish(ctx context.Context, records ...Record) error

	// Load returns all records, and a position of the log from which on it says what
	// changes. A log without an entry gets one, so that there is a position; fresh
	// reports whether that was so.
	Load(ctx context.Context) (records []Record, position string, fresh bool, err error)

	// Tell sends a message to the node with the ID, or to all nodes where it is empty,
	// the sender among them. Nodes that do not listen miss it.
	Tell(ctx context.Context, node string, message []byte) error

	// Listen calls hear, one call after the other, with the messages for the node with
	// the ID and for all, and listening as soon as none are missed any more. It returns
	// when ctx is done, or nothing is heard any more.
	Listen(ctx context.Context, node string, listening func(), hear func(message []byte)) error

	// Leave gives back all that the node has, at once.
	Leave(ctx context.Context, node string) error

	// Close ends the use of the engine.
	Close()
}

// Batch is what a node says in one step.
type Batch struct {
	Node string // the ID of the incarnation
	Seq  uint64 // of the batch; higher than that of each before
	Last uint64 // Seq of the last batch or share that was answered without an error

	Sets   []Set
	Slices []Slice
	Claims []Claim
	Knocks []Knock
	Beat   *Beat // nil where the batch is no sign of life
}

// Set is how many connections the node has of a key. Zero forgets the key.
type Set struct {
	Key   string
	Count int
}

// Claim asks for a connection: one more of each of the keys, or of none of them where one
// has no room.
type Claim struct{ Keys []Capped }

// Capped is a key with the most connections that all nodes together may have of it; 0 for
// any number.
type Capped struct {
	Key string
	Cap int
}

// Slice asks for a part of a cap that the node hands out by itself. The part that it has
// is replaced. It gets Live, which it has connections for, whatever the cap is. As far as
// the cap has room it gets Need on top; and then up to Spare, but no more than the part of
// the room left that is one in twice as many as there are nodes, rounded down.
type Slice struct {
	Key  string
	Cap  int
	Live int
	// Need is for handshakes that wait, Spare for those that are expected.
	Need, Spare int
}

// Knock counts a handshake in a rate: after a pause, Burst may come at once, and then one
// each Every (the generic cell rate algorithm). One that has to wait does not count.
type Knock struct {
	Key   string
	Every time.Duration
	Burst int
}

// Beat is a sign of life.
type Beat struct {
	Void  time.Duration // how long the share is good for without another
	Info  []byte        // what the other nodes are to know of this one
	After string        // the position in the log that the node has followed so far; "" for none
}

// Answer is what the engine says to a batch.
type Answer struct {
	Slices []SliceAnswer
	Claims []ClaimAnswer
	Knocks []time.Duration // how long the handshake has to wait; 0 where it may come in

	// To a beat.
	Nodes    []Node   // all that live, the node itself among them
	Records  []Record // what has changed after the position that the node had followed, at most 1,000
	Position string   // of the last of them
	Gap      bool     // the log does not reach back to that position: Load says what there is
}

// SliceAnswer is the part of a cap that the node has now, and what the others have.
type SliceAnswer struct{ Held, Others int }

// ClaimAnswer is what became of a claim.
type ClaimAnswer struct {
	Refused int   // which of its keys has no room, from 1; 0 where the claim was granted
	Others  []int // how many connections the other nodes have of each key, as far as they were looked at
}

// Node is a node that lives, as it was at its last beat.
type Node struct {
	ID   string
	Seen time.Time // by the engine's clock
	Info []byte
}

// Share is all that a node has.
type Share struct {
	Node   string
	Seq    uint64 // higher than that of each batch and share before
	Counts map[string]int
	Held   map[string]int // parts of caps
	Beat   Beat           // without After
}

// Record is something that all nodes are to know.
type Record struct {
	Kind, ID string
	Data     []byte // nil where it was deleted
}
