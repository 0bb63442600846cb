package bulletin

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wsgateway/caddy-ws-gateway/fleet"
	"github.com/wsgateway/caddy-ws-gateway/fleet/memory"
	"github.com/wsgateway/caddy-ws-gateway/internal/bubble"
)

// echo answers with the question.
func echo(kind string, question []byte) []byte { return append([]byte(kind+" "), question...) }

func ask(t *testing.T, n *node, question string, ids ...string) (answers map[string][]byte, missing []string) {
	t.Helper()
	nodes := make([]Node, 0, len(ids))
	for _, id := range ids {
		nodes = append(nodes, Node{id, "node " + id})
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	answers, missing, err := n.board.Ask(ctx, "list", []byte(question), nodes)
	if err != nil {
		t.Error(err)
	}
	return answers, missing
}

// TestSurveyNamesThoseWithoutAnAnswer and waits for them no longer than it may.
func TestSurveyNamesThoseWithoutAnAnswer(t *testing.T) {
	inBubble(t, func(t *testing.T, f *memory.Fleet) {
		a := start(t, f, "a", options{answer: echo})
		nodes := []*node{
			start(t, f, "b", options{answer: echo}),
			start(t, f, "c", options{answer: func(string, []byte) []byte { panic("no") }}),
			start(t, f, "d", options{answer: func(string, []byte) []byte { bubble.Elapse(2 * time.Second); return []byte("late") }}),
			start(t, f, "e", options{answer: echo, secret: "another"}),
			start(t, f, "f", options{answer: func(string, []byte) []byte { return nil }}),
			start(t, f, "g", options{answer: func(string, []byte) []byte { return []byte{} }}),
			start(t, f, "h", options{answer: func(string, []byte) []byte { return make([]byte, maxAnswer+1) }}),
			start(t, f, "i", options{}),
		}
		defer stopAll(append(nodes, a)...)
		settle()
		began := time.Now()
		answers, missing := ask(t, a, "who?", "a", "b")
		if len(missing) > 0 || len(answers) != 1 || string(answers["b"]) != "list who?" || time.Since(began) != 0 {
			t.Errorf("of b: %q, missing %q after %v", answers, missing, time.Since(began))
		}
		if answers, missing = ask(t, a, "who?", "c", "f", "h", "i"); len(answers) > 0 || len(missing) != 4 || time.Since(began) != 0 {
			t.Errorf("of those that have nothing to say: %q, missing %q after %v", answers, missing, time.Since(began))
		}
		answers, missing = ask(t, a, "who?", "gone", "h", "g", "e", "d", "c", "b")
		want := []string{"node c", "node d", "node e", "node gone", "node h"}
		if len(answers) != 2 || string(answers["b"]) != "list who?" || answers["g"] == nil || !slices.Equal(missing, want) {
			t.Errorf("of all: %q, missing %q, want %q", answers, missing, want)
		}
		if took := time.Since(began); took != time.Second {
			t.Errorf("it took %v", took)
		}
		bubble.Elapse(3 * time.Second) // the late answer comes
		if answers, missing = ask(t, a, "who?"); len(answers)+len(missing) > 0 {
			t.Errorf("of nobody: %q, missing %q", answers, missing)
		}
	})
}

func TestSurveyWithoutAnEngineAsksNobody(t *testing.T) {
	inBubble(t, func(t *testing.T, f *memory.Fleet) {
		f.Fail(errDown)
		a := start(t, f, "a", options{})
		defer a.stop()
		settle()
		_, missing, err := a.board.Ask(t.Context(), "list", nil, []Node{{"b", "node b"}})
		if !errors.Is(err, ErrNoFleet) || !slices.Equal(missing, []string{"node b"}) {
			t.Errorf("%v, missing %q", err, missing)
		}
		f.Fail(nil)
		settle()
		if _, _, err = a.board.Ask(t.Context(), "list", make([]byte, maxQuestion+1), []Node{{"b", "node b"}}); err == nil {
			t.Error("a question that is too long was asked")
		}
	})
}

func TestLongAnswersComeWhole(t *testing.T) {
	inBubble(t, func(t *testing.T, f *memory.Fleet) {
		noise := make([]byte, maxAnswer)
		_, _ = rand.NewChaCha8([32]byte{}).Read(noise)
		for _, answer := range [][]byte{noise, make([]byte, maxAnswer), noise[:maxPart], noise[:1]} {
			a, b := start(t, f, "a", options{}), start(t, f, "b", options{answer: func(string, []byte) []byte { return answer }})
			settle()
			answers, _ := ask(t, a, "", "b")
			if !bytes.Equal(answers["b"], answer) {
				t.Errorf("%d bytes came, want %d", len(answers["b"]), len(answer))
			}
			stopAll(a, b)
		}
	})
}

// overheard is an engine that remembers messages.
type overheard struct {
	fleet.Engine
	mu   sync.Mutex
	told map[string][][]byte // by the node they were for
}

// Tell implements fleet.Engine.
func (e *overheard) Tell(ctx context.Context, node string, message []byte) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.told[node] = append(e.told[node], message)
	return e.Engine.Tell(ctx, node, message)
}

func (e *overheard) wrap(engine fleet.Engine) fleet.Engine {
	e.Engine, e.told = engine, make(map[string][][]byte)
	return e
}

// TestReplaysAreIgnored of questions, also by a process that comes after the one that was
// asked, and of answers.
func TestReplaysAreIgnored(t *testing.T) {
	inBubble(t, func(t *testing.T, f *memory.Fleet) {
		var asked atomic.Int32
		count := func(string, []byte) []byte { asked.Add(1); return []byte("yes") }
		from, to := new(overheard), new(overheard)
		a, b := start(t, f, "a", options{engine: from.wrap}), start(t, f, "b", options{answer: count, engine: to.wrap})
		settle()
		for range 3 {
			ask(t, a, "who?", "b")
		}
		stranger := f.Engine()
		again := start(t, f, "b2", options{answer: count})
		settle()
		told := func(messages [][]byte, node string) {
			for _, message := range messages {
				if err := stranger.Tell(t.Context(), node, message); err != nil {
					t.Error(err)
				}
			}
		}
		told(from.told[""], "")
		told(from.told[""], "b")
		told(to.told["a"], "a")
		told(to.told["a"], "b")
		told([][]byte{nil, {}, []byte("q"), []byte("a"), []byte("something else"), append([]byte("q"), sealed)}, "")
		synctest.Wait()
		if n := asked.Load(); n != 3 {
			t.Errorf("it was answered %d times, want 3", n)
		}
		stopAll(a, b, again)
	})
}

func TestOnlySoManyQuestionsAreAnsweredAtOnce(t *testing.T) {
	inBubble(t, func(t *testing.T, f *memory.Fleet) {
		var at, most atomic.Int32
		a := start(t, f, "a", options{})
		b := start(t, f, "b", options{answer: func(string, []byte) []byte {
			most.Store(max(most.Load(), at.Add(1)))
			defer at.Add(-1)
			bubble.Elapse(time.Second / 2)
			return []byte("yes")
		}})
		defer stopAll(a, b)
		settle()
		var asking sync.WaitGroup
		var answered atomic.Int32
		for range 40 {
			asking.Go(func() {
				answers, _ := ask(t, a, "", "b")
				answered.Add(int32(len(answers)))
			})
		}
		asking.Wait()
		if most.Load() > maxReplies || answered.Load() != maxReplies {
			t.Errorf("%d were answered, %d at once, want %d", answered.Load(), most.Load(), maxReplies)
		}
	})
}

func TestQuestionsAreNewOnce(t *testing.T) {
	t.Parallel()
	var w window
	for i, row := range []struct {
		number uint64
		want   bool
	}{{1, true}, {1, false}, {3, true}, {2, true}, {2, false}, {3, false}, {66, true}, {3, false}, {4, true}, {2, false}, {200, true}, {66, false}, {137, true}, {136, false}, {137, false}} {
		if got := w.isNew(row.number); got != row.want {
			t.Errorf("step %d: that %d is new: %v", i, row.number, got)
		}
	}
	var r replies
	r.init()
	for i := range maxAskers + 10 {
		if !r.isNew(string(rune(i)), 1) {
			t.Fatal(i)
		}
	}
	if len(r.askers) != maxAskers || len(r.oldest) != maxAskers {
		t.Errorf("%d nodes are known", len(r.askers))
	}
}

func TestDamagedPartsAreNoAnswer(t *testing.T) {
	t.Parallel()
	whole := part{7, 1, 2, "session", "node", []byte("data")}.append(nil)
	if p, ok := parsePart(whole); !ok || p.number != 7 || p.at != 1 || p.parts != 2 || p.session != "session" || p.from != "node" || string(p.data) != "data" {
		t.Errorf("%+v", p)
	}
	for i := range fixed + len("session node") - 1 {
		if _, ok := parsePart(whole[:i]); ok {
			t.Errorf("%d bytes are a part", i)
		}
	}
	for name, p := range map[string]part{"behind the last": {at: 2, parts: 2}, "too many": {parts: maxParts + 1}} {
		if _, ok := parsePart(p.append(nil)); ok {
			t.Error(name)
		}
	}
	for name, packed := range map[string][]byte{"garbage": []byte("\xff\xff\xff\xff\xff\xff\xff\xff"), "longer than may be": {0x81, 0x80, 0x80, 0x08, 0}} {
		if answer, isWhole := new(parts).add(part{parts: 1, data: packed}); answer != nil || !isWhole {
			t.Error(name)
		}
	}
}
