package memory

import (
	"bytes"
	"cmp"
	"context"
	"maps"
	"slices"
	"time"

	"github.com/wsgateway/caddy-ws-gateway/fleet"
)

// Exchange implements [fleet.Engine].
func (e *engine) Exchange(ctx context.Context, batch *fleet.Batch) (*fleet.Answer, error) {
	batch = clone(batch)
	var answer *fleet.Answer
	var refusal error
	err := e.do(ctx, func() { answer, refusal = e.fleet.exchange(batch) })
	if err != nil {
		return nil, err // a batch that was given up may be applied later
	}
	return answer, refusal
}

// clone returns a copy of the batch, which the node may use again once it has given it up.
func clone(batch *fleet.Batch) *fleet.Batch {
	b := *batch
	b.Sets, b.Slices, b.Knocks = slices.Clone(b.Sets), slices.Clone(b.Slices), slices.Clone(b.Knocks)
	b.Claims = slices.Clone(b.Claims)
	for i := range b.Claims {
		b.Claims[i].Keys = slices.Clone(b.Claims[i].Keys)
	}
	if b.Beat != nil {
		beat := *b.Beat
		beat.Info = bytes.Clone(beat.Info)
		b.Beat = &beat
	}
	return &b
}

func (f *Fleet) exchange(batch *fleet.Batch) (*fleet.Answer, error) {
	now := f.now()
	n := f.nodes[batch.Node]
	switch {
	case n == nil || !n.void.After(now):
		return nil, fleet.ErrLost
	case batch.Seq <= n.seq:
		return nil, errStale
	case batch.Last != n.seq:
		return nil, fleet.ErrLost
	}
	n.seq = batch.Seq
	for _, set := range batch.Sets {
		put(n.counts, set.Key, set.Count)
	}
	others := f.others(n, now)
	answer := new(fleet.Answer)
	for _, slice := range batch.Slices {
		answer.Slices = append(answer.Slices, n.slice(slice, others))
	}
	for _, claim := range batch.Claims {
		answer.Claims = append(answer.Claims, n.claim(claim, others))
	}
	for _, knock := range batch.Knocks {
		answer.Knocks = append(answer.Knocks, f.knock(knock, now))
	}
	if batch.Beat != nil {
		f.beat(n, batch.Beat, now, answer)
	}
	return answer, nil
}

// put sets what there is of a key; what is nothing is not kept.
func put(shares map[string]int, key string, n int) {
	if n > 0 {
		shares[key] = n
	} else {
		delete(shares, key)
	}
}

// others returns the nodes that live, except for n.
func (f *Fleet) others(n *node, now time.Time) []*node {
	others := make([]*node, 0, len(f.nodes))
	for _, other := range f.nodes {
		if other != n && other.void.After(now) {
			others = append(others, other)
		}
	}
	return others
}

func (n *node) slice(slice fleet.Slice, others []*node) fleet.SliceAnswer {
	elsewhere := 0
	for _, other := range others {
		elsewhere += other.held[slice.Key]
	}
	held := slice.Live
	room := max(slice.Cap-elsewhere-held, 0)
	need := min(slice.Need, room)
	spare := min(slice.Spare, (room-need)/(2*(len(others)+1)))
	held += need + spare
	put(n.held, slice.Key, held)
	return fleet.SliceAnswer{Held: held, Others: elsewhere}
}

func (n *node) claim(claim fleet.Claim, others []*node) (answer fleet.ClaimAnswer) {
	taken := make(map[string]int, len(claim.Keys))
	for i, key := range claim.Keys {
		elsewhere := 0
		for _, other := range others {
			elsewhere += other.counts[key.Key]
		}
		answer.Others = append(answer.Others, elsewhere)
		taken[key.Key]++
		if key.Cap > 0 && n.counts[key.Key]+taken[key.Key]+elsewhere > key.Cap {
			answer.Refused = i + 1
			return answer
		}
	}
	for key, more := range taken {
		n.counts[key] += more
	}
	return answer
}

// knock keeps the theoretical arrival time of a rate's next handshake.
func (f *Fleet) knock(knock fleet.Knock, now time.Time) time.Duration {
	burst := time.Duration(max(knock.Burst, 1)) * knock.Every
	ahead := min(max(f.rates[knock.Key].Sub(now), 0), burst)
	if wait := ahead + knock.Every - burst; wait > 0 {
		return wait
	}
	f.rates[knock.Key] = now.Add(ahead + knock.Every)
	return 0
}

func (f *Fleet) beat(n *node, beat *fleet.Beat, now time.Time, answer *fleet.Answer) {
	n.live(*beat, now)
	maps.DeleteFunc(f.nodes, func(_ string, n *node) bool { return !n.void.After(now) })
	maps.DeleteFunc(f.rates, func(_ string, free time.Time) bool { return !free.After(now) })
	for id, n := range f.nodes {
		answer.Nodes = append(answer.Nodes, fleet.Node{ID: id, Seen: n.seen, Info: bytes.Clone(n.info)})
	}
	slices.SortFunc(answer.Nodes, func(a, b fleet.Node) int { return cmp.Compare(a.ID, b.ID) })
	answer.Records, answer.Position, answer.Gap = f.since(beat.After)
}

func (n *node) live(beat fleet.Beat, now time.Time) {
	n.seen, n.void, n.info = now, now.Add(beat.Void), beat.Info
}

// Assert implements [fleet.Engine].
func (e *engine) Assert(ctx context.Context, share *fleet.Share) error {
	n := &node{seq: share.Seq, counts: make(map[string]int), held: make(map[string]int)}
	for key, count := range share.Counts {
		put(n.counts, key, count)
	}
	for key, held := range share.Held {
		put(n.held, key, held)
	}
	id, beat := share.Node, share.Beat
	beat.Info = bytes.Clone(beat.Info)
	var refusal error
	err := e.do(ctx, func() {
		f := e.fleet
		now := f.now()
		if before := f.nodes[id]; before != nil && before.void.After(now) && n.seq <= before.seq {
			refusal = errStale
			return
		}
		n.live(beat, now)
		f.nodes[id] = n
	})
	if err != nil {
		return err
	}
	return refusal
}

// Leave implements [fleet.Engine].
func (e *engine) Leave(ctx context.Context, node string) error {
	return e.do(ctx, func() { delete(e.fleet.nodes, node) })
}
