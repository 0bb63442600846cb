package bulletin

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"testing"
	"testing/synctest"

	"github.com/wsgateway/caddy-ws-gateway/fleet"
	"github.com/wsgateway/caddy-ws-gateway/fleet/memory"
)

func newOutbox() *outbox {
	o := new(outbox)
	o.init(map[string]bool{states: true})
	return o
}

func (o *outbox) mustPut(t *testing.T, r ref, text string) (told <-chan struct{}) {
	t.Helper()
	told, err := o.put(r, []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return told
}

// TestOlderThanWhatThisNodeHasSaidIsNoNews until the log has come to that.
func TestOlderThanWhatThisNodeHasSaidIsNoNews(t *testing.T) {
	t.Parallel()
	o := newOutbox()
	x, y := ref{states, "x"}, ref{states, "y"}
	is := func(r ref, n nonce, want bool) {
		t.Helper()
		if got := o.isNews(r, n); got != want {
			t.Errorf("%s of %v is news: %v", r.id, n[0], got)
		}
	}
	is(x, nonce{1}, true)
	o.mustPut(t, x, "drain")
	is(x, nonce{1}, false)
	is(y, nonce{1}, true)
	some := o.next()
	o.expect(some, []nonce{{2}})
	is(x, nonce{1}, false)
	o.done(some)
	is(x, nonce{1}, false)
	is(y, nonce{1}, true)
	is(x, nonce{2}, true)
	is(x, nonce{1}, true)
	o.mustPut(t, x, "ready")
	some = o.next()
	o.expect(some, []nonce{{3}})
	o.done(some)
	o.begin()
	is(x, nonce{1}, true)
}

func TestWhatIsSaidAnewWhileItIsToldIsToldAgain(t *testing.T) {
	t.Parallel()
	o := newOutbox()
	x, y := ref{states, "x"}, ref{states, "y"}
	told := o.mustPut(t, x, "drain")
	o.mustPut(t, y, "drain")
	some := o.next()
	o.mustPut(t, x, "ready")
	o.done(some)
	select {
	case <-told:
		t.Error("it counts as told")
	default:
	}
	if some = o.next(); len(some) != 1 || some[0].ref != x || string(some[0].data) != "ready" {
		t.Fatalf("to be told is %+v", some)
	}
	o.done(some)
	<-told
	if some = o.next(); len(some) > 0 || len(o.waiting) > 0 {
		t.Errorf("in the end there is %+v", some)
	}
}

func TestNoMoreThanAChunkIsToldAtOnce(t *testing.T) {
	t.Parallel()
	for size, want := range map[int]int{1: atOnce, maxData: atOnceSize / maxData, 2 * atOnceSize: 1} {
		o, data := newOutbox(), make([]byte, size)
		for i := range 2 * atOnce {
			if _, err := o.put(ref{states, fmt.Sprint(i)}, data); err != nil {
				t.Fatal(err)
			}
		}
		if got := len(o.next()); got != want {
			t.Errorf("%d records of %d bytes are told at once, want %d", got, size, want)
		}
	}
}

func TestOutboxTakesSoManyAndNoMore(t *testing.T) {
	t.Parallel()
	o := newOutbox()
	some := new(entry)
	for i := range maxWaiting {
		o.waiting[ref{ends, strconv.Itoa(i)}] = some
	}
	if _, err := o.put(ref{ends, "one more"}, nil); !errors.Is(err, errFull) {
		t.Errorf("one more: %v", err)
	}
	o.mustPut(t, ref{ends, "7"}, "anew")
}

// slowLoad is an engine that waits with what it has loaded.
type slowLoad struct {
	fleet.Engine
	loaded, goOn chan struct{}
}

// Load implements fleet.Engine.
func (e slowLoad) Load(ctx context.Context) (records []fleet.Record, position string, fresh bool, err error) {
	records, position, fresh, err = e.Engine.Load(ctx)
	e.loaded <- struct{}{}
	<-e.goOn
	return records, position, fresh, err
}

// TestWhatIsSaidDuringAUnionCounts and not what was loaded before.
func TestWhatIsSaidDuringAUnionCounts(t *testing.T) {
	inBubble(t, func(t *testing.T, f *memory.Fleet) {
		a := start(t, f, "a", options{stored: map[ref]string{{states, "u"}: "ready", {ends, "x"}: "1"}})
		defer a.stop()
		settle()
		engine := slowLoad{loaded: make(chan struct{}), goOn: make(chan struct{})}
		stored := map[ref]string{{states, "u"}: "ready", {states, "gone"}: "drain", {ends, "y"}: "1"}
		b := start(t, f, "b", options{stored: stored, engine: func(e fleet.Engine) fleet.Engine {
			engine.Engine = e
			return engine
		}})
		defer b.stop()
		<-engine.loaded
		go func() { _ = b.say(states, "u", "drain") }()
		go func() { _ = b.say(states, "v", "drain") }()
		go func() { _ = b.unsay(ends, "x") }()
		go func() { _ = b.unsay(ends, "y") }()
		synctest.Wait()
		learned := b.shelves[ends].learned
		engine.goOn <- struct{}{}
		synctest.Wait()
		a.want("upstreams/u=drain upstreams/v=drain")
		b.want("upstreams/u=drain upstreams/v=drain")
		if b.shelves[ends].learned != learned {
			t.Error("what was deleted meanwhile was learned for a while")
		}
	})
}
