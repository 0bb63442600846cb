package bulletin

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wsgateway/caddy-ws-gateway/fleet"
	"github.com/wsgateway/caddy-ws-gateway/fleet/memory"
	"github.com/wsgateway/caddy-ws-gateway/internal/bubble"
)

// orders are all orders of three.
var orders = [][3]int{{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}}

// TestEngineThatLostEverythingIsToldAgain in whatever order the nodes come back to it,
// one of which does not know the latest.
func TestEngineThatLostEverythingIsToldAgain(t *testing.T) {
	t.Parallel()
	for _, order := range orders {
		for behind := range 3 {
			t.Run(fmt.Sprint(order, behind), func(t *testing.T) {
				inBubble(t, func(t *testing.T, f *memory.Fleet) {
					nodes := []*node{start(t, f, "a", options{}), start(t, f, "b", options{}), start(t, f, "c", options{})}
					defer stopAll(nodes...)
					settle()
					_, _, _ = nodes[0].say(states, "u", "ready"), nodes[0].say(states, "v", "maintenance"), nodes[0].say(ends, "x", "1")
					settle()
					nodes[behind].isolate(true)
					settle()
					said := nodes[(behind+1)%3]
					_, _, _, _ = said.say(states, "u", "drain"), said.say(states, "w", "drain"), said.say(ends, "x", "5"), said.say(ends, "y", "1")
					settle()
					for _, n := range nodes {
						n.isolate(true)
					}
					settle()
					f.Flush()
					for _, i := range order {
						nodes[i].isolate(false)
						settle()
					}
					for _, n := range nodes {
						n.want("revocations/x=5 revocations/y=1 upstreams/u=drain upstreams/v=maintenance upstreams/w=drain")
					}
				})
			})
		}
	}
}

func TestFlushWithoutAnOutageLosesNothing(t *testing.T) {
	inBubble(t, func(t *testing.T, f *memory.Fleet) {
		nodes := []*node{start(t, f, "a", options{}), start(t, f, "b", options{}), start(t, f, "c", options{})}
		defer stopAll(nodes...)
		settle()
		_, _ = nodes[0].say(states, "u", "drain"), nodes[1].say(ends, "x", "1")
		synctest.Wait()
		f.Flush()
		_ = nodes[2].say(states, "v", "drain") // before any of them knows
		settle()
		late := start(t, f, "d", options{stored: map[ref]string{{states, "u"}: "ready", {states, "z"}: "drain"}})
		defer late.stop()
		settle()
		for _, n := range append(nodes, late) {
			n.want("revocations/x=1 upstreams/u=drain upstreams/v=drain")
		}
	})
}

// TestFirstToJoinAnEmptyEngineKeepsItsStates also where the engine fails in between.
func TestFirstToJoinAnEmptyEngineKeepsItsStates(t *testing.T) {
	inBubble(t, func(t *testing.T, f *memory.Fleet) {
		stored := map[ref]string{{states, "u"}: "drain", {states, "v"}: "drain"}
		failing := &failingPublish{fleet: f}
		a := start(t, f, "a", options{stored: stored, engine: failing.wrap})
		defer a.stop()
		bubble.Elapse(time.Minute)
		if said := a.logs.FilterMessage(isNotTaken).Len(); said != 1 {
			t.Errorf("it was said %d times that no records are taken", said)
		}
		failing.stop()
		settle()
		b := start(t, f, "b", options{})
		defer b.stop()
		settle()
		for _, n := range []*node{a, b} {
			n.want("upstreams/u=drain upstreams/v=drain")
		}
	})
}

// TestRepeatedStateDoesNotUndoALaterOne of a node that heard of the loss before.
func TestRepeatedStateDoesNotUndoALaterOne(t *testing.T) {
	inBubble(t, func(t *testing.T, f *memory.Fleet) {
		a, b := start(t, f, "a", options{}), start(t, f, "b", options{})
		defer stopAll(a, b)
		settle()
		_ = a.say(states, "u", "ready")
		settle()
		old := b.board.record(ref{states, "u"}, version{[]byte("ready"), b.board.outbox.stamp(ref{states, "u"}), true})
		_ = a.say(states, "u", "drain")
		settle()
		if err := f.Engine().Publish(t.Context(), old); err != nil {
			t.Fatal(err)
		}
		settle()
		late := start(t, f, "c", options{})
		defer late.stop()
		settle()
		for _, n := range []*node{a, b, late} {
			n.want("upstreams/u=drain")
		}
	})
}

// TestLogThatDoesNotReachBackLosesNothing for a node that was away for too long.
func TestLogThatDoesNotReachBackLosesNothing(t *testing.T) {
	inBubble(t, func(t *testing.T, f *memory.Fleet) {
		a, b := start(t, f, "a", options{}), start(t, f, "b", options{})
		defer stopAll(a, b)
		settle()
		_, _ = b.say(ends, "x", "1"), b.say(states, "u", "drain")
		settle()
		b.isolate(true)
		settle()
		_ = b.say(states, "v", "maintenance")
		many := make([]fleet.Record, 10_001)
		for i := range many {
			many[i] = fleet.Record{Kind: ends, ID: "unknown"}
		}
		if err := a.engine.Publish(t.Context(), many...); err != nil {
			t.Fatal(err)
		}
		_ = a.say(states, "u", "ready")
		b.isolate(false)
		settle()
		for _, n := range []*node{a, b} {
			n.want("revocations/x=1 upstreams/u=ready upstreams/v=maintenance")
		}
		if said := b.logs.Len(); said != 0 {
			t.Errorf("%d lines are in the log", said)
		}
	})
}

func TestStaleAnswerIsNotLearned(t *testing.T) {
	inBubble(t, func(t *testing.T, f *memory.Fleet) {
		a := start(t, f, "a", options{})
		settle()
		_ = a.say(states, "u", "drain")
		a.isolate(true)
		settle()
		a.board.Joined(t.Context(), a.engine)
		synctest.Wait()
		after := a.board.Position()
		records, _, _, err := a.engine.Load(t.Context())
		if err != nil || len(records) != 1 {
			t.Fatal(records, err)
		}
		a.board.hear(a.engine, answerOf("another", records...))
		a.board.mu.Lock()
		a.board.heard.after = strings.Repeat("1", 30)
		a.board.mu.Unlock()
		learned := a.shelves[states].learned
		a.board.wakeUp()
		synctest.Wait()
		if a.shelves[states].learned != learned || a.board.Position() != after {
			t.Error("an answer to another position was learned")
		}
		a.stop()
		bubble.Elapse(time.Second)
	})
}

var errDown = errors.New("down")
