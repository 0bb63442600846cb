//go:build unix

package relay

import (
	"container/heap"
	"math/rand/v2"
	"runtime"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// Benchmarks of what it costs that each of a million connections has something to do
// once in 30 s: with a wheel, with a heap, and with a timer of the runtime for each.
const (
	benchEntries  = 1_000_000
	benchInterval = int64(30 * time.Second)
)

// deadlines is what a wheel and a heap have in common.
type deadlines interface {
	set(i int32, at int64)
	next() (at int64, ok bool)
	takeExpired(now int64) (i int32, ok bool)
}

// heapTimers is what was before the wheel.
type heapTimers struct {
	waits []heapTimer
	where []int32 // by entry, the index in waits plus one, or 0
}

type heapTimer struct {
	at    int64
	entry int32
}

func (h *heapTimers) set(i int32, at int64) {
	where := int(h.where[i]) - 1
	switch {
	case where < 0:
		heap.Push(h, heapTimer{at, i})
	case at < h.waits[where].at:
		h.waits[where].at = at
		heap.Fix(h, where)
	}
}

func (h *heapTimers) next() (at int64, ok bool) {
	if len(h.waits) == 0 {
		return 0, false
	}
	return h.waits[0].at, true
}

func (h *heapTimers) takeExpired(now int64) (i int32, ok bool) {
	if len(h.waits) == 0 || h.waits[0].at > now {
		return 0, false
	}
	return heap.Pop(h).(heapTimer).entry, true
}

// Len implements heap.Interface.
func (h *heapTimers) Len() int { return len(h.waits) }

// Less implements heap.Interface.
func (h *heapTimers) Less(i, j int) bool { return h.waits[i].at < h.waits[j].at }

// Swap implements heap.Interface.
func (h *heapTimers) Swap(i, j int) {
	s := h.waits
	s[i], s[j] = s[j], s[i]
	h.where[s[i].entry], h.where[s[j].entry] = int32(i+1), int32(j+1)
}

// Push implements heap.Interface.
func (h *heapTimers) Push(x any) {
	h.waits = append(h.waits, x.(heapTimer))
	h.where[x.(heapTimer).entry] = int32(len(h.waits))
}

// Pop implements heap.Interface.
func (h *heapTimers) Pop() any {
	last := h.waits[len(h.waits)-1]
	h.waits = h.waits[:len(h.waits)-1]
	h.where[last.entry] = 0
	return last
}

// heapInUse returns how much memory is in use after a collection.
func heapInUse() int64 {
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return int64(stats.HeapAlloc)
}

// cpuTime returns the processor time that the process has taken.
func cpuTime(b *testing.B) time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		b.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// BenchmarkWheelExpiry lets the time pass tick by tick; an operation is that one entry
// is due and set again. It reports the processor time of that, also in proportion to the
// wheel's, what an entry takes in memory, and the longest time of one look.
func BenchmarkWheelExpiry(b *testing.B) {
	var wheelCost float64
	report := func(b *testing.B, spent time.Duration, count int, memory int64) {
		cost := float64(spent) / float64(count)
		if wheelCost == 0 {
			wheelCost = cost
		}
		b.ReportMetric(cost, "ns/expiry")
		b.ReportMetric(cost/wheelCost, "x-wheel")
		b.ReportMetric(float64(memory)/benchEntries, "B/entry")
		b.ReportMetric(0, "ns/op")
	}
	for _, kind := range []struct {
		name     string
		interval int64
		make     func() deadlines
	}{
		{"wheel", benchInterval, func() deadlines { w := newWheel(0); return &w }},
		{"heap", benchInterval, func() deadlines { return &heapTimers{where: make([]int32, benchEntries)} }},
		{"wheel-60s", 2 * benchInterval, func() deadlines { w := newWheel(0); return &w }},
	} {
		b.Run(kind.name, func(b *testing.B) {
			before := heapInUse()
			d := kind.make()
			r := rand.New(rand.NewPCG(1, 2))
			for i := range int32(benchEntries) {
				d.set(i, r.Int64N(kind.interval))
			}
			memory := heapInUse() - before
			now := int64(0)
			expire(b, d, &now, kind.interval, 2*benchEntries) // no entry is where it was put at first
			began, n := cpuTime(b), max(b.N, 3*benchEntries)
			b.ResetTimer()
			worst := expire(b, d, &now, kind.interval, n)
			report(b, cpuTime(b)-began, n, memory)
			b.ReportMetric(float64(worst.Microseconds()), "µs/worst-look")
		})
	}
	b.Run("runtime", func(b *testing.B) {
		spent, count, memory := expireRuntimeTimers(b)
		report(b, spent, count, memory)
	})
}

// expire lets the time pass until so many entries have been due, and returns how long
// it has taken at most until the first entry of a tick was known.
func expire(b *testing.B, d deadlines, now *int64, interval int64, count int) (worst time.Duration) {
	for count > 0 {
		*now += wheelTick
		began := cpuTime(b)
		i, ok := d.takeExpired(*now)
		worst = max(worst, cpuTime(b)-began)
		for ; ok && count > 0; i, ok = d.takeExpired(*now) {
			d.set(i, *now+interval)
			count--
		}
		d.next()
	}
	return worst
}

// expireRuntimeTimers has a million timers expire in two seconds, which each are set
// again to 30 s later. A timer of the runtime goes by the real time alone, so that not
// the time that passes is measured but that of the processors.
func expireRuntimeTimers(b *testing.B) (spent time.Duration, count int, memory int64) {
	timers := make([]*time.Timer, benchEntries)
	var due atomic.Int64
	all := make(chan struct{})
	before := heapInUse()
	for i := range timers {
		timers[i] = time.AfterFunc(time.Hour+time.Duration(i), func() {
			timers[i].Reset(time.Duration(benchInterval))
			if due.Add(1) == benchEntries {
				close(all)
			}
		})
	}
	memory = heapInUse() - before
	for _, t := range timers {
		t.Reset(2*time.Second + time.Duration(rand.Int64N(int64(2*time.Second))))
	}
	began := cpuTime(b)
	b.ResetTimer()
	<-all
	spent = cpuTime(b) - began
	for _, t := range timers {
		t.Stop()
	}
	return spent, benchEntries, memory
}

// BenchmarkWheelLook looks at a wheel of a million entries when nothing is due: within a
// tick, and tick by tick.
func BenchmarkWheelLook(b *testing.B) {
	for _, kind := range []struct {
		name string
		step int64
	}{{"same-tick", 0}, {"idle-tick", wheelTick}} {
		b.Run(kind.name, func(b *testing.B) {
			w := newWheel(0)
			for i := range int32(benchEntries) {
				w.set(i, 1<<62+int64(i))
			}
			now := w.looked
			for b.Loop() {
				now += kind.step
				if _, ok := w.takeExpired(now); ok {
					b.Fatal("something is due")
				}
				w.next()
			}
		})
	}
}

// BenchmarkWheelSet sets a deadline that is later than the one before, as traffic does,
// and moves one.
func BenchmarkWheelSet(b *testing.B) {
	w := newWheel(0)
	for i := range int32(benchEntries) {
		w.set(i, benchInterval+int64(i))
	}
	b.Run("later", func(b *testing.B) {
		for i := int32(0); b.Loop(); i = (i + 7919) % benchEntries {
			w.set(i, 2*benchInterval)
		}
	})
	b.Run("removed-and-set", func(b *testing.B) {
		for i := int32(0); b.Loop(); i = (i + 7919) % benchEntries {
			w.remove(i)
			w.set(i, benchInterval+int64(i)*20)
		}
	})
}
