package live

import (
	"math/rand/v2"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestConnectionsEndWhenTheyAreDue(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		ended := make(map[*Conn]time.Time)
		d := &deadlines{end: func(c *Conn) {
			mu.Lock()
			defer mu.Unlock()
			ended[c] = time.Now()
		}}
		start := time.Now()
		due := make(map[*Conn]time.Time)
		for range 1000 {
			c := lone("g", "u")
			due[c] = start.Add(time.Duration(rand.IntN(7200)) * time.Second)
			d.set(c, start.Add(time.Hour))
			d.set(c, due[c])
		}
		dropped, never := lone("g", "u"), lone("g", "u")
		d.set(dropped, start.Add(time.Minute))
		d.forget(dropped)
		d.set(dropped, start.Add(time.Minute))
		d.set(never, start.Add(time.Minute))
		d.set(never, time.Time{})
		elapse(3 * time.Hour)
		synctest.Wait()
		if len(ended) != len(due) {
			t.Errorf("%d ended, want %d", len(ended), len(due))
		}
		for c, at := range due {
			if !ended[c].Equal(at) {
				t.Fatalf("ended %s after it was due", ended[c].Sub(at))
			}
		}
		if len(d.queue) != 0 {
			t.Errorf("%d are still in the queue", len(d.queue))
		}
	})
}

func TestDeadlineInTheFarFutureDoesNotOverflow(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ended := 0
		d := &deadlines{end: func(*Conn) { ended++ }}
		c := lone("g", "u")
		d.set(c, time.Date(9999, time.December, 31, 23, 59, 59, 0, time.UTC))
		elapse(time.Hour)
		synctest.Wait()
		if ended != 0 {
			t.Error("ended")
		}
		d.forget(c)
	})
}

func TestMillionDeadlinesAreCheap(t *testing.T) {
	const n = 1_000_000
	all := make([]Conn, n)
	d := &deadlines{end: func(*Conn) {}}
	start := time.Now().Add(time.Hour)
	goroutines := runtime.NumGoroutine()
	before := allocated()
	for i := range all {
		d.set(&all[i], start.Add(time.Duration(i)*time.Millisecond))
	}
	const own = 8 + 8 // due, dueIndex and dueNever
	if each := (allocated()-before)/n + own; each > 100 {
		t.Errorf("%d bytes each, want at most 100", each)
	}
	if more := runtime.NumGoroutine() - goroutines; more > 1 {
		t.Errorf("%d goroutines more", more)
	}
	for i := range all {
		d.forget(&all[i])
	}
}

// allocated is what is allocated now, after a collection.
func allocated() int64 {
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return int64(stats.HeapAlloc)
}

func BenchmarkDeadline(b *testing.B) {
	d := &deadlines{end: func(*Conn) {}}
	all := make([]Conn, 10_000)
	for i := range all {
		d.set(&all[i], time.Now().Add(time.Hour+time.Duration(i)*time.Second))
	}
	var c Conn
	b.ReportAllocs()
	for b.Loop() {
		d.set(&c, time.Now().Add(2*time.Hour))
	}
}
