package membership

import (
	"context"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/wsgateway/caddy-ws-gateway/fleet"
	"github.com/wsgateway/caddy-ws-gateway/internal/panics"
)

// sequence numbers the batches and shares of the process, whose members follow each
// other under one ID.
var sequence atomic.Uint64

const (
	openWithin  = 2 * time.Second
	shareWithin = time.Second // or 20 timeouts, if that is longer
	leaveWithin = 500 * time.Millisecond
)

// courier is the one goroutine that talks to the engine about the node's share.
type courier struct {
	*Member

	engine fleet.Engine // nil until it was opened
	last   uint64       // number of the last batch or share that was answered
	holds  bool         // the engine has the share as it was then
	lost   bool         // it had not, and was given the share since
	joined bool         // the news were told, and not since that the node has left

	settling settling

	flight *batch    // that is under way
	next   occasion  // of the next batch
	beat   time.Time // when the next beat is due
}

// run is the courier's life.
func (m *Member) run() {
	defer close(m.over)
	c := &courier{Member: m}
	defer c.farewell()
	for m.ending.Err() == nil {
		c.round()
	}
}

// round is a turn, and what follows where that fails.
func (c *courier) round() {
	defer panics.Contain()
	begun := time.Now()
	if err := c.turn(); err != nil && c.ending.Err() == nil {
		defer c.pause(begun) // also where what follows panics
		c.failed(err)
	}
}

// turn does the next thing.
func (c *courier) turn() (err error) {
	defer panics.ContainInto(&err, nil)
	switch {
	case c.engine == nil:
		return c.open()
	case !c.holds:
		return c.assert()
	}
	return c.exchange()
}

func (c *courier) open() error {
	ctx, cancel := context.WithTimeout(c.ending, openWithin)
	defer cancel()
	defer c.watch()()
	engine, err := c.config.Open(ctx)
	if err != nil {
		return err
	}
	c.engine = engine
	return nil
}

// assert gives the engine the whole share.
func (c *courier) assert() error {
	if err := c.sendShare(); err != nil {
		return err
	}
	if c.out.Load() {
		c.left()
	}
	if !c.joined {
		c.tell(func(ctx context.Context, news News) { news.Joined(ctx, c.engine) })
		c.joined = true
	}
	c.setEngine(c.engine)
	c.unsettle()
	if c.out.Load() {
		c.lowerAll()
	}
	c.next = beaten
	if c.recover() {
		c.next = recovered
	}
	return nil
}

// left has the news know that the node is by itself.
func (c *courier) left() {
	if c.joined {
		c.joined = false
		c.tell(func(_ context.Context, news News) { news.Left() })
	}
}

func (c *courier) sendShare() error {
	held := c.held()
	share := &fleet.Share{
		Node: c.config.ID, Seq: sequence.Add(1), Beat: fleet.Beat{Void: c.config.Settings.Void(), Info: c.info()},
		Counts: c.counts(), Held: make(map[string]int, len(held)),
	}
	for s, n := range held {
		share.Held[s.key()] = n
	}
	ctx, cancel := context.WithTimeout(c.ending, max(shareWithin, 20*c.config.Settings.Timeout))
	defer cancel()
	err := c.time("assert", func() error {
		defer c.watch()()
		return c.engine.Assert(ctx, share)
	})
	if err != nil {
		return err
	}
	c.last, c.holds = share.Seq, true
	c.asserted(held)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.books.assertedLocked()
	return nil
}

// counts returns all that the node has.
func (c *courier) counts() map[string]int {
	said := c.saying()
	counts := make(map[string]int, len(said))
	for _, n := range said {
		counts[n.name] = n.said // which only the courier changes
	}
	return counts
}

func (c *courier) saying() []*count {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.books.shareLocked()
}

// exchange says what there is to say, or waits for something.
func (c *courier) exchange() error {
	c.resettle(nil)
	why := c.why()
	b := c.gather(why)
	if b == nil {
		c.idle()
		return nil
	}
	c.flight = b
	b.Node, b.Seq, b.Last = c.config.ID, sequence.Add(1), c.last
	if why != asked {
		b.Beat = &fleet.Beat{Void: c.config.Settings.Void(), Info: c.info()}
		if c.config.News != nil {
			b.Beat.After = c.config.News.Position()
		}
	}
	ctx, cancel := context.WithTimeout(c.ending, c.config.Settings.Timeout)
	defer cancel()
	var answer *fleet.Answer
	err := c.time(b.operation, func() (err error) {
		answer, err = c.engine.Exchange(ctx, &b.Batch)
		return err
	})
	switch {
	case errors.Is(err, fleet.ErrLost) && !c.lost:
		c.lost, c.holds, c.flight = true, false, nil
		c.putBack(b, true)
		return nil
	case err != nil:
		return err
	case !b.fits(answer):
		return errMisfit
	}
	c.last, c.lost, c.flight = b.Seq, false, nil
	c.resettle(answer.Nodes)
	b.settling = c.settling.lasts()
	c.settle(b, answer, time.Now())
	if why != asked {
		c.next = asked
		c.heard(answer)
	}
	return nil
}

// why returns what the next batch is for.
func (c *courier) why() occasion {
	now := time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	why := c.next
	if c.beatNow {
		why = max(why, poked)
	}
	if !now.Before(c.beat) {
		why = max(why, beaten)
	}
	if why != asked {
		c.beatNow = false
	}
	if why >= beaten { // a little earlier than need be, so that the nodes do not all come at once
		every := c.config.Settings.Heartbeat
		c.beat = now.Add(every - rand.N(every/10+1)) //nolint:gosec // nobody gains from guessing it
	}
	return why
}

// idle waits until there is something to say.
func (c *courier) idle() {
	timer := time.NewTimer(time.Until(c.beat))
	defer timer.Stop()
	select {
	case <-c.wake:
	case <-timer.C:
	case <-c.ending.Done():
	}
}

// rouse lets the courier look for what there is to say.
func (m *Member) rouse() {
	select {
	case m.wake <- struct{}{}:
	default:
	}
}

// heard takes the engine's answer to a beat.
func (c *courier) heard(a *fleet.Answer) {
	c.parts.setNodes(len(a.Nodes) + len(c.settling.missing))
	elsewhere := make(map[string]int)
	for _, n := range a.Nodes {
		var info Info
		if n.ID == c.config.ID || json.Unmarshal(n.Info, &info) != nil {
			continue
		}
		for address, live := range info.Upstreams {
			elsewhere[address] += min(max(live, 0), 1<<31-1)
		}
	}
	c.config.Conns.SetElsewhere(elsewhere)
	c.remember(a.Nodes)
	c.tell(func(ctx context.Context, news News) { news.Heard(ctx, c.engine, a) })
}

// remember keeps what the view shows, and forgets what nobody needs.
func (c *courier) remember(nodes []fleet.Node) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.nodes = nodes
	c.books.nodes = max(len(nodes)+len(c.settling.missing), 1)
	if !c.settling.lasts() {
		c.books.sweepLocked(time.Now(), c.config.Settings.Void())
	}
}

// tell has the news know. Their panics are theirs.
func (m *Member) tell(f func(ctx context.Context, news News)) {
	if m.config.News == nil {
		return
	}
	defer panics.Contain()
	ctx, cancel := context.WithTimeout(m.ending, 2*m.config.Settings.Heartbeat)
	defer cancel()
	f(ctx, m.config.News)
}

// time has f observed.
func (c *courier) time(operation string, f func() error) error {
	begun := time.Now()
	err := f()
	if c.config.Observe != nil {
		c.config.Observe(operation, time.Since(begun))
	}
	return err
}

// info returns what the other nodes are to know.
func (c *courier) info() []byte {
	said, err := json.Marshal(c.config.Info())
	if err != nil {
		return nil // it has nothing that cannot be said
	}
	return said
}

// farewell is the end of the courier.
func (c *courier) farewell() {
	defer panics.Contain()
	if c.flight != nil {
		c.putBack(c.flight, false)
	}
	c.end()
	c.left()
	if c.engine == nil {
		return
	}
	defer c.engine.Close()
	if c.politely.Load() {
		ctx, cancel := context.WithTimeout(context.Background(), leaveWithin)
		defer cancel()
		if err := c.engine.Leave(ctx, c.config.ID); err != nil {
			c.config.Logger.Warn("the fleet could not be told that this node leaves; it will see", c.cause(err))
		}
	}
}
