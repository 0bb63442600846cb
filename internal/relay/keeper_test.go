package relay

import (
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wsgateway/caddy-ws-gateway/internal/bubble"
)

// inMillis returns the moment that comes so many milliseconds from now.
func inMillis(n int) int64 { return monotonic(time.Now()) + int64(n)*int64(time.Millisecond) }

// keeping is a keeper that notes when it has called which relay.
type keeping struct {
	*keeper
	mu     sync.Mutex
	called map[*Relay][]time.Duration // since the test began
	next   []int64                    // what the calls return, in order; then never
}

func newKeeping() *keeping {
	k := &keeping{called: make(map[*Relay][]time.Duration)}
	begin := time.Now()
	k.keeper = newKeeper(func(r *Relay) int64 {
		k.mu.Lock()
		defer k.mu.Unlock()
		k.called[r] = append(k.called[r], time.Since(begin))
		if len(k.next) == 0 {
			return never
		}
		next := k.next[0]
		k.next = k.next[1:]
		return next
	})
	return k
}

// calls returns when a relay was called, once nothing is under way.
func (k *keeping) calls(r *Relay) []time.Duration {
	synctest.Wait()
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.called[r]
}

// isSet stops the clock, and reports whether it was set.
func (k *keeping) isSet() bool { return k.clock != nil && k.clock.Stop() }

func TestKeeperCallsWhatIsDue(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		play func(k *keeping, entry int32)
		want []int // in milliseconds
		set  bool  // whether the clock is, after 5 s
	}{
		"nothing": {func(*keeping, int32) {}, nil, false},
		"set":     {func(k *keeping, e int32) { k.set(e, inMillis(1000)) }, []int{1000}, false},
		"passed":  {func(k *keeping, e int32) { k.set(e, inMillis(-1000)) }, []int{0}, false},
		"later, which changes nothing": {func(k *keeping, e int32) {
			k.set(e, inMillis(1000))
			k.set(e, inMillis(3000))
		}, []int{1000}, false},
		"earlier": {func(k *keeping, e int32) {
			k.set(e, inMillis(3000))
			k.set(e, inMillis(1000))
		}, []int{1000}, false},
		"again": {func(k *keeping, e int32) {
			k.set(e, inMillis(1000))
			bubble.Elapse(2 * time.Second)
			k.set(e, inMillis(1000))
		}, []int{1000, 3000}, false},
		"again, as the call says": {func(k *keeping, e int32) {
			k.next = []int64{inMillis(1500), inMillis(4000)}
			k.set(e, inMillis(1000))
		}, []int{1000, 1500, 4000}, false},
		"never":    {func(k *keeping, e int32) { k.set(e, never) }, nil, false},
		"far away": {func(k *keeping, e int32) { k.set(e, inMillis(600_000)) }, nil, true},
		"left": {func(k *keeping, e int32) {
			k.set(e, inMillis(1000))
			k.leave(e)
		}, nil, false},
		"left long before": {func(k *keeping, e int32) {
			k.set(e, inMillis(600_000))
			k.leave(e)
		}, nil, false},
		"left for another": {func(k *keeping, e int32) {
			k.set(e, inMillis(1000))
			k.leave(e)
			k.set(k.enter(new(Relay)), inMillis(600_000))
		}, nil, true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				k, r, begin := newKeeping(), new(Relay), time.Now()
				tt.play(k, k.enter(r))
				bubble.Elapse(5*time.Second - time.Since(begin))
				got := k.calls(r)
				if len(got) != len(tt.want) {
					t.Fatalf("called at %v, want %v", got, tt.want)
				}
				for i, ms := range tt.want {
					if late := got[i] - time.Duration(ms)*time.Millisecond; late < 0 || late >= 2*wheelTick {
						t.Errorf("called at %v, want %d ms", got[i], ms)
					}
				}
				if set := k.isSet(); set != tt.set {
					t.Errorf("the clock is set: %v, want %v", set, tt.set)
				}
			})
		})
	}
}

func TestKeeperSetsNoClockAtFirst(t *testing.T) {
	t.Parallel()
	k := newKeeper(nil)
	k.leave(k.enter(new(Relay)))
	if k.clock != nil {
		t.Error("there is a clock, though nothing waits")
	}
	if sharedKeeper.due == nil {
		t.Error("the relays of the process are called by nobody")
	}
}

func TestKeeperGivesEntriesOutAgain(t *testing.T) {
	t.Parallel()
	k := newKeeper(nil)
	first, second := k.enter(new(Relay)), k.enter(new(Relay))
	k.leave(first)
	if again := k.enter(new(Relay)); again != first || again == second || len(k.relays) != 2 {
		t.Errorf("entry %d is given out after %d and %d", again, first, second)
	}
}

// TestKeeperServesManyAtOnce has relays set, leave, and be set anew while they are
// called.
func TestKeeperServesManyAtOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const count, rounds = 500, 20
		var k *keeper
		var mu sync.Mutex
		entries, calls := make(map[*Relay]int32), make(map[*Relay]int)
		note := func(r *Relay) (entry int32, again bool) {
			mu.Lock()
			defer mu.Unlock()
			calls[r]++
			return entries[r], calls[r] < rounds
		}
		k = newKeeper(func(r *Relay) int64 {
			entry, again := note(r)
			if !again {
				k.leave(entry)
			}
			return inMillis(rand.IntN(1000)) // counts for nobody who has left
		})
		var all sync.WaitGroup
		for range count {
			all.Go(func() {
				r := new(Relay)
				entry := k.enter(r)
				mu.Lock()
				entries[r] = entry
				mu.Unlock()
				k.set(entry, inMillis(rand.IntN(1000)))
				k.set(entry, inMillis(rand.IntN(1000)))
			})
		}
		all.Wait()
		bubble.Elapse(rounds * 2 * time.Second)
		synctest.Wait()
		if len(calls) != count || len(k.vacant) != count || k.clock.Stop() {
			t.Errorf("%d were called and %d have left, want %d and no clock", len(calls), len(k.vacant), count)
		}
		for _, n := range calls {
			if n != rounds {
				t.Errorf("one was called %d times, want %d", n, rounds)
			}
		}
	})
}

// TestPanicOfWhatIsDueEndsOneConnection has the other relay called all the same, at
// once and later, although the peers of the first take none of its last words.
func TestPanicOfWhatIsDueEndsOneConnection(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		k := newKeeping()
		broken, other := onPipes(Config{}), new(Relay)
		note := k.due
		k.due = func(r *Relay) int64 {
			next := note(r)
			if r == broken.Relay {
				panic("caught in what is due")
			}
			return next
		}
		broken.runOnGoroutines()
		first, second := k.enter(broken.Relay), k.enter(other)
		k.set(first, inMillis(1000))
		k.set(second, inMillis(1000))
		bubble.Elapse(1100 * time.Millisecond)
		k.set(second, inMillis(1000))
		bubble.Elapse(1100 * time.Millisecond)
		if a, b := k.calls(broken.Relay), k.calls(other); len(a) != 1 || len(b) != 2 {
			t.Errorf("called at %v and %v, want once and twice", a, b)
		}
		wantPanic(t, broken.end(t), 1011)
		wantEOF(t, broken.client)
		wantEOF(t, broken.upstream)
	})
}
