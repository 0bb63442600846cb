package wsgateway

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/wsgateway/caddy-ws-gateway/internal/balance"
	"github.com/wsgateway/caddy-ws-gateway/internal/live"
)

func TestStatusPlotsTheLastMinutes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		set := live.NewSet(live.Reports{Closed: reportClosed}, caddy.Exiting)
		set.Name("a:1")
		set.NewCredentials().Accept([]string{"k"}, []string{"a:1"})
		series := newStatusSampler(set)
		stop, again := series.start(), series.start() // as at a reload
		synctest.Wait()
		openAs(set, "alice", "")
		openAs(set, "bob", "")
		for range 5 {
			set.CountHandshake("test", "ok")
		}
		stop()
		stop()
		elapse(statusStep + time.Second)
		set.CountHandshake("test", "refused")
		elapse(statusStep)
		shown := series.history()["test"]
		if !slices.Equal(shown.Connections, []int{2, 2}) || !slices.Equal(shown.Handshakes, []float64{0, 0.5}) || shown.Step != 2 {
			t.Errorf("shown are %+v", shown)
		}
		set.End(live.EndRevoked, func(*live.Conn) bool { return true })
		elapse(statusPoints * statusStep / 2)
		shown = series.history()["test"]
		if n := len(shown.Connections); shown.Connections[n-1] != 0 || shown.Connections[1] != 2 {
			t.Errorf("after the end of all: %v", shown.Connections)
		}
		elapse(statusPoints * statusStep)
		if left := series.history(); len(left) != 0 {
			t.Errorf("of a gateway that is gone, there is %v", left)
		}
		again() // the bubble fails where it still samples
	})
}

func TestStatusPlotsAreBounded(t *testing.T) {
	t.Parallel()
	ring := new(statusRing)
	for i := range 3 * statusPoints {
		ring.add(statusCounts{connections: i, messages: uint64(i) * 10}, 2)
	}
	if n := len(ring.points); n != statusPoints || cap(ring.points) > 2*statusPoints {
		t.Errorf("%d points, in room for %d", n, cap(ring.points))
	}
	if last := ring.points[statusPoints-1]; last.connections != 3*statusPoints-1 || last.messages != 5 {
		t.Errorf("the last is %+v", last)
	}
}

func TestStatusRatesDoNotGoBelowZero(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		before, after uint64
		seconds, want float64
	}{{0, 0, 2, 0}, {5, 3, 2, 0}, {0, 1, 2, 0.5}, {0, 1, 3, 0.3}, {0, 1 << 40, 1, 1 << 40}, {0, 1, 0, 0}} {
		if got := rate(row.before, row.after, row.seconds); got != row.want {
			t.Errorf("%+v: %v", row, got)
		}
	}
}

func TestStatusShowsHowFarADrainIs(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, set := newStatus(t, false)
		set.Ledger.Want("a:1", 1)
		for range 4 {
			openDraining(set, time.Minute)
		}
		stop := s.facts.series.start()
		elapse(statusStep)
		began := time.Now()
		set.SetState("a:1", balance.Drain)
		elapse(30 * time.Second)
		drain := s.facts.snapshot(t.Context(), statusQuery{limit: 1}).Drains["a:1"]
		if drain.From != 4 || drain.Left != 2 {
			t.Errorf("%d of %d are left", drain.Left, drain.From)
		}
		if within := drain.EndsAt.Sub(began); within <= 30*time.Second || within > time.Minute {
			t.Errorf("it ends after %s", within)
		}
		if node := s.facts.snapshot(t.Context(), statusQuery{limit: 1}).Node; node.Drain != nil || node.State != "ready" {
			t.Errorf("the node is %+v", node)
		}
		set.SetState("a:1", balance.Ready)
		elapse(statusStep)
		set.DrainNode(new(10 * time.Second))
		elapse(5 * time.Second)
		node := s.facts.snapshot(t.Context(), statusQuery{limit: 1}).Node
		if node.State != "drain" || node.Drain.From != 2 || node.Drain.Left != 1 || time.Until(node.Drain.EndsAt) > 5*time.Second {
			t.Errorf("the node is %+v, %+v", node, node.Drain)
		}
		elapse(time.Minute)
		if drain := s.facts.snapshot(t.Context(), statusQuery{limit: 1}).Drains; len(drain) != 0 {
			t.Errorf("of an upstream without a gateway: %v", drain)
		}
		stop()
	})
}

// openDraining opens a connection with a drain period.
func openDraining(set *live.Set, period time.Duration) {
	details, client, backend := linked()
	details.ID, details.Gateway, details.Upstream, details.DrainPeriod = live.NewID(), "test", "a:1", period
	c := set.NewConn(details, "a:1", live.Authority{})
	set.Add(c)
	go run(c)
	go client.AnswerClose()
	go backend.AnswerClose()
}

// The end of a drain is that of its last connection, among however many.
func TestStatusShowsWhenADrainOfManyEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, set := newStatus(t, false)
		for range maxLimit {
			openIdle(set, "0", time.Minute)
		}
		openIdle(set, "f", time.Hour)
		set.SetState("a:1", balance.Drain)
		drain := s.facts.snapshot(t.Context(), statusQuery{limit: 1}).Drains["a:1"]
		if left := time.Until(drain.EndsAt); drain.Left != maxLimit+1 || left <= time.Minute || left > time.Hour {
			t.Errorf("%d connections are drained in %v", drain.Left, left)
		}
		set.SetState("a:1", balance.Ready)
		elapse(time.Hour) // the drain has ended nothing
	})
}

// openIdle adds a connection that does nothing, whose ID begins so.
func openIdle(set *live.Set, begins string, period time.Duration) {
	details, _, _ := linked()
	details.ID, details.Gateway, details.Upstream, details.DrainPeriod = begins+live.NewID()[1:], "test", "a:1", period
	details.OpenedAt = time.Now()
	set.Add(set.NewConn(details, "a:1", live.NewAuthority("", "k", "", time.Time{}, time.Time{})))
}
