package balance

import (
	"testing"
	"testing/synctest"
)

func TestLoadsAreThoseOfAllNodes(t *testing.T) {
	t.Parallel()
	for name, policy := range map[string]Policy{"tree": LeastConn{}, "scan": RandomChoose{3}, "hash": BoundedHash{1}} {
		for _, dynamic := range []bool{false, true} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				members, _ := newMembers(3)
				static := members
				if dynamic {
					static = nil
				}
				l := NewLedger()
				b := l.New(Settings{Policy: policy}, static)
				at := addresses(members)
				l.SetElsewhere(map[string]int{at[0]: 90, at[1]: 60, "unknown:80": 5})
				for range 150 {
					if dynamic {
						b.AcquireFrom(new(Lease), Ask{}, members)
					} else {
						b.Acquire(new(Lease), Ask{})
					}
				}
				for i, want := range []int{10, 40, 100} {
					if got := l.Look(at[i]); got.Live != want || got.Live+got.Elsewhere != 100 {
						t.Errorf("%+v, want %d of 100", got, want)
					}
				}
			})
		}
	}
}

func TestLeastLoadedIsAnotherWhereOtherNodesHoldAnotherNumber(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		members, _ := newMembers(2)
		l := NewLedger()
		b := l.New(Settings{Policy: LeastConn{}}, members)
		at := addresses(members)
		for i, row := range []struct {
			elsewhere map[string]int
			want      int
		}{
			{map[string]int{at[0]: 10}, 1},
			{map[string]int{at[1]: 10}, 0},
			{map[string]int{at[0]: 20, at[1]: 10}, 1},
			{map[string]int{at[1]: 10}, 0},
			{map[string]int{at[1]: 10}, 0},
			{nil, 1}, // of which 2 are held here, and 3 of the other
		} {
			l.SetElsewhere(row.elsewhere)
			got, refusal := b.Acquire(new(Lease), Ask{})
			if got != row.want || refusal != None {
				t.Errorf("step %d: %d, %d, want %d", i, got, refusal, row.want)
			}
		}
	})
}

func TestAddressThatComesLaterHasWhatWasSaidOfIt(t *testing.T) {
	t.Parallel()
	members, _ := newMembers(2)
	l := NewLedger()
	l.SetElsewhere(map[string]int{members[1].Address: 7})
	b := l.New(Settings{Policy: LeastConn{}}, members)
	got, _ := take(t, b, members, 7)
	if got[0] != 7 {
		t.Errorf("%v were taken, want all of the one that nobody holds", got)
	}
	l.SetElsewhere(nil)
	if got := l.Look(members[1].Address).Elsewhere; got != 0 {
		t.Errorf("%d are held elsewhere, and there is nobody", got)
	}
}
