// Package bulletin makes what operators have said, revocations and states of upstreams,
// the same on all nodes of a fleet, and asks the other nodes what only they know.
//
// Records stand on the shelves of each node and, for all, in the engine. A node that
// joins unites the two; then it follows the engine's log by its beats, so that nothing is
// missed, however long it was away. Messages only make that soon.
package bulletin

import (
	"context"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/wsgateway/caddy-ws-gateway/fleet"
	"github.com/wsgateway/caddy-ws-gateway/internal/durable"
	"github.com/wsgateway/caddy-ws-gateway/internal/panics"
)

// Config is what a Board works with.
type Config struct {
	ID      string                   // of the node's incarnation
	Secret  []byte                   // that data is sealed with, the same on all nodes
	Shelves map[string]durable.Shelf // by kind
	Adopts  map[string]bool          // kinds whose records are the engine's when the node joins, and are united otherwise
	Untold  []fleet.Record           // of the Board before, in another fleet or in this one
	Logger  *zap.Logger

	// Keep stores what was learned in the node's own storage; no data: it deletes it. It
	// does not block. It may be nil.
	Keep func(kind, id string, data []byte)

	// Poke asks for a beat now. It does not block.
	Poke func()

	// Answer is what this node says to a question; nil: nothing.
	Answer func(kind string, question []byte) []byte
}

// failures are how many steps fail before that is said.
const failures = 10

// retry is how long the Board waits with what the engine has refused.
const retry = time.Second

// Board is the node's end of what is the fleet's. It is safe for concurrent use.
//
// One goroutine does everything that changes shelves or the engine's records, one thing
// after the other.
type Board struct {
	config   Config
	sealer   sealer
	troubles troubles
	surveys  surveys
	replies  replies

	ctx     context.Context // until Close
	end     context.CancelFunc
	running sync.WaitGroup
	wake    chan struct{} // there may be work

	mu       sync.Mutex
	link     *link // nil without an engine
	position string
	asked    string // the position that the last beat named
	followed bool   // what the engine had at position is on the shelves
	heard    *heard // the last answer, as long as it was not worked off
	outbox   outbox

	// What follows belongs to the goroutine that works.
	united  bool // once at least
	fresh   bool // the engine had nothing when the first union began
	sweeper sweeper
}

// link is an engine for as long as it answers.
type link struct {
	engine fleet.Engine
	ctx    context.Context
	cut    context.CancelFunc
	failed int // steps, one after the other
}

// heard is an answer to a beat that named a position.
type heard struct {
	after  string
	answer *fleet.Answer
}

// New returns a Board that has joined no engine yet.
func New(c Config) *Board {
	b := &Board{config: c, sealer: newSealer(c.Secret), wake: make(chan struct{}, 1)}
	b.outbox.init(c.Adopts)
	for _, r := range c.Untold {
		_, _ = b.outbox.put(ref{r.Kind, r.ID}, r.Data) // there is room for all that another one had
	}
	b.surveys.init()
	b.replies.init()
	b.troubles.logger = c.Logger
	b.ctx, b.end = context.WithCancel(context.Background())
	b.running.Go(b.work)
	return b
}

// Close ends the goroutines of the Board.
func (b *Board) Close() {
	b.stop()
	b.running.Wait()
}

// stop has no other goroutine begin.
func (b *Board) stop() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.end()
}

// Joined has the Board follow an engine, from where it has followed the log before, until
// Left. It does not wait for the engine, nor does what it begins end with ctx.
func (b *Board) Joined(_ context.Context, engine fleet.Engine) {
	b.join(engine)
	b.wakeUp()
}

// join links the Board to the engine where that is another one than before.
func (b *Board) join(engine fleet.Engine) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ctx.Err() != nil || b.link != nil && b.link.engine == engine {
		return
	}
	b.leaveLocked()
	ctx, cut := context.WithCancel(b.ctx)
	l := &link{engine: engine, ctx: ctx, cut: cut}
	b.link = l
	b.running.Go(func() { b.listen(l) })
}

// Left has the Board go on without an engine.
func (b *Board) Left() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.leaveLocked()
}

func (b *Board) leaveLocked() {
	if b.link != nil {
		b.link.cut()
		b.link, b.heard = nil, nil
	}
}

// Position returns how far the Board has followed the log, for the next beat.
func (b *Board) Position() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.asked = ""
	if b.followed {
		b.asked = b.position
	}
	return b.asked
}

// Heard has the Board learn what the engine answered to the beat that named the last
// Position. It does not wait.
func (b *Board) Heard(_ context.Context, engine fleet.Engine, answer *fleet.Answer) {
	if b.hear(engine, answer) {
		b.wakeUp()
	}
}

// hear reports whether the answer says anything. One that was not worked off has nothing
// that the next one has not.
func (b *Board) hear(engine fleet.Engine, answer *fleet.Answer) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if answer == nil || b.link == nil || b.link.engine != engine || b.asked == "" {
		return false
	}
	if len(answer.Records) == 0 && !answer.Gap && answer.Position == b.asked {
		return false
	}
	b.heard = &heard{b.asked, answer}
	return true
}

func (b *Board) wakeUp() {
	select {
	case b.wake <- struct{}{}:
	default:
	}
}

// current returns the link; nil without an engine.
func (b *Board) current() *link {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.link
}

// work works off what there is, until Close.
func (b *Board) work() {
	defer panics.Contain()
	again := time.NewTimer(0)
	again.Stop()
	defer again.Stop()
	b.sweeper.due = time.NewTimer(nextSweep())
	defer b.sweeper.due.Stop()
	for {
		select {
		case <-b.wake:
		case <-again.C:
		case <-b.sweeper.due.C:
			b.sweepOnce()
		case <-b.ctx.Done():
			return
		}
		if l := b.current(); l != nil && b.stepOn(l) != nil {
			again.Reset(retry)
		}
	}
}

// stepOn is a step that counts what fails. An outage would have ended the link before
// that is many.
func (b *Board) stepOn(l *link) error {
	err := b.step(l)
	if err == nil || l.ctx.Err() != nil {
		l.failed = 0
		return err
	}
	if l.failed++; l.failed == failures {
		b.troubles.say(isNotTaken, "", err)
	}
	return err
}

// sweepOnce sweeps where the Board follows the log; else the next time will do.
func (b *Board) sweepOnce() {
	defer panics.Contain()
	b.sweeper.due.Reset(nextSweep())
	if l := b.current(); l != nil && b.isFollowing() && b.flush(l) == nil {
		_ = b.sweep(l) // what it did not come to is for the next time
	}
}

// step does all that is to be done with the engine.
func (b *Board) step(l *link) (err error) {
	defer panics.ContainInto(&err, nil)
	defer b.outbox.settle()
	if b.isFollowing() {
		if err := b.flush(l); err != nil {
			return err
		}
		if err := b.follow(l); err != nil {
			return err
		}
	}
	if b.isFollowing() {
		return nil
	}
	return b.unite(l)
}

func (b *Board) isFollowing() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.followed
}

func (b *Board) poke() {
	defer panics.Contain()
	if b.config.Poke != nil {
		b.config.Poke()
	}
}
