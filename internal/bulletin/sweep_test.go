package bulletin

import (
	"testing"
	"testing/synctest"

	"github.com/wsgateway/caddy-ws-gateway/fleet/memory"
	"github.com/wsgateway/caddy-ws-gateway/internal/bubble"
)

// TestWhatIsOverIsDeletedFromTheEngineInTheEnd and nothing else is.
func TestWhatIsOverIsDeletedFromTheEngineInTheEnd(t *testing.T) {
	inBubble(t, func(t *testing.T, f *memory.Fleet) {
		a := start(t, f, "a", options{})
		defer a.stop()
		settle()
		_, _, _ = a.say(states, "u", "drain"), a.say(ends, "x", "1"), a.board.Share(t.Context(), ends, "y", []byte("lapsed"))
		stored := func() int {
			records, _, _, err := f.Engine().Load(t.Context())
			if err != nil {
				t.Error(err)
			}
			return len(records)
		}
		bubble.Elapse(sweepEvery * 5 / 4)
		synctest.Wait()
		if n := stored(); n != 3 {
			t.Errorf("after one look there are %d records, want 3", n)
		}
		_ = a.board.Share(t.Context(), ends, "z", []byte("lapsed"))
		bubble.Elapse(sweepEvery * 5 / 4)
		synctest.Wait()
		if n := stored(); n != 3 {
			t.Errorf("after two looks there are %d records, want 3, what was over once among them", n)
		}
		bubble.Elapse(sweepEvery * 5 / 4)
		synctest.Wait()
		if n := stored(); n != 2 {
			t.Errorf("in the end there are %d records, want 2", n)
		}
		a.want("revocations/x=1 upstreams/u=drain")
	})
}

// TestNodeThatIsConfiguredAnewIsAnswered although it is the same node.
func TestNodeThatIsConfiguredAnewIsAnswered(t *testing.T) {
	inBubble(t, func(t *testing.T, f *memory.Fleet) {
		a, b := start(t, f, "a", options{}), start(t, f, "b", options{answer: echo})
		defer b.stop()
		settle()
		ask(t, a, "first", "b")
		a.stop()
		bubble.Elapse(sweepEvery / 100) // its share is void
		again := start(t, f, "a", options{})
		defer again.stop()
		settle()
		if answers, _ := ask(t, again, "second", "b"); string(answers["b"]) != "list second" {
			t.Errorf("the answer is %q", answers)
		}
	})
}
