package lull

import (
	"runtime/debug"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wsgateway/caddy-ws-gateway/internal/bubble"
)

func TestMemoryIsGivenBackInTheLullAfterAStorm(t *testing.T) {
	t.Parallel()
	seconds := func(n int, more ...int) []int { return append(make([]int, n), more...) }
	for _, test := range []struct {
		name      string
		worth     bool
		opened    []int // in each second
		collected int   // how many seconds have a collection each, from the first
		given     []time.Duration
	}{
		{"a storm", true, []int{storm}, 0, []time.Duration{2 * time.Second}},
		{"too few for a storm", true, []int{storm - 1}, 0, nil},
		{"a storm of some seconds", true, []int{storm / 2, 0, 0, storm / 2}, 0, []time.Duration{5 * time.Second}},
		{"few at a time that come to many", true, append([]int{storm - 1}, seconds(10, 1)...), 0, nil},
		{"a storm after few", true, append([]int{storm / 2}, seconds(10, 2*storm)...), 0, []time.Duration{13 * time.Second}},
		{"not while it lasts", true, []int{storm, lull + 1, lull + 1, lull}, 0, []time.Duration{4 * time.Second}},
		{"not while there is much else", true, []int{storm}, 5, []time.Duration{7 * time.Second}},
		{"nothing to be had", false, []int{storm}, 0, nil},
		{"a storm soon after another", true, []int{storm, 0, 0, storm}, 0, []time.Duration{2 * time.Second, 33 * time.Second}},
		{"a storm of some seconds soon after another", true, append([]int{storm}, seconds(8, storm/2, 0, storm/2)...), 0, []time.Duration{2 * time.Second, 33 * time.Second}},
		{"a storm long after another", true, append([]int{storm}, seconds(59, storm)...), 0, []time.Duration{2 * time.Second, 62 * time.Second}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				var given []time.Duration
				w := watcher{
					collections: func() uint64 { return uint64(min(int(time.Since(began)/time.Second), test.collected)) },
					worth:       func() bool { return test.worth },
					give:        func() { given = append(given, time.Since(began)) },
				}
				for second, n := range test.opened {
					for range n {
						w.note()
					}
					if second == 0 {
						bubble.Elapse(time.Second / 10) // never at the moment of a look that has begun with these
					}
					bubble.Elapse(time.Second)
				}
				bubble.Elapse(time.Hour)
				synctest.Wait()
				if len(given) != len(test.given) {
					t.Fatalf("given back after %v, want %v", given, test.given)
				}
				for i := range given {
					if late := given[i] - test.given[i]; late < -time.Second || late > time.Second {
						t.Errorf("given back after %v, want %v", given, test.given)
					}
				}
			})
		})
	}
}

func TestWhatIsOpenedWhileMemoryIsGivenBackCounts(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		given := 0
		w := watcher{collections: func() uint64 { return 0 }, worth: func() bool { return true }}
		w.give = func() { given++; w.note() }
		for _, n := range []int{storm, 0, 0, 0, 0, storm / 2, storm / 2} {
			for range n {
				w.note()
			}
			bubble.Elapse(2 * time.Second)
		}
		bubble.Elapse(time.Hour)
		synctest.Wait()
		if given != 2 {
			t.Errorf("memory was given back %d times, want twice", given)
		}
	})
}

func TestAPanicDoesNotEscapeALook(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var tried atomic.Int64
		w := watcher{collections: func() uint64 { return 0 }, worth: func() bool { return true }, give: func() { tried.Add(1); panic("in a test") }}
		for range 2 {
			for range storm {
				w.note()
			}
			bubble.Elapse(time.Minute)
		}
		if got := tried.Load(); got != 2 {
			t.Errorf("memory was given back %d times, want twice", got)
		}
	})
}

var held []byte

// Not parallel: it is about the whole process.
func TestGarbageIsWorthGivingBackUnlessCollectionsAreOff(t *testing.T) { //nolint:paralleltest // as said
	was := debug.SetGCPercent(1000)
	defer debug.SetGCPercent(was)
	give()
	if worth() {
		t.Error("there is something to be given back right after it was")
	}
	held = make([]byte, 64<<20)
	held = nil
	if !worth() {
		t.Error("garbage is not worth it")
	}
	debug.SetGCPercent(-1)
	if worth() {
		t.Error("it collects where collections are off")
	}
}
