package enginetest

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"testing"
	"time"

	"github.com/wsgateway/caddy-ws-gateway/fleet"
)

func neverAsserted(t *testing.T, rig Rig) {
	n := &node{t: t, engine: rig.Open(), id: "a"}
	if _, err := n.try(fleet.Batch{}); !errors.Is(err, fleet.ErrLost) {
		t.Fatalf("got %v", err)
	}
}

func chain(t *testing.T, rig Rig) {
	n := rig.join(t, "a")
	n.do(fleet.Batch{})
	n.last-- // as if the last answer had been missed
	if _, err := n.try(fleet.Batch{Sets: []fleet.Set{{Key: "k", Count: 5}}}); !errors.Is(err, fleet.ErrLost) {
		t.Fatalf("got %v", err)
	}
	if _, others := rig.join(t, "b").claim("k", 10); others != 0 {
		t.Fatalf("something of it was applied: %d", others)
	}
	n.assert(nil, nil)
	n.do(fleet.Batch{})
}

func tooLate(t *testing.T, rig Rig) {
	n, b := rig.join(t, "a"), rig.join(t, "b")
	late := fleet.Batch{Node: "a", Seq: n.seq + 1, Last: n.last, Sets: []fleet.Set{{Key: "k", Count: 5}}}
	n.seq++
	n.assert(map[string]int{"k": 1}, nil)
	for range 2 {
		if _, err := n.engine.Exchange(testContext(t), &late); err == nil || errors.Is(err, fleet.ErrLost) {
			t.Fatalf("a late batch: %v", err)
		}
	}
	share := &fleet.Share{Node: "a", Seq: n.seq, Counts: map[string]int{"k": 7}, Beat: fleet.Beat{Void: Void}}
	if err := n.engine.Assert(testContext(t), share); err == nil {
		t.Fatal("a late share was taken")
	}
	if _, others := b.claim("k", 10); others != 1 {
		t.Fatalf("there are %d, not 1", others)
	}
	n.do(fleet.Batch{})
}

func void(t *testing.T, rig Rig) {
	a, b := rig.join(t, "a"), rig.join(t, "b")
	a.claim("k", 1)
	rig.Advance(Void - time.Minute)
	b.beat("")
	if refused, others := b.claim("k", 1); refused != 1 || others != 1 {
		t.Fatalf("before: refused %d, others %d", refused, others)
	}
	rig.Advance(time.Minute)
	if refused, others := b.claim("k", 1); refused != 0 || others != 0 {
		t.Fatalf("after: refused %d, others %d", refused, others)
	}
	if _, err := a.try(fleet.Batch{}); !errors.Is(err, fleet.ErrLost) {
		t.Fatalf("the dead node: %v", err)
	}
	if nodes := b.beat("").Nodes; len(nodes) != 1 || nodes[0].ID != "b" {
		t.Fatalf("living: %v", nodes)
	}
	a.seq = 0 // what is dead has no number either
	a.assert(map[string]int{"k": 1}, nil)
	if _, others := b.claim("k", 9); others != 1 {
		t.Fatalf("returned: %d", others)
	}
}

func leave(t *testing.T, rig Rig) {
	a, b := rig.join(t, "a"), rig.join(t, "b")
	a.claim("k", 1)
	a.do(fleet.Batch{Slices: []fleet.Slice{{Key: "s", Cap: 10, Need: 10}}})
	if err := a.engine.Leave(testContext(t), "a"); err != nil {
		t.Fatal(err)
	}
	answer := b.do(fleet.Batch{
		Slices: []fleet.Slice{{Key: "s", Cap: 10, Need: 10}},
		Claims: []fleet.Claim{{Keys: []fleet.Capped{{Key: "k", Cap: 1}}}},
		Beat:   &fleet.Beat{Void: Void},
	})
	if answer.Claims[0].Refused != 0 || answer.Slices[0].Held != 10 || len(answer.Nodes) != 1 {
		t.Fatalf("got %+v", answer)
	}
	if _, err := a.try(fleet.Batch{}); !errors.Is(err, fleet.ErrLost) {
		t.Fatalf("who left: %v", err)
	}
}

func assertReplaces(t *testing.T, rig Rig) {
	a, b := rig.join(t, "a"), rig.join(t, "b")
	a.assert(map[string]int{"k": 3, "l": 1}, map[string]int{"s": 4})
	a.assert(map[string]int{"k": 2, "zero": 0}, nil)
	answer := b.do(fleet.Batch{
		Slices: []fleet.Slice{{Key: "s", Cap: 10}},
		Claims: []fleet.Claim{{Keys: []fleet.Capped{{Key: "k"}, {Key: "l"}, {Key: "zero"}}}},
	})
	if got := answer.Claims[0].Others; !reflect.DeepEqual(got, []int{2, 0, 0}) || answer.Slices[0].Others != 0 {
		t.Fatalf("got %+v", answer)
	}
	a.do(fleet.Batch{}) // the chain goes on from the share
}

func assertLarge(t *testing.T, rig Rig) {
	a, b := rig.join(t, "a"), rig.join(t, "b")
	counts := make(map[string]int)
	for i := range 5001 {
		counts[fmt.Sprint("key ", i)] = i + 1
	}
	a.assert(counts, map[string]int{"s": 3})
	a.assert(counts, map[string]int{"s": 4})
	for _, i := range []int{0, 1999, 2000, 5000} {
		if _, others := b.claim(fmt.Sprint("key ", i), 0); others != i+1 {
			t.Errorf("key %d: %d", i, others)
		}
	}
	if answer := b.do(fleet.Batch{Slices: []fleet.Slice{{Key: "s"}}}); answer.Slices[0].Others != 4 {
		t.Fatalf("got %+v", answer)
	}
}

func claim(t *testing.T, rig Rig) {
	a, b := rig.join(t, "a"), rig.join(t, "b")
	for i, want := range []struct{ refused, others int }{{0, 0}, {0, 1}, {0, 1}, {1, 2}, {1, 1}} {
		n := []*node{a, b}[i%2]
		if refused, others := n.claim("k", 3); refused != want.refused || others != want.others && refused == 0 {
			t.Fatalf("claim %d: refused %d, others %d", i, refused, others)
		}
	}
	b.do(fleet.Batch{Sets: []fleet.Set{{Key: "k", Count: 0}}})
	if refused, others := a.claim("k", 3); refused != 0 || others != 0 {
		t.Fatalf("after a release: refused %d, others %d", refused, others)
	}
}

func allOrNothing(t *testing.T, rig Rig) {
	a, b := rig.join(t, "a"), rig.join(t, "b")
	b.assert(map[string]int{"x": 4, "y": 1}, nil)
	answer := a.do(fleet.Batch{Claims: []fleet.Claim{
		{Keys: []fleet.Capped{{Key: "x", Cap: 5}, {Key: "y", Cap: 1}, {Key: "z", Cap: 1}}},
		{Keys: []fleet.Capped{{Key: "x", Cap: 5}, {Key: "z", Cap: 1}}},
		{Keys: []fleet.Capped{{Key: "x", Cap: 5}}},
	}})
	want := []fleet.ClaimAnswer{
		{Refused: 2, Others: []int{4, 1}},
		{Others: []int{4, 0}},
		{Refused: 1, Others: []int{4}},
	}
	if !reflect.DeepEqual(answer.Claims, want) {
		t.Fatalf("got %+v", answer.Claims)
	}
}

func claimTwice(t *testing.T, rig Rig) {
	a, b := rig.join(t, "a"), rig.join(t, "b")
	twice := []fleet.Claim{{Keys: []fleet.Capped{{Key: "k", Cap: 3}, {Key: "k", Cap: 3}}}}
	if answer := a.do(fleet.Batch{Claims: twice}); answer.Claims[0].Refused != 0 {
		t.Fatalf("got %+v", answer)
	}
	if answer := a.do(fleet.Batch{Claims: twice}); answer.Claims[0].Refused != 2 {
		t.Fatalf("got %+v", answer)
	}
	if _, others := b.claim("k", 9); others != 2 {
		t.Fatalf("there are %d", others)
	}
}

func setsFirst(t *testing.T, rig Rig) {
	a := rig.join(t, "a")
	a.claim("k", 1)
	answer := a.do(fleet.Batch{
		Sets:   []fleet.Set{{Key: "k", Count: 7}, {Key: "k", Count: 0}, {Key: "unknown", Count: 0}},
		Claims: []fleet.Claim{{Keys: []fleet.Capped{{Key: "k", Cap: 1}}}},
	})
	if answer.Claims[0].Refused != 0 {
		t.Fatalf("got %+v", answer)
	}
}

// slice asks for a slice, and returns what the node has.
func (n *node) slice(limit, live, need, spare int) int {
	n.t.Helper()
	return n.do(fleet.Batch{Slices: []fleet.Slice{{Key: "s", Cap: limit, Live: live, Need: need, Spare: spare}}}).Slices[0].Held
}

func sliceLive(t *testing.T, rig Rig) {
	a, b := rig.join(t, "a"), rig.join(t, "b")
	if held := a.slice(10, 12, 1, 5); held != 12 {
		t.Fatalf("over the cap: %d", held)
	}
	if held := b.slice(10, 0, 3, 5); held != 0 {
		t.Fatalf("no room: %d", held)
	}
	if held := a.slice(10, 7, 0, 0); held != 7 {
		t.Fatalf("less is live: %d", held)
	}
	if held := b.slice(10, 0, 9, 9); held != 3 {
		t.Fatalf("needed: %d", held)
	}
	if held := b.slice(10, 0, 0, 0); held != 0 {
		t.Fatalf("given back: %d", held)
	}
}

func sliceSpare(t *testing.T, rig Rig) {
	a, b := rig.join(t, "a"), rig.join(t, "b")
	if held := a.slice(100, 10, 10, 50); held != 40 { // 20 of the room of 80
		t.Fatalf("two nodes: %d", held)
	}
	if held := b.slice(100, 0, 0, 50); held != 15 { // of the room of 60
		t.Fatalf("the other: %d", held)
	}
	if held := b.slice(100, 0, 0, 5); held != 5 {
		t.Fatalf("what is expected: %d", held)
	}
	if held := b.slice(43, 0, 0, 50); held != 0 { // 3 of room
		t.Fatalf("rounded down: %d", held)
	}
	if held := b.slice(44, 0, 0, 50); held != 1 {
		t.Fatalf("the least: %d", held)
	}
}

func knocks(t *testing.T, rig Rig) {
	a, b := rig.join(t, "a"), rig.join(t, "b")
	knock := fleet.Knock{Key: "r", Every: 2 * time.Hour, Burst: 2}
	wait := func(n *node) time.Duration {
		return n.do(fleet.Batch{Knocks: []fleet.Knock{knock}}).Knocks[0]
	}
	if got := a.do(fleet.Batch{Knocks: []fleet.Knock{knock, knock, knock, {Key: "other", Every: time.Hour, Burst: 1}}}).Knocks; !reflect.DeepEqual(got, []time.Duration{0, 0, 2 * time.Hour, 0}) {
		t.Fatalf("at once: %v", got)
	}
	rig.Advance(30 * time.Minute)
	if got := wait(b); got != 90*time.Minute {
		t.Fatalf("too early: %v", got)
	}
	a.beat("")
	b.beat("")
	rig.Advance(45 * time.Minute)
	a.beat("")
	b.beat("")
	rig.Advance(45 * time.Minute)
	if got := []time.Duration{wait(b), wait(a)}; !reflect.DeepEqual(got, []time.Duration{0, 2 * time.Hour}) {
		t.Fatalf("then: %v", got)
	}
}

func closed(t *testing.T, rig Rig) {
	a := rig.join(t, "a")
	a.engine.Close()
	a.engine.Close()
	if _, err := a.try(fleet.Batch{}); err == nil {
		t.Fatal("a batch was taken")
	}
	if err := a.engine.Tell(testContext(t), "", nil); err == nil {
		t.Fatal("a message was taken")
	}
}

func expired(t *testing.T, rig Rig) {
	a := rig.join(t, "a")
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := a.engine.Exchange(ctx, &fleet.Batch{Node: "a", Seq: 2, Last: 1}); !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v", err)
	}
	a.do(fleet.Batch{}) // has the same number
}

func flush(t *testing.T, rig Rig) {
	a, b := rig.join(t, "a"), rig.join(t, "b")
	a.claim("k", 5)
	rig.Flush()
	for _, n := range []*node{a, b} {
		if _, err := n.try(fleet.Batch{}); !errors.Is(err, fleet.ErrLost) {
			t.Fatalf("got %v", err)
		}
	}
	a.assert(map[string]int{"k": 1}, nil)
	b.assert(nil, nil)
	if _, others := b.claim("k", 5); others != 1 {
		t.Fatalf("there are %d", others)
	}
}
