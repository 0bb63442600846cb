package relay

import (
	"math"
	"slices"
	"sync"
	"testing"
)

// stalls is a holder whose sides hold size bytes each.
type stalls struct {
	budget *budget
	size   int
	sides  []int64 // since when they have been stalled, the longest first
	sheds  int
	ended  []int64
}

func (s *stalls) stalledSince() (int64, bool) {
	if len(s.sides) == 0 {
		return 0, false
	}
	return s.sides[0], true
}

func (s *stalls) shed() { s.sheds++ }

func (s *stalls) end() bool {
	if len(s.sides) == 0 {
		return false
	}
	s.ended, s.sides = append(s.ended, s.sides[0]), s.sides[1:]
	s.budget.uncharge(s.size)
	return true
}

// stall makes a side stall.
func (s *stalls) stall(at int64) {
	s.sides = append(s.sides, at)
	s.budget.charge(s.size)
}

// newStalls returns a budget for ten sides, and two holders.
func newStalls() (*budget, *stalls, *stalls) {
	b := new(budget)
	b.set(10 << 10)
	one, other := &stalls{budget: b, size: 1 << 10}, &stalls{budget: b, size: 1 << 10}
	b.enlist(one)
	b.enlist(other)
	return b, one, other
}

func TestTheLongestStalledOfAllHoldersGoFirst(t *testing.T) {
	t.Parallel()
	b, one, other := newStalls()
	for at := range int64(10) {
		[]*stalls{one, other}[at%2].stall(at)
	}
	if one.sheds+other.sheds > 0 {
		t.Fatal("a holder was asked to shed within the budget")
	}
	for at := range int64(3) {
		other.stall(100 + at)
	}
	if one.sheds != 3 || other.sheds != 0 {
		t.Fatalf("the holder of the longest stalled was asked %d times, the other %d times", one.sheds, other.sheds)
	}
	b.relieve(one, one.end)
	if other.sheds != 1 || !slices.Equal(one.ended, []int64{0}) {
		t.Fatalf("the other was asked %d times after %d were ended", other.sheds, one.ended)
	}
	b.relieve(other, other.end)
	b.relieve(one, one.end)
	if !slices.Equal(one.ended, []int64{0, 2}) || !slices.Equal(other.ended, []int64{1}) {
		t.Errorf("ended are %d and %d", one.ended, other.ended)
	}
	if used := b.used.Load(); used != 10<<10 || b.exceeded() {
		t.Errorf("%d bytes are used", used)
	}
}

func TestHolderShedsItsOwnIfTheOthersAreNotQuickEnough(t *testing.T) {
	t.Parallel()
	b, one, other := newStalls()
	other.stall(1)
	one.size = overshoot + 10<<10
	one.stall(2)
	b.relieve(one, one.end)
	if other.sheds == 0 || !slices.Equal(one.ended, []int64{2}) {
		t.Errorf("the other was asked %d times, and ended are %d", other.sheds, one.ended)
	}
}

func TestNothingToShedIsLeftAlone(t *testing.T) {
	t.Parallel()
	b, one, other := newStalls()
	b.charge(20 << 10) // for nobody who is stalled
	b.relieve(one, one.end)
	if one.sheds+other.sheds != 0 || len(one.ended) != 0 {
		t.Error("a holder without a stalled side was asked to shed")
	}
	one.stall(1)
	b.dismiss(one)
	b.charge(1)
	if one.sheds != 1 {
		t.Errorf("a holder that is dismissed was asked %d times, want the once before", one.sheds)
	}
}

func TestPiecesBecomeSmallAsTheBudgetIsUsed(t *testing.T) {
	t.Parallel()
	b := new(budget)
	b.set(1000)
	for _, step := range []struct{ used, want int }{
		{0, largePiece}, {499, largePiece}, {500, mediumPiece}, {749, mediumPiece}, {750, smallPiece}, {5000, smallPiece},
	} {
		b.used.Store(int64(step.used))
		if got := b.pieceSize(); got != step.want {
			t.Errorf("with %d of 1000 used, pieces are of %d, want %d", step.used, got, step.want)
		}
	}
}

func TestBudgetIsTheDefaultUntilItIsSet(t *testing.T) {
	t.Parallel()
	b := new(budget)
	for _, step := range []struct{ set, want int64 }{{0, DefaultBuffers()}, {123, 123}, {-1, DefaultBuffers()}, {7, 7}, {0, DefaultBuffers()}} {
		b.set(step.set)
		if got := b.limit(); got != step.want {
			t.Errorf("set to %d, the budget is %d, want %d", step.set, got, step.want)
		}
	}
}

func TestChargesOfManyGoroutinesAddUp(t *testing.T) {
	t.Parallel()
	b, _, _ := newStalls()
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for n := range 1000 {
				b.charge(n)
				b.uncharge(n)
			}
		})
	}
	all.Wait()
	if used := b.used.Load(); used != 0 {
		t.Errorf("%d bytes are used at the end", used)
	}
}

func TestChargeAllocatesNothing(t *testing.T) {
	b, one, _ := newStalls()
	one.stall(1)
	if n := testing.AllocsPerRun(100, func() {
		b.charge(20 << 10)
		b.uncharge(20 << 10)
	}); n > 0 {
		t.Errorf("a charge allocates %.0f times", n)
	}
}

func TestDefaultIsAnEighthOfTheMemory(t *testing.T) {
	t.Parallel()
	const none = math.MaxInt64
	for _, c := range []struct {
		name                string
		limit, system, want int64
	}{
		{"a limit", 4 << 30, 64 << 30, 512 << 20},
		{"a small limit", 256 << 20, 64 << 30, 64 << 20},
		{"no limit", none, 64 << 30, 8 << 30},
		{"no limit on a small machine", none, 128 << 20, 64 << 20},
		{"a limit of zero", 0, 64 << 30, 64 << 20},
	} {
		if got := defaultBuffers(c.limit, c.system); got != c.want {
			t.Errorf("%s: got %d, want %d", c.name, got, c.want)
		}
	}
}

func TestMemoryOfTheMachineIsRead(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]int64{
		"MemTotal:       16384000 kB\nMemFree: 1 kB\n": 16384000 << 10,
		"MemFree: 1 kB\nMemTotal: 2 kB\n":              2 << 10,
		"":                                             assumedMemory,
		"MemTotal:\n":                                  assumedMemory,
		"MemTotal: 0 kB\n":                             assumedMemory,
		"MemTotal: -5 kB\n":                            assumedMemory,
		"MemTotal: 5 MB\n":                             assumedMemory,
		"MemTotal: 99999999999999999999 kB\n":          assumedMemory,
		"MemTotal: 9007199254740993000 kB\n":           assumedMemory,
	} {
		if got := parseMemory([]byte(text)); got != want {
			t.Errorf("%q: got %d, want %d", text, got, want)
		}
	}
}
