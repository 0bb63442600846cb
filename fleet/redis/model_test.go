package redis

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"testing"
	"time"

	"github.com/wsgateway/caddy-ws-gateway/fleet"
	"github.com/wsgateway/caddy-ws-gateway/fleet/memory"
	"github.com/wsgateway/caddy-ws-gateway/internal/redistest"
)

// What the nodes of the model do.
const (
	modelNodes  = 5
	modelVoid   = time.Hour
	modelCap    = 7
	modelSlices = 12
)

// TestNodesInAnyOrder has nodes open, close, die, return, leave, and miss answers, and
// batches come late, twice, or never, with everything forgotten in between. Redis must
// answer as memory does, no sum may ever exceed its cap, and all must be zero at last.
func TestNodesInAnyOrder(t *testing.T) {
	server := redistest.Start(t)
	for seed := range uint64(12) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			m := newModel(t, server, seed)
			for range 250 {
				m.step()
				m.check()
			}
			m.drain()
		})
	}
}

// model is a fleet whose every word goes to two engines.
type model struct {
	t       *testing.T
	random  *rand.Rand
	now     time.Time
	advance func(time.Duration)
	flush   func()
	redis   fleet.Engine
	memory  fleet.Engine
	nodes   []*modelNode
	late    []*fleet.Batch // on their way
	began   int            // incarnations so far
}

// modelNode is what a node knows of itself. That it is in doubt says that it does not
// know what the engine has.
type modelNode struct {
	id        string
	seq, last uint64
	live      map[string]int // connections of capped keys
	open      int            // connections within its slice
	doubt     bool
	until     time.Time // when its share is void, as far as it knows
}

func newModel(t *testing.T, server *redistest.Server, seed uint64) *model {
	m := &model{t: t, random: rand.New(rand.NewPCG(seed, 16)), now: start()}
	r, ledger := rig(t, server, m.now), memory.New(func() time.Time { return m.now })
	m.redis, m.memory = r.Open(), ledger.Engine()
	m.advance = func(d time.Duration) {
		m.now = m.now.Add(d)
		r.Advance(d)
	}
	m.flush = func() {
		ledger.Flush()
		r.Flush()
		for _, n := range m.nodes {
			n.until = time.Time{}
		}
	}
	for range modelNodes {
		m.nodes = append(m.nodes, m.begin())
	}
	return m
}

// begin returns a node that is new.
func (m *model) begin() *modelNode {
	m.began++
	return &modelNode{id: fmt.Sprint("node ", m.began), live: make(map[string]int), doubt: true}
}

// step lets one node do something.
func (m *model) step() {
	i := m.random.IntN(len(m.nodes))
	n := m.nodes[i]
	switch what := m.random.IntN(40); {
	case what < 2: // it dies
		m.nodes[i] = m.begin()
	case what < 3: // it leaves
		_, _ = m.both(func(e fleet.Engine) (any, error) { return nil, e.Leave(testContext(m.t), n.id) })
		m.nodes[i] = m.begin()
	case what < 4:
		m.flush()
	case what < 7:
		m.advance(time.Duration(1+m.random.IntN(30)) * time.Minute)
	case what < 9 && len(m.late) > 0: // a batch comes late, perhaps not for the last time
		k := m.random.IntN(len(m.late))
		batch := m.late[k]
		if m.random.IntN(2) == 0 {
			m.late = append(m.late[:k], m.late[k+1:]...)
		}
		_, _ = m.both(func(e fleet.Engine) (any, error) { return exchange(m.t, e, batch) })
	case n.doubt:
		m.assert(n)
	default:
		m.exchange(n)
	}
}

// both lets both engines do the same, which must have the same outcome.
func (m *model) both(do func(fleet.Engine) (any, error)) (any, error) {
	m.t.Helper()
	want, wantErr := do(m.memory)
	got, gotErr := do(m.redis)
	if !reflect.DeepEqual(got, want) || outcome(gotErr) != outcome(wantErr) {
		m.t.Fatalf("Redis answers %+v, %v; memory %+v, %v", got, gotErr, want, wantErr)
	}
	return got, gotErr
}

func exchange(t *testing.T, e fleet.Engine, batch *fleet.Batch) (any, error) {
	answer, err := e.Exchange(testContext(t), batch)
	if err != nil {
		return nil, err
	}
	for i := range answer.Nodes {
		answer.Nodes[i].Seen = answer.Nodes[i].Seen.Truncate(time.Millisecond).UTC()
	}
	return *answer, nil
}

// outcome is what a node makes of an error.
func outcome(err error) string {
	switch {
	case err == nil:
		return "done"
	case errors.Is(err, fleet.ErrLost):
		return "lost"
	case errors.Is(err, context.DeadlineExceeded):
		return "no time"
	}
	return "dropped"
}

// assert says all that a node has. Of what it may hold it has only what its connections
// need: a batch that it is in doubt of may have given back the rest. A node whose share
// may have been void closes its connections first, as others may have come in for them:
// a fleet would overshoot here, and the model does not.
func (m *model) assert(n *modelNode) {
	if !n.until.After(m.now) {
		clear(n.live)
		n.open = 0
	}
	n.seq++
	share := &fleet.Share{
		Node: n.id, Seq: n.seq, Counts: n.live, Held: map[string]int{"s": n.open},
		Beat: fleet.Beat{Void: modelVoid, Info: []byte(n.id)},
	}
	_, err := m.both(func(e fleet.Engine) (any, error) { return nil, e.Assert(testContext(m.t), share) })
	if err != nil {
		m.t.Fatalf("%s asserts: %v", n.id, err)
	}
	n.last, n.doubt, n.until = n.seq, false, m.now.Add(modelVoid)
}

// batch returns what a node may say next.
func (m *model) batch(n *modelNode) *fleet.Batch {
	n.seq++
	b := &fleet.Batch{Node: n.id, Seq: n.seq, Last: n.last}
	for _, key := range []string{"x", "y", "z"} {
		if n.live[key] > 0 && m.random.IntN(3) == 0 {
			n.live[key] -= 1 + m.random.IntN(n.live[key])
			b.Sets = append(b.Sets, fleet.Set{Key: key, Count: n.live[key]})
		}
		if m.random.IntN(3) == 0 {
			claim := fleet.Claim{Keys: []fleet.Capped{{Key: key, Cap: modelCap}}}
			if m.random.IntN(2) == 0 {
				claim.Keys = append(claim.Keys, fleet.Capped{Key: "all", Cap: 2 * modelCap})
			}
			b.Claims = append(b.Claims, claim)
		}
	}
	if m.random.IntN(2) == 0 {
		n.open = m.random.IntN(n.open + 1)
		b.Slices = append(b.Slices, fleet.Slice{Key: "s", Cap: modelSlices, Live: n.open, Need: m.random.IntN(3), Spare: m.random.IntN(8)})
	}
	if m.random.IntN(4) == 0 {
		b.Knocks = append(b.Knocks, fleet.Knock{Key: "r", Every: 20 * time.Minute, Burst: 3})
	}
	if m.random.IntN(2) == 0 {
		b.Beat = &fleet.Beat{Void: modelVoid, Info: []byte(n.id)}
	}
	return b
}

// exchange lets a node say something, whose answer it may miss.
func (m *model) exchange(n *modelNode) {
	batch := m.batch(n)
	switch m.random.IntN(12) {
	case 0: // it is still on its way when the node gives up
		m.late = append(m.late, batch)
		n.doubt = true
		return
	case 1: // its answer is lost
		n.doubt = true
	}
	answered, err := m.both(func(e fleet.Engine) (any, error) { return exchange(m.t, e, batch) })
	if err != nil || n.doubt {
		n.doubt = true
		return
	}
	n.last = batch.Seq
	if batch.Beat != nil {
		n.until = m.now.Add(modelVoid)
	}
	answer, _ := answered.(fleet.Answer)
	for i, claim := range answer.Claims {
		if claim.Refused == 0 {
			for _, key := range batch.Claims[i].Keys {
				n.live[key.Key]++
			}
		}
	}
	for _, slice := range answer.Slices {
		n.open = m.random.IntN(slice.Held + 1)
	}
}

// check looks at the sums as a node sees them that has nothing.
func (m *model) check() {
	m.t.Helper()
	for key, others := range m.sums() {
		limit := map[string]int{"all": 2 * modelCap, "s": modelSlices}[key]
		if limit == 0 {
			limit = modelCap
		}
		if others > limit {
			m.t.Fatalf("there are %d of %s, and the cap is %d", others, key, limit)
		}
	}
}

// sums returns how many there are of each key.
func (m *model) sums() map[string]int {
	m.t.Helper()
	keys := []string{"x", "y", "z", "all"}
	ctx := testContext(m.t)
	share := &fleet.Share{Node: "auditor", Seq: 1, Beat: fleet.Beat{Void: modelVoid}}
	batch := &fleet.Batch{Node: "auditor", Seq: 2, Last: 1, Slices: []fleet.Slice{{Key: "s"}}, Claims: make([]fleet.Claim, 1)}
	for _, key := range keys {
		batch.Claims[0].Keys = append(batch.Claims[0].Keys, fleet.Capped{Key: key})
	}
	answered, err := m.both(func(e fleet.Engine) (any, error) {
		if err := e.Assert(ctx, share); err != nil {
			return nil, err
		}
		answer, err := exchange(m.t, e, batch)
		return answer, errors.Join(err, e.Leave(ctx, "auditor"))
	})
	if err != nil {
		m.t.Fatal(err)
	}
	answer, _ := answered.(fleet.Answer)
	sums := map[string]int{"s": answer.Slices[0].Others}
	for i, key := range keys {
		sums[key] = answer.Claims[0].Others[i]
	}
	return sums
}

// drain lets some nodes leave, and the others die.
func (m *model) drain() {
	for _, n := range m.nodes[:2] {
		_, _ = m.both(func(e fleet.Engine) (any, error) { return nil, e.Leave(testContext(m.t), n.id) })
	}
	m.advance(modelVoid)
	for _, batch := range m.late {
		_, _ = m.both(func(e fleet.Engine) (any, error) { return exchange(m.t, e, batch) })
	}
	for key, sum := range m.sums() {
		if sum != 0 {
			m.t.Errorf("there are still %d of %s", sum, key)
		}
	}
}
