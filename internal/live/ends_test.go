package live

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/wsgateway/caddy-ws-gateway/internal/balance"
)

func TestRowsSayWhenAndWhyAConnectionEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		now := time.Now()
		for name, row := range map[string]struct {
			expires, tooOld time.Time
			at              time.Time
			because         string
		}{
			"nothing is due":       {},
			"a token":              {expires: now.Add(time.Hour), at: now.Add(time.Hour), because: EndsByToken},
			"its age":              {tooOld: now.Add(time.Hour), at: now.Add(time.Hour), because: EndsByMaxAge},
			"a token before age":   {expires: now.Add(time.Hour), tooOld: now.Add(2 * time.Hour), at: now.Add(time.Hour), because: EndsByToken},
			"its age before token": {expires: now.Add(2 * time.Hour), tooOld: now.Add(time.Hour), at: now.Add(time.Hour), because: EndsByMaxAge},
		} {
			s := newSet()
			s.Name("a:1")
			c := idle(s, Details{OpenedAt: now, TooOld: row.tooOld}, Authority{expires: row.expires})
			if got := s.Row(c.ID); !got.EndsAt.Equal(row.at) || got.EndsBecause != row.because {
				t.Errorf("%s: %v by %q, want %v by %q", name, got.EndsAt, got.EndsBecause, row.at, row.because)
			}
			s.Remove(c)
		}
	})
}

func TestRowsSayWhenADrainComesAndForgetOneThatIsUndone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSet()
		s.Name("a:1")
		client, _ := open(t, s, "a:1", "a:1", time.Minute)
		c := s.list(func(*Conn) bool { return true })[0]
		c.authority.expires = time.Now().Add(time.Hour)
		expect := func(when, because string, within time.Duration) {
			t.Helper()
			synctest.Wait()
			got := s.Row(c.ID)
			if got.EndsBecause != because || time.Until(got.EndsAt) > within {
				t.Errorf("%s: ends in %v by %q, want within %v by %q", when, time.Until(got.EndsAt), got.EndsBecause, within, because)
			}
		}
		expect("before", EndsByToken, time.Hour)
		s.SetState("a:1", balance.Drain)
		expect("draining", EndsByDrain, time.Minute)
		s.SetState("a:1", balance.Ready)
		expect("undone", EndsByToken, time.Hour)
		s.SetState("a:1", balance.Drain)
		s.DrainGateway("test", "a:1", func() bool { return false })
		expect("again, beside one that is off", EndsByDrain, time.Minute)
		s.SetState("a:1", balance.Ready)
		elapse(time.Minute)
		synctest.Wait()
		if c.departures != nil {
			t.Error("the connection still knows of drains that were undone")
		}
		c.authority.expires = time.Now().Add(time.Millisecond)
		s.SetState("a:1", balance.Drain)
		if got := s.Row(c.ID); got.EndsBecause != EndsByToken && time.Until(got.EndsAt) > time.Millisecond {
			t.Errorf("%q is shown, and not what comes first", got.EndsBecause)
		}
		if code := <-client.Code; code != 1012 {
			t.Errorf("closed with %d, want 1012", code)
		}
		elapse(time.Minute)
	})
}

func TestRemovalShowsTheDrain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSet()
		release := s.Name("a:1")
		client, _ := open(t, s, "a:1", "a:1", time.Minute)
		release()
		rows := s.Rows(Query{Limit: 10})
		if len(rows) != 1 || rows[0].EndsBecause != EndsByDrain {
			t.Errorf("shown as %+v, want a drain", rows)
		}
		if got := rows[0].EndsAt; got.Before(time.Now().Truncate(time.Millisecond)) || got.After(time.Now().Add(time.Minute)) {
			t.Errorf("ends at %v", got)
		}
		<-client.Code
		elapse(time.Minute)
	})
}

func TestNodeThatDrainsSaysWhenItsLastConnectionsEnd(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSet()
		s.Name("a:1")
		var codes []<-chan int
		for _, period := range []time.Duration{time.Minute, 2 * time.Minute, time.Second} {
			client, _ := open(t, s, "a:1", "a:1", period)
			codes = append(codes, client.Code)
		}
		began := time.Now()
		expect := func(when string, in time.Duration, because string) {
			t.Helper()
			node := s.Node()
			if in == 0 && !node.EndsAt.IsZero() || in > 0 && !node.EndsAt.Equal(began.Add(in).Truncate(time.Millisecond)) {
				t.Errorf("%s: ends in %v, want %v", when, node.EndsAt.Sub(began), in)
			}
			for _, r := range s.Rows(Query{Limit: 10}) {
				if r.EndsBecause != because || r.EndsAt.After(began.Add(in)) {
					t.Errorf("%s: a connection ends in %v because of %q", when, r.EndsAt.Sub(began), r.EndsBecause)
				}
			}
		}
		expect("ready", 0, "")
		s.DrainNode(nil)
		expect("by the periods of connections", 2*time.Minute, EndsByDrain)
		s.DrainNode(new(time.Hour))
		expect("within an hour", time.Hour, EndsByDrain)
		s.ReadyNode()
		synctest.Wait()
		expect("ready again", 0, "")
		for _, c := range s.list(func(*Conn) bool { return true }) {
			if c.departures != nil {
				t.Error("a connection still knows of a drain that is over")
			}
		}
		s.DrainNode(new(time.Second))
		for _, code := range codes {
			<-code
		}
		elapse(time.Minute)
	})
}

func TestDrainEndsAreThoseOfTheLastConnections(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSet()
		now := time.Now()
		for _, upstream := range []string{"a:1", "b:1", "c:1"} {
			s.Name(upstream)
			for range 20 {
				c := idle(s, Details{Upstream: upstream, OpenedAt: now, DrainPeriod: time.Minute}, Authority{})
				defer s.Remove(c)
				if upstream != "c:1" {
					s.announce(&departure{connection: c, at: now.Add(time.Minute), still: func(c *Conn) bool { return c.Upstream == "a:1" }})
				}
			}
		}
		late := s.list(func(c *Conn) bool { return c.Upstream == "a:1" })[7]
		s.announce(&departure{connection: late, at: now.Add(time.Hour), still: func(*Conn) bool { return true }})
		late.departures = late.departures.without(late.departures.next.departure) // the earlier one
		if ends := s.DrainEnds(); len(ends) != 1 || !ends["a:1"].Equal(now.Add(time.Hour)) {
			t.Errorf("the drains end at %v", ends)
		}
	})
}
