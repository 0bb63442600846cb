package bulletin

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wsgateway/caddy-ws-gateway/fleet"
	"github.com/wsgateway/caddy-ws-gateway/fleet/memory"
	"github.com/wsgateway/caddy-ws-gateway/internal/bubble"
)

func sorted(all []string) []string {
	slices.Sort(all)
	return all
}

func TestWhatIsSaidOnOneNodeIsSoOnAllAtOnce(t *testing.T) {
	inBubble(t, func(t *testing.T, f *memory.Fleet) {
		a, b := start(t, f, "a", options{}), start(t, f, "b", options{})
		defer stopAll(a, b)
		settle()
		began := time.Now()
		check := func(err error, want string) {
			t.Helper()
			if err != nil {
				t.Error(err)
			}
			synctest.Wait()
			a.want(want)
			b.want(want)
		}
		check(a.say(ends, "x", "10"), "revocations/x=10")
		check(b.say(states, "u", "drain"), "revocations/x=10 upstreams/u=drain")
		check(a.say(states, "u", "ready"), "revocations/x=10 upstreams/u=ready")
		check(b.say(ends, "x", "20"), "revocations/x=20 upstreams/u=ready")
		check(a.unsay(ends, "x"), "upstreams/u=ready")
		if took := time.Since(began); took != 0 {
			t.Errorf("it took %v, and nothing was to be waited for", took)
		}
	})
}

func TestFirstJoinUnitesRevocationsAndAdoptsStates(t *testing.T) {
	inBubble(t, func(t *testing.T, f *memory.Fleet) {
		a := start(t, f, "a", options{stored: map[ref]string{{ends, "x"}: "10", {ends, "y"}: "5", {states, "u"}: "drain"}})
		defer a.stop()
		settle()
		b := start(t, f, "b", options{stored: map[ref]string{
			{ends, "x"}: "20", {ends, "z"}: "1", {states, "u"}: "ready", {states, "v"}: "drain",
		}})
		defer b.stop()
		settle()
		for _, n := range []*node{a, b} {
			n.want("revocations/x=20 revocations/y=5 revocations/z=1 upstreams/u=drain")
		}
	})
}

func TestNodeThatWasAwayLearnsWhatItMissed(t *testing.T) {
	inBubble(t, func(t *testing.T, f *memory.Fleet) {
		a, b := start(t, f, "a", options{}), start(t, f, "b", options{})
		defer stopAll(a, b)
		settle()
		_, _ = a.say(ends, "x", "1"), a.say(states, "u", "drain")
		settle()
		b.isolate(true)
		settle()
		_, _, _ = a.say(ends, "y", "1"), a.say(ends, "z", "1"), a.say(states, "u", "ready")
		_, _ = a.unsay(ends, "x"), a.unsay(ends, "z")
		bubble.Elapse(20 * time.Second)
		b.want("revocations/x=1 upstreams/u=drain")
		learned := b.shelves[states].learned
		b.isolate(false)
		settle()
		b.want("revocations/y=1 upstreams/u=ready")
		if more := b.shelves[states].learned - learned; more != 1 {
			t.Errorf("%d states were learned, want the one that changed", more)
		}
	})
}

// TestStateThatIsOverTakesThePlaceOfAnEarlierOne on a node that was away when it was said,
// and on one that comes back with the earlier one in its storage.
func TestStateThatIsOverTakesThePlaceOfAnEarlierOne(t *testing.T) {
	inBubble(t, func(t *testing.T, f *memory.Fleet) {
		a, b := start(t, f, "a", options{}), start(t, f, "b", options{})
		defer stopAll(a, b)
		settle()
		_, _ = a.say(states, "u", "drain"), a.say(states, "v", "drain")
		settle()
		b.isolate(true)
		settle()
		_ = a.unsay(states, "u")
		if err := a.board.Share(t.Context(), states, "u", []byte("lapsed")); err != nil {
			t.Error(err)
		}
		b.isolate(false)
		settle()
		again := start(t, f, "c", options{stored: map[ref]string{{states, "u"}: "drain", {states, "v"}: "drain"}})
		defer again.stop()
		settle()
		for _, n := range []*node{a, b, again} {
			n.want("upstreams/v=drain")
		}
	})
}

func TestWhatIsSaidInAnOutageIsToldAfterwards(t *testing.T) {
	inBubble(t, func(t *testing.T, f *memory.Fleet) {
		a, b := start(t, f, "a", options{}), start(t, f, "b", options{})
		defer stopAll(a, b)
		f.Fail(errors.New("down"))
		settle()
		if err := a.say(states, "u", "drain"); !errors.Is(err, ErrLater) {
			t.Errorf("before the engine was there: %v", err)
		}
		f.Fail(nil)
		settle()
		b.want("upstreams/u=drain")
		_ = a.say(ends, "deleted before", "1")
		f.Fail(errors.New("down"))
		for _, err := range []error{
			a.say(ends, "x", "1"), a.unsay(ends, "x"), a.say(ends, "y", "1"), a.unsay(ends, "deleted before"),
			b.say(states, "u", "maintenance"), b.say(states, "u", "ready"),
		} {
			if !errors.Is(err, ErrLater) {
				t.Errorf("in the outage: %v", err)
			}
		}
		settle()
		f.Fail(nil)
		settle()
		a.want("revocations/y=1 upstreams/u=ready")
		b.want("revocations/y=1 upstreams/u=ready")
	})
}

// TestEngineThatHangsDelaysShareForASecond and what was given up does no harm when it is
// done late.
func TestEngineThatHangsDelaysShareForASecond(t *testing.T) {
	inBubble(t, func(t *testing.T, f *memory.Fleet) {
		a, b := start(t, f, "a", options{}), start(t, f, "b", options{})
		defer stopAll(a, b)
		settle()
		f.Stall()
		for _, state := range []string{"drain", "maintenance", "ready", "drain"} {
			began := time.Now()
			if err := a.say(states, "u", state); !errors.Is(err, ErrLater) || time.Since(began) > patience {
				t.Errorf("%v after %v", err, time.Since(began))
			}
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := a.board.Share(ctx, states, "v", []byte("drain")); !errors.Is(err, ErrLater) {
			t.Error(err)
		}
		f.Resume()
		settle()
		b.want("upstreams/u=drain upstreams/v=drain")
	})
}

func TestWhatIsNoRecordIsNotShared(t *testing.T) {
	inBubble(t, func(t *testing.T, f *memory.Fleet) {
		a := start(t, f, "a", options{})
		defer a.stop()
		settle()
		for name, share := range map[string]struct {
			kind string
			data []byte
		}{
			"unknown kind": {"names", []byte("1")},
			"long":         {ends, bytes.Repeat([]byte("1"), maxData+1)},
			"empty":        {ends, []byte{}},
		} {
			if err := a.board.Share(t.Context(), share.kind, "x", share.data); err == nil || errors.Is(err, ErrLater) {
				t.Errorf("%s: %v", name, err)
			}
		}
		if err := a.board.Share(t.Context(), states, "x", bytes.Repeat([]byte("1"), maxData)); err != nil {
			t.Errorf("as long as may be: %v", err)
		}
	})
}

// TestBadRecordsAreSkipped and said once.
func TestBadRecordsAreSkipped(t *testing.T) {
	inBubble(t, func(t *testing.T, f *memory.Fleet) {
		a, b := start(t, f, "a", options{}), start(t, f, "b", options{})
		defer stopAll(a, b)
		settle()
		stranger := start(t, f, "c", options{secret: "another"})
		defer stranger.stop()
		settle()
		for i := range 3 {
			for _, bad := range []string{"damaged", "panic", "lapsed"} {
				_ = a.board.Share(t.Context(), states, fmt.Sprint(bad, i), []byte(bad))
			}
			_ = stranger.board.Share(t.Context(), ends, fmt.Sprint("s", i), []byte("1"))
			_ = f.Engine().Publish(t.Context(), fleet.Record{Kind: ends, ID: fmt.Sprint("g", i), Data: []byte("garbage")},
				fleet.Record{Kind: "unknown", ID: "x", Data: []byte("1")})
		}
		_ = a.say(states, "u", "drain")
		settle()
		a.want("upstreams/u=drain")
		b.want("upstreams/u=drain")
		joins := start(t, f, "d", options{})
		defer joins.stop()
		settle()
		joins.want("upstreams/u=drain")
		for _, n := range []*node{b, joins} {
			said := make(map[string]int)
			for _, line := range n.logs.All() {
				said[line.Message]++
			}
			if len(said) != 3 || said[isDamaged] != 1 || said[isUnknown] != 1 || said[isSealedOtherwise] != 1 {
				t.Errorf("%s says %v", n.id, said)
			}
		}
	})
}

// recorded is an engine that remembers what it is told.
type recorded struct {
	fleet.Engine
	published *[]fleet.Record
}

// Publish implements fleet.Engine.
func (e recorded) Publish(ctx context.Context, records ...fleet.Record) error {
	*e.published = append(*e.published, records...)
	return e.Engine.Publish(ctx, records...)
}

func TestEngineIsToldNothingInClear(t *testing.T) {
	inBubble(t, func(t *testing.T, f *memory.Fleet) {
		var published []fleet.Record
		a := start(t, f, "a", options{engine: func(e fleet.Engine) fleet.Engine { return recorded{e, &published} }})
		settle()
		_, _ = a.say(states, "u", "a secret"), a.say(states, "u", "a secret")
		a.stop()
		if len(published) != 2 || bytes.Equal(published[0].Data, published[1].Data) || published[0].ID != published[1].ID {
			t.Errorf("published are %d records, want two that differ, by one name", len(published))
		}
		other := start(t, f, "b", options{secret: "another"})
		defer other.stop()
		for _, record := range published {
			if strings.Contains(string(record.Data), "secret") || record.ID == "u" {
				t.Errorf("in clear: %q", record)
			}
			if name := other.board.record(ref{states, "u"}, version{}).ID; name == record.ID {
				t.Errorf("under another secret the name is %q as well", name)
			}
			known := a.board.known([]fleet.Record{record})
			if len(known) != 1 || known[0].ID != "u" {
				t.Fatalf("known are %q", known)
			}
			known[0].ID = "v" // it cannot be passed off as another one
			if _, ok := a.board.open(known[0]); ok {
				t.Error("it was opened under another id")
			}
			for _, name := range []string{"", "u", strings.Repeat("0", 32), strings.Repeat("0", 34), strings.ToUpper(record.ID), record.ID + "00"} {
				if _, ok := a.board.sealer.idOf(states, name); ok {
					t.Errorf("%q is the name of a record", name)
				}
			}
			if _, ok := a.board.sealer.idOf(ends, record.ID); ok {
				t.Error("it is the name of a record of another kind")
			}
		}
	})
}

// deaf is an engine whose messages nobody hears.
type deaf struct{ fleet.Engine }

// Listen implements fleet.Engine.
func (deaf) Listen(context.Context, string, func(), func([]byte)) error {
	return errors.New("no messages")
}

func TestNodeThatHearsNoMessagesLearnsByItsBeats(t *testing.T) {
	inBubble(t, func(t *testing.T, f *memory.Fleet) {
		a := start(t, f, "a", options{})
		b := start(t, f, "b", options{engine: func(e fleet.Engine) fleet.Engine { return deaf{e} }})
		defer stopAll(a, b)
		settle()
		_ = a.say(ends, "x", "1")
		bubble.Elapse(3 * time.Second)
		synctest.Wait()
		b.want("revocations/x=1")
		bubble.Elapse(time.Minute)
		if said := b.logs.FilterMessage(isDeaf).Len(); said != 1 || a.logs.Len() != 0 {
			t.Errorf("it was said %d times that nothing is heard, and on the other node are %d lines", said, a.logs.Len())
		}
	})
}

func TestManyRecordsComePageByPage(t *testing.T) {
	inBubble(t, func(t *testing.T, f *memory.Fleet) {
		a, b := start(t, f, "a", options{}), start(t, f, "b", options{})
		defer stopAll(a, b)
		settle()
		b.isolate(true)
		settle()
		for i := range 2*fullPage + 1 {
			_ = a.say(ends, fmt.Sprint(i), "1")
		}
		b.isolate(false)
		bubble.Elapse(2 * time.Second)
		synctest.Wait()
		b.want(text(a.records()))
	})
}
