package relay

import (
	"encoding/binary"
	"math"
	"math/rand/v2"
	"testing"
	"time"
	"unsafe"
)

const (
	wheelTick = 1 << tickBits
	wheelSpan = wheelTick * wheelSlots << (levelBits * (wheelLevels - 1))
)

// waiting is what a model knows of an entry.
type waiting struct{ at, latest int64 }

// modelOfWheel is a wheel and, beside it, what it should do, found by looking at every
// entry.
type modelOfWheel struct {
	tb    testing.TB
	wheel wheel
	waits map[int32]waiting
	now   int64
}

func newModel(tb testing.TB, now int64) *modelOfWheel {
	return &modelOfWheel{tb: tb, wheel: newWheel(now), waits: make(map[int32]waiting), now: now}
}

// roundUp returns the tick at a moment or after it.
func roundUp(at int64) int64 {
	if at > math.MaxInt64-wheelTick {
		return math.MaxInt64
	}
	return (at + wheelTick - 1) &^ (wheelTick - 1)
}

func (m *modelOfWheel) set(i int32, at int64) {
	m.wheel.set(i, at)
	at = min(at, (m.wheel.tick+maxAhead)<<tickBits)
	if w, ok := m.waits[i]; ok && w.at <= at {
		return
	}
	w := waiting{at, roundUp(at)}
	if at <= m.wheel.looked {
		w.latest = m.now
	}
	m.waits[i] = w
}

func (m *modelOfWheel) remove(i int32) {
	m.wheel.remove(i)
	delete(m.waits, i)
}

// look moves the time on and takes out what is due.
func (m *modelOfWheel) look(now int64) (count int) {
	m.tb.Helper()
	m.now = now
	for i, ok := m.wheel.takeExpired(now); ok; i, ok = m.wheel.takeExpired(now) {
		w, waits := m.waits[i]
		if !waits || w.at > now {
			m.tb.Fatalf("at %d entry %d is due, which waits (%v) for %d", now, i, waits, w.at)
		}
		delete(m.waits, i)
		count++
	}
	for i, w := range m.waits {
		if w.latest <= now {
			m.tb.Fatalf("at %d entry %d is not due, which waits for %d", now, i, w.at)
		}
	}
	m.check()
	return count
}

// wake looks when the wheel wants to be looked at. Something must be due or change
// levels then, unless an entry beyond the last level is just looked at.
func (m *modelOfWheel) wake() {
	m.tb.Helper()
	at, ok := m.wheel.next()
	if !ok {
		return
	}
	before, beyond := m.levels()
	due := m.look(max(at, m.now))
	if after, _ := m.levels(); due == 0 && after == before && !beyond {
		m.tb.Fatalf("woken at %d for nothing", at)
	}
}

// levels returns the sum of the levels where entries are, and whether entries may be
// beyond the last level.
func (m *modelOfWheel) levels() (sum int32, beyond bool) {
	for i, w := range m.waits {
		head := m.wheel.nodes[i+firstEntry].next
		for head >= firstEntry {
			head = m.wheel.nodes[head].next
		}
		sum += (head - firstHead) / wheelSlots
		beyond = beyond || w.at>>1-m.now>>1 > wheelSpan/4
	}
	return sum, beyond
}

// check compares what is visible between two operations.
func (m *modelOfWheel) check() {
	m.tb.Helper()
	at, ok := m.wheel.next()
	if ok != (len(m.waits) > 0) {
		m.tb.Fatalf("next is %v, while %d entries wait", ok, len(m.waits))
	}
	for i, w := range m.waits {
		if at > max(w.latest, m.now) {
			m.tb.Fatalf("next is at %d, which is late for entry %d, due at %d", at, i, w.at)
		}
	}
	for level, filled := range m.wheel.filled {
		for slot := range int64(wheelSlots) {
			head := slotHead(level, slot)
			if has := m.wheel.nodes[head].next != head; has != (filled>>slot&1 == 1) {
				m.tb.Fatalf("level %d slot %d: has entries: %v", level, slot, has)
			}
		}
	}
}

func TestWheelIsDueInTime(t *testing.T) {
	t.Parallel()
	for name, begin := range map[string]int64{
		"start": 0, "negative": -int64(3*time.Hour) + 5, "across zero": -100 * wheelTick,
		"decades": int64(30 * 365 * 24 * time.Hour), "end of a level": wheelSpan - wheelTick,
		"inside a tick": 77*wheelTick + 1, "end of a slot": 512*wheelTick - 1,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			delays := []int64{math.MinInt64, -1, 0, 1, wheelTick - 1, wheelTick, wheelTick + 1, 3*wheelSpan + 12345}
			for level := range wheelLevels {
				slot := int64(wheelTick) << (level * levelBits)
				for _, slots := range []int64{7, 8, 9, 63, 64, 65, 100} {
					delays = append(delays, slots*slot-1, slots*slot, slots*slot+1)
				}
			}
			for _, delay := range delays {
				at := begin + delay
				if delay == math.MinInt64 {
					at = delay
				}
				m := newModel(t, begin)
				m.set(0, at)
				wakes := 0
				for ; len(m.waits) > 0; wakes++ {
					m.wake()
				}
				if want := max(at, begin); m.now < want || m.now >= want+wheelTick {
					t.Errorf("an entry for %d is due %d after %d", at, m.now-want, want)
				}
				if most := 4 + int(max(delay, 0)/wheelSpan); wakes > most {
					t.Errorf("a delay of %d took %d wakes, want at most %d", delay, wakes, most)
				}
			}
		})
	}
}

func TestWheelSetsAndRemoves(t *testing.T) {
	t.Parallel()
	const now = int64(5*time.Hour) + 3
	tests := map[string]struct {
		play func(w *wheel)
		want []int32 // in this order, when an hour has passed
	}{
		"nothing":               {func(*wheel) {}, nil},
		"never set":             {func(w *wheel) { w.remove(7) }, nil},
		"set":                   {func(w *wheel) { w.set(7, now+5) }, []int32{7}},
		"zero":                  {func(w *wheel) { w.set(0, now+5) }, []int32{0}},
		"passed":                {func(w *wheel) { w.set(1, now-5) }, []int32{1}},
		"no moment is a marker": {func(w *wheel) { w.set(1, 0); w.set(2, math.MinInt64); w.set(3, -1) }, []int32{1, 2, 3}},
		"removed":               {func(w *wheel) { w.set(7, now+5); w.remove(7); w.remove(7) }, nil},
		"removed when due":      {func(w *wheel) { w.set(7, now); w.set(8, now); w.remove(7) }, []int32{8}},
		"a later moment":        {func(w *wheel) { w.set(7, now+5); w.set(7, now+int64(2*time.Hour)) }, []int32{7}},
		"an earlier moment":     {func(w *wheel) { w.set(7, now+int64(2*time.Hour)); w.set(7, now+5) }, []int32{7}},
		"set again":             {func(w *wheel) { w.set(7, now+5); w.remove(7); w.set(7, now+int64(2*time.Hour)) }, nil},
		"neighbors": {func(w *wheel) {
			for i := range int32(5) {
				w.set(i, now+5)
			}
			w.remove(2)
			w.remove(0)
			w.remove(4)
		}, []int32{1, 3}},
		"far away": {func(w *wheel) { w.set(7, math.MaxInt64); w.set(8, now+5) }, []int32{8}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWheel(now)
			tt.play(&w)
			for _, want := range tt.want {
				if i, ok := w.takeExpired(now + int64(time.Hour)); i != want || !ok {
					t.Fatalf("%d is due (%v), want %d", i, ok, want)
				}
			}
			if i, ok := w.takeExpired(now + int64(time.Hour)); ok {
				t.Errorf("%d is due as well", i)
			}
		})
	}
}

// step is what a test does to a model. The amount is spread over all that makes a
// difference, from less than a tick to beyond the last level.
func (m *modelOfWheel) step(what, entry, size byte, amount uint16) {
	i := int32(entry % 64)
	delay := int64(amount) << (size % 40)
	switch what % 8 {
	case 0, 1, 2:
		m.set(i, m.now+delay)
	case 3:
		m.set(i, m.now-delay)
	case 4:
		m.remove(i)
	case 5:
		m.look(m.now + min(delay, maxAhead*wheelTick)) // more does not pass between two looks
	default:
		m.wake()
	}
	m.check()
}

func TestWheelDoesWhatItsModelDoes(t *testing.T) {
	t.Parallel()
	for seed := range uint64(300) {
		r := rand.New(rand.NewPCG(seed, 12))
		m := newModel(t, r.Int64N(1<<60)-1<<59)
		widest := 1 + r.IntN(40) // some runs stay in the lower levels
		for range 500 {
			m.step(byte(r.Uint32()), byte(r.Uint32()), byte(r.IntN(widest)), uint16(r.Uint32()))
		}
	}
}

// FuzzWheel takes five bytes for each step.
func FuzzWheel(f *testing.F) {
	f.Add(int64(0), []byte("\x00\x01\x14\x00\x20\x05\x00\x14\x00\x30\x07\x00\x00\x00\x00"))
	f.Add(int64(-1)<<40, []byte("\x00\x01\x27\xff\xff\x00\x02\x17\x00\x40\x06\x00\x00\x00\x00\x04\x01\x00\x00\x00"))
	f.Fuzz(func(t *testing.T, begin int64, steps []byte) {
		m := newModel(t, begin>>2)
		for ; len(steps) >= 5 && m.now < 1<<61; steps = steps[5:] {
			m.step(steps[0], steps[1], steps[2], binary.BigEndian.Uint16(steps[3:]))
		}
	})
}

func TestWheelOfAMillion(t *testing.T) {
	t.Parallel()
	const count = 1_000_000
	if size := unsafe.Sizeof(wheelNode{}); size > 12 {
		t.Errorf("an entry takes %d bytes, want at most 12", size)
	}
	r := rand.New(rand.NewPCG(1, 2))
	w := newWheel(0)
	at := make([]int64, count)
	for i := range at {
		at[i] = r.Int64N(int64(30 * time.Second))
		w.set(int32(i), at[i])
	}
	wakes, due := 0, 0
	for now, ok := w.next(); ok; now, ok = w.next() {
		wakes++
		for i, ok := w.takeExpired(now); ok; i, ok = w.takeExpired(now) {
			if late := now - at[i]; late < 0 || late >= wheelTick {
				t.Fatalf("entry %d is %d late", i, late)
			}
			due++
		}
	}
	if due != count {
		t.Errorf("%d were due, want %d", due, count)
	}
	if ticks := int(int64(30*time.Second)/wheelTick) + 2; wakes > ticks {
		t.Errorf("%d wakes in %d ticks", wakes, ticks)
	}
}

func TestWheelTakesNoStepBack(t *testing.T) {
	t.Parallel()
	m := newModel(t, 100*wheelTick)
	m.set(1, 150*wheelTick)
	m.set(2, 1000*wheelTick)
	if i, ok := m.wheel.takeExpired(50 * wheelTick); ok {
		t.Errorf("%d is due before the beginning", i)
	}
	m.check()
	m.set(3, 160*wheelTick)
	if m.look(160*wheelTick) != 2 || m.look(1000*wheelTick) != 1 {
		t.Error("not all were due")
	}
}

func TestWheelSkipsWhatIsEmpty(t *testing.T) {
	t.Parallel()
	w := newWheel(0)
	w.set(3, int64(time.Second))
	for range 10_000 { // with a visit to every tick this would take minutes
		now := w.looked + int64(100*time.Hour)
		if i, ok := w.takeExpired(now); !ok || i != 3 {
			t.Fatalf("%d is due (%v), want 3", i, ok)
		}
		w.set(3, now+int64(30*time.Second))
	}
}
