// Package enginetest holds engines to what the package fleet says of them.
package enginetest

import (
	"context"
	"testing"
	"time"

	"github.com/wsgateway/caddy-ws-gateway/fleet"
)

// Rig is an engine with nothing in it.
type Rig struct {
	Open    func() fleet.Engine   // an engine of another node
	Advance func(d time.Duration) // lets time pass
	Flush   func()                // makes the engine forget everything
}

// Void is after how long nodes in the tests are void: an hour, so that no time that
// really passes matters.
const Void = time.Hour

// patience is how long an engine may take for anything, on any machine.
const patience = time.Minute

// Run runs the tests, each with a rig of its own.
func Run(t *testing.T, rig func(t *testing.T) Rig) {
	for name, test := range map[string]func(t *testing.T, rig Rig){
		"a node that never asserted is lost":     neverAsserted,
		"batches are in a chain":                 chain,
		"what comes too late is dropped":         tooLate,
		"a share is void without a sign of life": void,
		"a node that leaves has nothing":         leave,
		"an assertion replaces everything":       assertReplaces,
		"a large share is asserted":              assertLarge,
		"a claim is granted while there is room": claim,
		"a claim is all or nothing":              allOrNothing,
		"a key may be claimed twice at once":     claimTwice,
		"sets come before claims":                setsFirst,
		"a slice has what is live":               sliceLive,
		"a slice has a part of the room on top":  sliceSpare,
		"knocks are held to a rate":              knocks,
		"a beat says who lives":                  beatNodes,
		"a beat says what has changed":           beatRecords,
		"a beat says that the log is lost":       beatGap,
		"a beat says a thousand records at most": beatMany,
		"records are loaded":                     load,
		"a log without an entry gets one":        loadFresh,
		"keys and data are any bytes":            binary,
		"messages are heard":                     tell,
		"who listens is released":                listenEnds,
		"a closed engine does nothing":           closed,
		"a call without time does nothing":       expired,
		"forgetting everything is healed":        flush,
	} {
		t.Run(name, func(t *testing.T) { test(t, rig(t)) })
	}
}

// node is a node that says one thing after the other.
type node struct {
	t         *testing.T
	engine    fleet.Engine
	id        string
	seq, last uint64
}

// join returns a node that has asserted an empty share.
func (r Rig) join(t *testing.T, id string) *node {
	n := &node{t: t, engine: r.Open(), id: id}
	n.assert(nil, nil)
	return n
}

func testContext(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

func (n *node) assert(counts, held map[string]int) {
	n.t.Helper()
	n.seq++
	err := n.engine.Assert(testContext(n.t), &fleet.Share{
		Node: n.id, Seq: n.seq, Counts: counts, Held: held, Beat: fleet.Beat{Void: Void, Info: []byte("info of " + n.id)},
	})
	if err != nil {
		n.t.Fatalf("%s asserts: %v", n.id, err)
	}
	n.last = n.seq
}

// try exchanges a batch.
func (n *node) try(batch fleet.Batch) (*fleet.Answer, error) {
	n.seq++
	batch.Node, batch.Seq, batch.Last = n.id, n.seq, n.last
	answer, err := n.engine.Exchange(testContext(n.t), &batch)
	if err == nil {
		n.last = n.seq
	}
	return answer, err
}

// do exchanges a batch that must be answered.
func (n *node) do(batch fleet.Batch) *fleet.Answer {
	n.t.Helper()
	answer, err := n.try(batch)
	if err != nil {
		n.t.Fatalf("%s: %v", n.id, err)
	}
	return answer
}

// claim claims one key, and returns which was refused, and what the others have.
func (n *node) claim(key string, limit int) (refused, others int) {
	n.t.Helper()
	answer := n.do(fleet.Batch{Claims: []fleet.Claim{{Keys: []fleet.Capped{{Key: key, Cap: limit}}}}})
	return answer.Claims[0].Refused, answer.Claims[0].Others[0]
}

func (n *node) beat(after string) *fleet.Answer {
	n.t.Helper()
	return n.do(fleet.Batch{Beat: &fleet.Beat{Void: Void, Info: []byte("info of " + n.id), After: after}})
}

func (n *node) publish(records ...fleet.Record) {
	n.t.Helper()
	if err := n.engine.Publish(testContext(n.t), records...); err != nil {
		n.t.Fatal(err)
	}
}

func (n *node) load() (records []fleet.Record, position string, fresh bool) {
	n.t.Helper()
	records, position, fresh, err := n.engine.Load(testContext(n.t))
	if err != nil {
		n.t.Fatal(err)
	}
	return records, position, fresh
}
