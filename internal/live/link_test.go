package live

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"github.com/wsgateway/caddy-ws-gateway/internal/balance"
	"github.com/wsgateway/caddy-ws-gateway/internal/relay"
	"github.com/wsgateway/caddy-ws-gateway/internal/revocation"
	"github.com/wsgateway/caddy-ws-gateway/internal/wsframe"
)

// fakeStream is the link of a stream that has had three events, and ends as soon as it is
// told to.
type fakeStream struct {
	since time.Time
	told  chan relay.Close
}

// eventsOf are what the stream has had.
var eventsOf = wsframe.Counts{Text: 3, Messages: 3, Bytes: 30}

// End implements Link.
func (f *fakeStream) End(client, _ relay.Close) { f.told <- client }

// LastActive implements Link.
func (f *fakeStream) LastActive() time.Time { return f.since }

// Counts implements Link.
func (f *fakeStream) Counts() (fromClient, fromUpstream wsframe.Counts) {
	return wsframe.Counts{}, eventsOf
}

// Look implements Link.
func (f *fakeStream) Look(time.Time) relay.Look {
	return relay.Look{FromUpstream: eventsOf, LastActive: f.since, Pending: 7}
}

// Pending implements Link.
func (f *fakeStream) Pending() (toClient, toUpstream int) { return 7, 0 }

// stream adds a stream, which lives until it is told to end or the returned function
// is called with an outcome.
func stream(s *Set, d Details, by Authority) (c *Conn, finish func(relay.Outcome)) {
	link := &fakeStream{time.Now(), make(chan relay.Close, 1)}
	d.Protocol, d.Gateway, d.OpenedAt, d.Link = "sse", "test", time.Now(), link
	over := make(chan relay.Outcome, 1)
	c = idle(s, d, by)
	go func() {
		select {
		case client := <-link.told:
			c.Finish(relay.Outcome{By: relay.Gateway, Code: client.Code, Reason: client.Reason, FromUpstream: eventsOf})
		case out := <-over:
			c.Finish(out)
		}
	}()
	return c, func(out relay.Outcome) { over <- out }
}

// Whatever ends a WebSocket ends a stream, for the same reason and without a code.
func TestStreamIsEndedByWhatEndsWebSockets(t *testing.T) {
	t.Parallel()
	due := time.Minute
	for name, row := range map[string]struct {
		end    func(*Set, *Conn)
		reason string
		endsBy string
	}{
		"a drain":              {func(s *Set, _ *Conn) { s.SetState("a:1", balance.Drain) }, "service restart", "drain"},
		"a drain of the node":  {func(s *Set, _ *Conn) { s.DrainNode(nil) }, "service restart", "drain"},
		"a reload":             {func(s *Set, _ *Conn) { s.unname("a:1") }, "service restart", "drain"},
		"a rebalance":          {func(s *Set, _ *Conn) { s.MoveIdlest("test", "a:1") }, "rebalancing", ""},
		"an exit":              {func(s *Set, _ *Conn) { s.Exit(time.Second) }, "server is shutting down", ""},
		"its age":              {func(s *Set, c *Conn) { c.TooOld = time.Now().Add(due); s.deadlines.set(c, c.TooOld) }, "connection is too old", "max_age"},
		"the end of its token": {func(s *Set, c *Conn) { s.deadlines.set(c, time.Now().Add(due)) }, "token expired", "token"},
		"a revocation": {func(s *Set, _ *Conn) {
			_, _, _ = s.Revoke(revocation.Revocation{JTI: "j", Code: 4001, Reason: "stolen", Until: time.Now().Add(time.Hour)})
		}, "stolen", ""},
		"an operator": {func(s *Set, _ *Conn) { s.EndMatching(EndRevoked, Filter{Protocol: "sse"}) }, "token revoked", ""},
		"an operator with a reason": {func(s *Set, c *Conn) {
			s.EndMatching(Ending{Client: relay.Close{Code: 4000, Reason: "go"}}, Filter{ID: c.ID})
		}, "go", ""},
		"an operator with a code alone": {func(s *Set, c *Conn) {
			s.EndMatching(Ending{Client: relay.Close{Code: 4000}}, Filter{ID: c.ID})
		}, "token revoked", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := newSet()
				s.Name("a:1")
				var endsBy atomic.Value
				s.reports.Closed = func(_ *zap.Logger, c *Conn, out relay.Outcome) { endsBy.Store(c.EndedBy(&out)) }
				c, _ := stream(s, Details{DrainPeriod: time.Second}, NewAuthority("j", "", "", time.Time{}, time.Time{}))
				row.end(s, c)
				elapse(2 * due)
				past := s.Row(c.ID)
				if past.Past == nil {
					t.Fatalf("it goes on: %+v", past)
				}
				if past.By != "gateway" || past.Code != 0 || past.Reason != row.reason || past.Protocol != "sse" || past.MessagesFromUpstream != 3 {
					t.Errorf("it ended as %+v %+v, want %q", past, past.Past, row.reason)
				}
				if got := endsBy.Load(); got != row.endsBy {
					t.Errorf("it ended by %q, want %q", got, row.endsBy)
				}
				if closes := s.journal.activity("test", Totals{}).Closes; closes["gateway none"] != 1 || len(closes) != 1 {
					t.Errorf("counted as %v", closes)
				}
			})
		})
	}
}

func TestStreamsAreCountedAmongTheConnectionsOfTheirUpstream(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSet()
		s.Name("a:1", "b:1")
		defer s.Show("test", "a:1")()
		defer s.Show("test", "b:1")()
		expect := func(when, address string, live, streams int, opened uint64) {
			t.Helper()
			synctest.Wait()
			for _, up := range s.ViewUpstreams()[0].Upstreams {
				if up.Address == address && (up.Live != live || up.Streams != streams || up.Opened != opened) {
					t.Errorf("%s: %+v, want %d live, of them %d streams, %d opened", when, up, live, streams, opened)
				}
			}
		}
		client, _ := open(t, s, "a:1", "a:1", 0)
		_, finish := stream(s, Details{Upstream: "a:1"}, Authority{})
		_, finishOther := stream(s, Details{Upstream: "a:1"}, Authority{})
		expect("all live", "a:1", 3, 2, 3)
		expect("none there", "b:1", 0, 0, 0)
		if pending := s.Pending()["test"]; pending != 14 {
			t.Errorf("%d bytes are pending, want those of both streams", pending)
		}
		finish(relay.Outcome{By: relay.Upstream, FromUpstream: eventsOf})
		expect("one stream over", "a:1", 2, 1, 3)
		_ = client.Close()
		elapse(time.Minute)
		expect("the WebSocket over", "a:1", 1, 1, 3)
		finishOther(relay.Outcome{By: relay.Client, FromUpstream: eventsOf})
		expect("all over", "a:1", 0, 0, 3)
		if all := s.Totals()["test"].FromUpstream; all.Messages() != 6 || all.Bytes != 60 {
			t.Errorf("%+v has come, want what both streams had", all)
		}
	})
}

func TestRowsSayWhatAConnectionSpeaks(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSet()
		s.Name("a:1")
		socket := idle(s, Details{Gateway: "test", OpenedAt: time.Now()}, Authority{})
		c, finish := stream(s, Details{}, Authority{})
		elapse(time.Second)
		if r := s.Row(socket.ID); r.Protocol != "websocket" {
			t.Errorf("a WebSocket speaks %q", r.Protocol)
		}
		r := s.Row(c.ID)
		if r.Protocol != "sse" || r.MessagesFromUpstream != 3 || r.BytesFromUpstream != 30 || r.Idle != 1 || r.Pending != 7 {
			t.Errorf("a stream is %+v %+v", r, r.Present)
		}
		for _, filter := range []Filter{{Protocol: "sse"}, {Words: []string{"sse"}}} {
			if rows := s.Rows(Query{Filter: filter, Limit: 10}); len(rows) != 1 || rows[0].ID != c.ID || s.Count(filter) != 1 {
				t.Errorf("%+v finds %v", filter, idsOf(rows))
			}
		}
		finish(relay.Outcome{By: relay.Upstream})
		synctest.Wait()
		if rows := s.Closed(Filter{Protocol: "sse"}, 10); len(rows) != 1 || rows[0].Code != 0 || rows[0].By != "upstream" {
			t.Errorf("those that have ended are %+v", rows)
		}
		if rows := s.Closed(Filter{Protocol: ProtocolWebSocket}, 10); len(rows) != 0 {
			t.Errorf("WebSockets that have ended are %+v", rows)
		}
		s.Remove(socket)
	})
}
