//go:build !noloop && !386

package relay

import (
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"
)

var slowOnLoop = map[string]func(t *testing.T, most int64) slowly{
	"loop/plain": func(t *testing.T, most int64) slowly { return onOwnLoop(t, most, onTCP) },
	"loop/TLS":   func(t *testing.T, most int64) slowly { return onOwnLoop(t, most, onTLS) },
}

// onOwnLoop has a loop relay that no other test uses.
func onOwnLoop(t *testing.T, most int64, open func(testing.TB, Config) *fixture) slowly {
	t.Helper()
	b := new(budget)
	b.set(most)
	l := ownLoop(t)
	l.budget = b
	b.enlist(l)
	go l.run()
	return slowly{b, func(f *fixture) { f.startOn(t, l) }, open}
}

// TestBulkIsHeldInPieces has an upstream flood a client whose kernel takes much.
func TestBulkIsHeldInPieces(t *testing.T) {
	t.Parallel()
	for name, open := range map[string]func(testing.TB, Config) *fixture{"plain": onTCP, "TLS": onTLS} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := onOwnLoop(t, 1<<30, open)
			f := open(t, Config{WriteTimeout: time.Minute})
			s.run(f)
			var all sync.WaitGroup
			flood(f, 10_000, &all)
			waitToBeHeld(t, f, Client)
			if held, _ := f.Pending(); held > restSizes[len(restSizes)-1] || s.budget.used.Load() > int64(restSizes[len(restSizes)-1]) {
				t.Errorf("%d bytes are held, and %d charged", held, s.budget.used.Load())
			}
			_ = beneath(f.client).Close()
			_ = f.upstream.Close()
			f.end(t)
			all.Wait()
		})
	}
}

// TestSlowSideThatIsEndedLateInATurnHasItsTime has too much be held while the loop turns, so
// that nobody calls it.
func TestSlowSideThatIsEndedLateInATurnHasItsTime(t *testing.T) {
	t.Parallel()
	l := ownLoop(t)
	b := new(budget)
	b.set(1 << 20)
	l.budget = b
	b.enlist(l)
	f := onTCP(t, Config{})
	small(t, f)
	f.startOn(t, l)
	var all sync.WaitGroup
	flood(f, 10_000, &all)
	eventually(t, "all to stand still", func() bool {
		for range 20 {
			l.takeTurn()
		}
		n, _ := readyEvents(l.epoll, l.events[:])
		return n == 0 && l.stalled.first != nil
	})
	l.awake = true
	slowly{budget: b}.shedAll()
	l.takeTurn()
	if at, waits := l.timers.next(); !f.isEnding() || !waits || at != l.ringAt {
		t.Errorf("it is ending: %t; the clock rings at %d, and %d is waited for: %t", f.isEnding(), l.ringAt, at, waits)
	}
	_, _ = f.client.Close(), f.upstream.Close()
	go l.run()
	l.call()
	f.end(t)
	all.Wait()
}

// TestStalledAreInTheOrderOfTheirLastMove compares with a slice.
func TestStalledAreInTheOrderOfTheirLastMove(t *testing.T) {
	t.Parallel()
	var list stalled
	var want []*chunk
	rng := rand.New(rand.NewPCG(3, 7))
	pool := make([]*chunk, 20)
	for i := range pool {
		pool[i] = new(chunk)
	}
	for n := range 5000 {
		c := pool[rng.IntN(len(pool))]
		want = slices.DeleteFunc(want, func(other *chunk) bool { return other == c })
		if rng.IntN(3) == 0 {
			list.remove(c)
		} else {
			list.touch(c, started.Add(time.Duration(n+1)), int32(n))
			want = append(want, c)
		}
		got, back := []*chunk(nil), []*chunk(nil)
		for c := list.first; c != nil; c = c.later {
			got = append(got, c)
		}
		for c := list.last; c != nil; c = c.earlier {
			back = append(back, c)
		}
		slices.Reverse(back)
		since := int64(0)
		if len(want) > 0 {
			since = monotonic(want[0].moved)
		}
		if !slices.Equal(got, want) || !slices.Equal(back, want) || list.since.Load() != since {
			t.Fatalf("after %d steps, %d are in, want %d", n, len(got), len(want))
		}
	}
}
