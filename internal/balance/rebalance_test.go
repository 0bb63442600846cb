package balance

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// randomShares draws what a fleet of hosts may hold.
func randomShares(rng *rand.Rand, weighted bool) []Share {
	shares := make([]Share, 1+rng.IntN(20))
	most := 1 + rng.IntN(500)
	for i := range shares {
		shares[i] = Share{Address: string(rune('a' + i)), Live: rng.IntN(most), Weight: 1}
		if weighted {
			shares[i].Weight = []float64{0.05, 0.5, 1, 2, 5}[rng.IntN(5)]
		}
	}
	return shares
}

// due is what a host should hold.
func due(shares []Share, i int) float64 {
	total, weights := sums(shares)
	return total * shares[i].Weight / weights
}

// isOff reports whether a host is further from its share than it may be.
func isOff(shares []Share, i int) bool {
	off := math.Abs(float64(shares[i].Live) - due(shares, i))
	return off >= 1 && off > 0.1*due(shares, i)
}

// excess is how much a host holds above its share, for its weight; nothing where
// one less would put it below.
func excess(shares []Share, i int) float64 {
	over := float64(shares[i].Live) - due(shares, i)
	if over < 1 {
		return 0
	}
	return over / shares[i].Weight
}

func TestFullestIsFurthestAboveItsShareWhileAnyIsOffByMoreThanTheSlack(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(1, 1))
	for range 5000 {
		shares := randomShares(rng, true)
		fullest, found := Fullest(shares)
		uneven, most := false, 0.0
		for i := range shares {
			uneven = uneven || isOff(shares, i)
			most = max(most, excess(shares, i))
		}
		if found != (uneven && most > 0) {
			t.Fatalf("found %t, uneven %t, in %v", found, uneven, shares)
		}
		if at := slices.Index(shares, fullest); found && excess(shares, at) < most-1e-9 {
			t.Fatalf("%v was taken although another is fuller, in %v", fullest, shares)
		}
	}
}

func TestNothingIsFullestWhereAllHoldTheirShare(t *testing.T) {
	t.Parallel()
	for name, shares := range map[string][]Share{
		"none there":             nil,
		"nothing held":           {{Address: "a", Live: 0, Weight: 1}, {Address: "b", Live: 0, Weight: 1}},
		"alone":                  {{Address: "a", Live: 1000, Weight: 1}},
		"even":                   {{Address: "a", Live: 10, Weight: 1}, {Address: "b", Live: 10, Weight: 1}},
		"by weight":              {{Address: "a", Live: 30, Weight: 3}, {Address: "b", Live: 10, Weight: 1}},
		"one apart":              {{Address: "a", Live: 2, Weight: 1}, {Address: "b", Live: 1, Weight: 1}},
		"less than one above":    {{Address: "a", Live: 1, Weight: 1}, {Address: "b", Live: 0, Weight: 1}, {Address: "c", Live: 0, Weight: 1}},
		"within the slack":       {{Address: "a", Live: 110, Weight: 1}, {Address: "b", Live: 90, Weight: 1}},
		"within it, by weight":   {{Address: "a", Live: 310, Weight: 3}, {Address: "b", Live: 90, Weight: 1}},
		"a cold one of no share": {{Address: "a", Live: 10, Weight: 1}, {Address: "b", Live: 0, Weight: 0.05}},
		"none by one above":      {{Address: "a", Live: 6, Weight: 1}, {Address: "b", Live: 6, Weight: 1}, {Address: "c", Live: 6, Weight: 1}, {Address: "d", Live: 6, Weight: 1}, {Address: "e", Live: 3, Weight: 1}},
	} {
		if s, found := Fullest(shares); found {
			t.Errorf("%s: %v is to give one up", name, s)
		}
	}
	if s, found := Fullest([]Share{{Address: "a", Live: 111, Weight: 1}, {Address: "b", Live: 89, Weight: 1}}); !found || s.Address != "a" {
		t.Errorf("just above the slack: %v, %t", s, found)
	}
	if s, found := Fullest([]Share{{Address: "a", Live: 55, Weight: 1}, {Address: "b", Live: 54, Weight: 1}, {Address: "c", Live: 53, Weight: 1}, {Address: "d", Live: 38, Weight: 1}}); !found || s.Address != "a" {
		t.Errorf("one is below by more than the slack, nobody above: %v, %t", s, found)
	}
}

func TestSurplusIsWhatIsAboveTheShares(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		shares []Share
		want   int
	}{
		"none there": {nil, 0},
		"even":       {[]Share{{Address: "a", Live: 5, Weight: 1}, {Address: "b", Live: 5, Weight: 1}}, 0},
		"one is new": {[]Share{{Address: "a", Live: 100, Weight: 1}, {Address: "b", Live: 100, Weight: 1}, {Address: "c", Live: 0, Weight: 1}}, 66},
		"by weight":  {[]Share{{Address: "a", Live: 100, Weight: 3}, {Address: "b", Live: 100, Weight: 1}}, 50},
		"all at one": {[]Share{{Address: "a", Live: 100, Weight: 1}, {Address: "b", Live: 0, Weight: 1}}, 50},
		"is rounded": {[]Share{{Address: "a", Live: 1, Weight: 1}, {Address: "b", Live: 0, Weight: 1}}, 0},
	} {
		if got := Surplus(row.shares); got != row.want {
			t.Errorf("%s: %d, want %d", name, got, row.want)
		}
	}
	rng := rand.New(rand.NewPCG(2, 2))
	for range 5000 {
		shares := randomShares(rng, true)
		total, _ := sums(shares)
		above, below := 0.0, 0.0
		for i, s := range shares {
			over := float64(s.Live) - due(shares, i)
			above, below = above+max(over, 0), below+max(-over, 0)
		}
		if math.Abs(above-below) > 1e-6*max(1, total) {
			t.Fatalf("%v are above and %v below in %v", above, below, shares)
		}
		if got := float64(Surplus(shares)); got > above+1e-9 || got < above-1-1e-9 {
			t.Fatalf("%v, but %v are above their share in %v", got, above, shares)
		}
	}
}

// Whoever is taken from the fullest comes back to the least loaded. It must come
// to an end within the surplus, with all within the slack, and nobody may be
// taken from who received.
func TestMovingTheSurplusMakesAllEvenAndEnds(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(3, 3))
	for range 3000 {
		shares := randomShares(rng, false)
		budget := Surplus(shares)
		received := make(map[string]bool)
		moved := 0
		for {
			fullest, found := Fullest(shares)
			if !found {
				break
			}
			if moved++; moved > budget {
				t.Fatalf("moved more than the %d that were over: %v", budget, shares)
			}
			if received[fullest.Address] {
				t.Fatalf("%s gives up what it was given: %v", fullest.Address, shares)
			}
			at := slices.Index(shares, fullest)
			shares[at].Live--
			candidates := make([]Candidate, len(shares))
			for i, s := range shares {
				candidates[i] = Candidate{Index: i, Address: s.Address, Load: s.Live, Weight: s.Weight}
			}
			to := LeastConn{}.choose("", candidates)
			shares[to].Live++
			received[shares[to].Address] = true
		}
		for i, s := range shares {
			mean, slack := due(shares, i), 1.0
			if n := float64(len(shares)); mean < 10*n { // what is below by as much as nobody is one above
				slack = n
			}
			if off := math.Abs(float64(s.Live) - mean); off > max(0.1*mean, slack) {
				t.Fatalf("%v is left more than 10 %% off %v, in %v", s, mean, shares)
			}
		}
	}
}

// Weights make the steps uneven, so that the last few may go back and forth; the
// budget ends that.
func TestMovingTheSurplusKeepsTheWeights(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(4, 4))
	for range 1000 {
		members, _ := newMembers(6, 1, 2, 3, 1, 2, 3)
		shares := make([]Share, len(members))
		for i, m := range members {
			shares[i] = Share{Address: m.Address, Live: 20 + rng.IntN(300), Weight: m.Weight}
		}
		for range Surplus(shares) {
			fullest, found := Fullest(shares)
			if !found {
				break
			}
			shares[slices.Index(shares, fullest)].Live--
			candidates := make([]Candidate, len(shares))
			for i, s := range shares {
				candidates[i] = Candidate{Index: i, Address: s.Address, Load: s.Live, Weight: s.Weight}
			}
			shares[LeastConn{}.choose("", candidates)].Live++
		}
		for i, s := range shares {
			if want := due(shares, i); math.Abs(float64(s.Live)-want) > 0.1*want+1 {
				t.Fatalf("%v is left more than 10 %% off %v: %v", s, want, shares)
			}
		}
	}
}

func TestSharesAreOfThoseThatCanTakeMore(t *testing.T) {
	t.Parallel()
	for policy, p := range map[string]Policy{"tree": LeastConn{}, "scan": new(RoundRobin)} {
		t.Run(policy, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				members, hosts := newMembers(6, 1, 2, 0, 1, 1, 1)
				l := NewLedger()
				b := l.New(Settings{Policy: p, SlowStart: 100 * time.Second, MaxConns: 1}, members)
				elapse(time.Hour)
				take(t, b, members, 5)
				hosts[3].down.Store(true)
				l.SetState(members[4].Address, Drain)
				l.SetState(members[5].Address, Maintenance)
				elapse(time.Second)
				b.Arrived()
				l.SetState(members[5].Address, Ready)
				elapse(30 * time.Second)
				live := map[string]int{members[0].Address: 7, members[1].Address: 9, members[5].Address: 1}
				got := b.Shares(members, func(address string) int { return live[address] })
				want := []Share{{Address: members[0].Address, Live: 7, Weight: 1}, {Address: members[1].Address, Live: 9, Weight: 2}, {Address: members[5].Address, Live: 1, Weight: 0.3}}
				if !slices.Equal(got, want) {
					t.Errorf("got %v, want %v: full ones too, warm by their weight, cold ones by less", got, want)
				}
			})
		})
	}
}

// Nothing may have to be asked for in between: connections that last are exactly
// where no handshakes come.
func TestArrivalIsToldOnce(t *testing.T) {
	t.Parallel()
	for policy, p := range map[string]Policy{"tree": LeastConn{}, "scan": new(RoundRobin)} {
		t.Run(policy, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				members, hosts := newMembers(2)
				l := NewLedger()
				b := l.New(Settings{Policy: p, MaxFails: 1, FailDuration: time.Minute}, members)
				expect := func(what string, want bool) {
					t.Helper()
					if got := b.Arrived(); got != want {
						t.Errorf("%s: %t", what, got)
					}
					if b.Arrived() {
						t.Errorf("%s: told twice", what)
					}
				}
				expect("new", true)
				hosts[0].down.Store(true)
				expect("down", false)
				elapse(time.Second)
				hosts[0].down.Store(false)
				expect("recovered", true)
				l.SetState(members[1].Address, Maintenance)
				expect("in maintenance", false)
				l.SetState(members[1].Address, Ready)
				expect("ready", true)
				l.SetState(members[1].Address, Ready)
				expect("ready as before", false)
				b.Fail(members[1].Address)
				expect("failed", false)
				elapse(time.Hour)
				expect("its failures are over", true)
				expect("nothing new", false)
			})
		})
	}
}

func TestAddressThatEveryoneKnowsDoesNotArrive(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		members, _ := newMembers(3)
		l := NewLedger()
		first := l.New(Settings{Policy: LeastConn{}}, members[:2])
		first.Arrived()
		elapse(time.Minute)
		if same := l.New(Settings{Policy: LeastConn{}}, members[:2]); same.Arrived() {
			t.Error("the same upstreams again, as after a reload, are new")
		}
		if more := l.New(Settings{Policy: LeastConn{}}, members); !more.Arrived() {
			t.Error("one that was added is not new")
		}
	})
}

func TestDynamicMemberArrivesWhenItIsFirstSeen(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		members, _ := newMembers(2)
		b := NewLedger().New(Settings{Policy: LeastConn{}}, nil)
		for _, row := range []struct {
			members []Member
			arrives bool
		}{{members[:1], true}, {members[:1], false}, {members, true}, {members[1:], false}, {members, false}} {
			b.AcquireFrom(new(Lease), Ask{}, row.members)
			if got := b.Arrived(); got != row.arrives {
				t.Errorf("with %d members: %t", len(row.members), got)
			}
		}
	})
}
