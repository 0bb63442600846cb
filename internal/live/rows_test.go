package live

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wsgateway/caddy-ws-gateway/internal/pace"
	"github.com/wsgateway/caddy-ws-gateway/internal/relay"
)

// idle adds a connection that carries nothing, for tests of what lists it.
func idle(s *Set, d Details, by Authority) *Conn {
	if d.ID == "" {
		d.ID = NewID()
	}
	if d.Upstream == "" {
		d.Upstream = "a:1"
	}
	if d.Link == nil {
		d.Protocol, d.Link = ProtocolWebSocket, relay.New(relay.Config{})
	}
	c := s.NewConn(d, d.Upstream, by)
	s.Add(c)
	return c
}

// idsOf lists the IDs of rows.
func idsOf(rows []Row) []string {
	ids := make([]string, 0, len(rows))
	for i := range rows {
		ids = append(ids, rows[i].ID)
	}
	return ids
}

// walkPages asks for page after page.
func walkPages(s *Set, limit int) (all []string) {
	after := ""
	for {
		page := idsOf(s.Rows(Query{Limit: limit, After: after}))
		all = append(all, page...)
		if len(page) < limit {
			return all
		}
		after = page[len(page)-1]
	}
}

func TestPagesHaveEachConnectionOnceWhileOthersComeAndGo(t *testing.T) {
	t.Parallel()
	s := newSet()
	s.Name("a:1")
	var stay []string
	for range 3000 {
		stay = append(stay, idle(s, Details{Gateway: "stays"}, Authority{}).ID)
	}
	slices.Sort(stay)
	stop := make(chan struct{})
	var churn sync.WaitGroup
	for range 2 {
		churn.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					s.Remove(idle(s, Details{Gateway: "comes and goes"}, Authority{}))
				}
			}
		})
	}
	for _, limit := range []int{1, 7, 100, 2999, 3000, 10_000} {
		all := walkPages(s, limit)
		if !slices.IsSorted(all) || len(slices.Compact(slices.Clone(all))) != len(all) {
			t.Errorf("pages of %d are not in order, or have a connection twice", limit)
		}
		missing := slices.DeleteFunc(slices.Clone(stay), func(id string) bool {
			_, found := slices.BinarySearch(all, id)
			return found
		})
		if len(missing) > 0 {
			t.Errorf("pages of %d lack %d", limit, len(missing))
		}
	}
	close(stop)
	churn.Wait()
	if n := len(s.Rows(Query{Limit: 10_000, Filter: Filter{Gateway: "stays"}})); n != len(stay) {
		t.Errorf("%d of the gateway are listed, want %d", n, len(stay))
	}
}

func TestShardsAreInTheOrderOfIDs(t *testing.T) {
	t.Parallel()
	for i := range 1 << 12 {
		if got := shardOf(fmt.Sprintf("%03x0000000000000", i)); got != i/4 {
			t.Errorf("%03x is in shard %d", i, got)
		}
	}
	if !IsID(NewID()) || IsID("") || IsID("00") || IsID("zz00000000000000") || IsID("AB00000000000000") {
		t.Error("what is an ID is not told from what is none")
	}
}

func TestLargestComeFirst(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSet()
		s.Name("a:1")
		var oldest []string
		for range 200 {
			oldest = append(oldest, idle(s, Details{OpenedAt: time.Now()}, Authority{}).ID)
			elapse(time.Second)
		}
		for _, sort := range []string{"age", "idle"} {
			for _, limit := range []int{1, 10, 199, 200, 1000} {
				got := idsOf(s.Rows(Query{Sort: sort, Limit: limit}))
				if want := oldest[:min(limit, len(oldest))]; !slices.Equal(got, want) {
					t.Errorf("by %s, %d: not the oldest", sort, limit)
				}
			}
		}
		equal := slices.Sorted(slices.Values(oldest))
		for _, sort := range []string{"rate", "pending", "rtt"} {
			if got := idsOf(s.Rows(Query{Sort: sort, Limit: 50})); !slices.Equal(got, equal[:50]) {
				t.Errorf("by %s: those that are equal are not in the order of IDs", sort)
			}
		}
	})
}

func TestSortKeysAreWhatTheirNamesSay(t *testing.T) {
	t.Parallel()
	now := time.Now()
	c := lone("gw", "")
	c.OpenedAt = now.Add(-3 * time.Second)
	look := &relay.Look{
		LastActive: now.Add(-2 * time.Second), RTT: time.Millisecond, Pending: 7,
		PaceFromClient: pace.Pace{Messages: 100, Bytes: 5}, PaceFromUpstream: pace.Pace{Messages: 100, Bytes: 6},
	}
	for name, want := range map[string]float64{"age": 3, "idle": 2, "rate": 11, "pending": 7, "rtt": 0.001} {
		if got := sortKeys[name](c, look, now); got != want {
			t.Errorf("%s: %v, want %v", name, got, want)
		}
	}
	if sortKeys["rtt"](c, new(relay.Look), now) >= 0 {
		t.Error("one without a pong does not come last")
	}
	if len(sortKeys) != len(Sorts) {
		t.Errorf("%d keys for %v", len(sortKeys), Sorts)
	}
}

func TestFiltersChooseAmongLiveAndEndedAlike(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSet()
		s.Name("a:1")
		s.Name("b:1")
		idle(s, Details{Gateway: "one", UserID: "alice", RemoteIP: "::ffff:192.0.2.1", OpenedAt: time.Now()}, NewAuthority("j1", "", "", time.Time{}, time.Time{}))
		elapse(time.Minute)
		idle(s, Details{Gateway: "two", UserID: "bob", RemoteIP: "@", Upstream: "b:1", OpenedAt: time.Now()}, Authority{})
		for _, row := range []struct {
			filter     Filter
			live, past string
		}{
			{Filter{}, "alice bob", "alice bob"},
			{Filter{Gateway: "one"}, "alice", "alice"},
			{Filter{Gateway: "one", User: "bob"}, "", ""},
			{Filter{User: "bob"}, "bob", "bob"},
			{Filter{Upstream: "b:1"}, "bob", "bob"},
			{Filter{IP: "192.0.2.1"}, "alice", "alice"},
			{Filter{IP: "::ffff:c000:201"}, "alice", "alice"},
			{Filter{IP: "@"}, "bob", "bob"},
			{Filter{IP: "192.0.2.2"}, "", ""},
			{Filter{JTI: "j1"}, "alice", "alice bob"},
			{Filter{JTI: "j2"}, "", "alice bob"},
			{Filter{OlderThan: 30 * time.Second}, "alice", "alice bob"},
			{Filter{OlderThan: time.Hour}, "", "alice bob"},
		} {
			if got := usersOf(s.Rows(Query{Filter: row.filter, Limit: 10})); got != row.live {
				t.Errorf("%+v: %q, want %q", row.filter, got, row.live)
			}
			for _, c := range s.list(func(*Conn) bool { return true }) {
				s.journal.noteEnd(c, &relay.Outcome{})
			}
			if got := usersOf(s.Closed(row.filter, 2)); got != row.past {
				t.Errorf("ended, %+v: %q, want %q", row.filter, got, row.past)
			}
			s.journal.gateways = make(map[string]*pages)
		}
	})
}

func usersOf(rows []Row) string {
	var users []string
	for i := range rows {
		users = append(users, rows[i].User)
	}
	slices.Sort(users)
	return strings.Join(users, " ")
}

func TestRowsHoldNothingOfACredential(t *testing.T) {
	t.Parallel()
	s := newSet()
	s.Name("a:1")
	s.NewCredentials().Accept([]string{"secret-credential"}, []string{"a:1"})
	by := NewAuthority("secret-jti", "secret-credential", "secret-issuer", time.Now(), time.Now().Add(time.Hour))
	c := idle(s, Details{Gateway: "gw", UserID: "alice", OpenedAt: time.Now()}, by)
	s.journal.noteEnd(c, &relay.Outcome{})
	for _, rows := range [][]Row{s.Rows(Query{Limit: 10}), s.Rows(Query{Limit: 10, Sort: "age"}), {*s.Row(c.ID)}, s.Closed(Filter{}, 10)} {
		text, err := json.Marshal(rows)
		if err != nil || strings.Contains(string(text), "secret") || len(rows) != 1 {
			t.Errorf("%s: %v", text, err)
		}
	}
}

// held is for how long the lock of a set is held for a shard: the median, and the longest
// of a hundred shards.
func held(s *Set) (median, most time.Duration) {
	match := (&Filter{IP: "192.0.2.1", OlderThan: time.Hour}).locked(time.Now())
	seen := make([]sight, 0, 4096)
	var all []time.Duration
	for _, match := range []func(*Conn) bool{match, func(*Conn) bool { return true }} {
		for i := range s.connections.shards {
			begun := time.Now()
			seen = s.see(i, seen[:0], match)
			all = append(all, time.Since(begun))
		}
	}
	slices.Sort(all)
	return all[len(all)/2], all[len(all)*99/100]
}

// many is a set with many connections.
func many(n int) *Set {
	s := newSet()
	s.Name("a:1")
	for i := range n {
		idle(s, Details{
			Gateway: "gw", UserID: fmt.Sprint("user", i), RemoteIP: fmt.Sprintf("10.0.%d.%d", i>>8&255, i&255), Proto: "HTTP/1.1",
			OpenedAt: time.Now().Add(-time.Duration(rand.IntN(1e6)) * time.Millisecond),
		}, NewAuthority(NewID(), "", "", time.Time{}, time.Now().Add(time.Hour)))
	}
	return s
}

func BenchmarkHundredThousand(b *testing.B) {
	s := many(100_000)
	for name, look := range map[string]func(){
		"page":   func() { s.Rows(Query{Limit: 1000, After: "8000000000000000"}) },
		"walk":   func() { walkPages(s, 1000) },
		"filter": func() { s.Rows(Query{Limit: 1000, Filter: Filter{IP: "192.0.2.1"}}) },
		"sort":   func() { s.Rows(Query{Limit: 1000, Sort: "rate"}) },
		"totals": func() { s.Totals() },
		"view":   func() { s.View() },
		"row":    func() { s.Row("8000000000000000") },
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				look()
			}
		})
	}
	b.Run("lock", func(b *testing.B) {
		var median, most time.Duration
		for b.Loop() {
			median, most = held(s)
		}
		b.ReportMetric(float64(median.Nanoseconds())/1000, "µs/hold")
		b.ReportMetric(float64(most.Nanoseconds())/1000, "µs/hold-p99")
	})
}

// BenchmarkEndTenThousand ends them among a hundred thousand, and waits until they are
// gone.
func BenchmarkEndTenThousand(b *testing.B) {
	const ended = 10_000
	s := many(100_000 - ended)
	s.Name("b:1")
	var told time.Duration
	rounds := 0
	for b.Loop() {
		b.StopTimer()
		var over sync.WaitGroup
		for range ended {
			c, client, backend := prepare(b, s, "b:1", "b:1", 0)
			s.Add(c)
			over.Go(func() { run(c) })
			go client.AnswerClose()
			go backend.AnswerClose()
		}
		b.StartTimer()
		begun := time.Now()
		if n := s.EndMatching(EndRevoked, Filter{Upstream: "b:1"}); n != ended {
			b.Fatalf("%d were ended", n)
		}
		told += time.Since(begun)
		over.Wait()
		rounds++
	}
	b.ReportMetric(told.Seconds()*1000/float64(rounds), "ms/told")
}
