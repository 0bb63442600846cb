package live

import (
	"encoding/json"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wsgateway/caddy-ws-gateway/internal/admission"
)

// seated adds a connection that has taken a seat.
func seated(t *testing.T, s *Set, ip, user string, caps admission.Caps) *Conn {
	t.Helper()
	s.Name("a:1")
	c, client, backend := prepare(t, s, "a:1", "a:1", 0)
	c.RemoteIP, c.UserID, c.Seat = ip, user, new(admission.Seat)
	if limit := s.Seats.Admit(c.Seat, c.Gateway, caps, AddrOf(ip), user); limit != "" {
		t.Fatalf("%s has no room", limit)
	}
	live(s, c, client, backend)
	return c
}

func TestCapsThatComeLaterCountTheLiving(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSet()
		var none admission.Caps
		defer s.Hold("test", none)()
		seated(t, s, "192.0.2.1", "alice", none)
		seated(t, s, "192.0.2.1", "", none)
		other := seated(t, s, "2001:db8::1", "alice", none)
		unseated, client, backend := prepare(t, s, "a:1", "a:1", 0)
		live(s, unseated, client, backend)

		caps := admission.Caps{PerIP: 2, PerUser: 2}
		defer s.Hold("test", caps)()
		admit := func(ip, user string) admission.Limit {
			return s.Seats.Admit(new(admission.Seat), "test", caps, AddrOf(ip), user)
		}
		if got := admit("192.0.2.1", "bob"); got != admission.ConnectionsPerIP {
			t.Errorf("a third of an address: %q", got)
		}
		if got := admit("192.0.2.9", "alice"); got != admission.ConnectionsPerUser {
			t.Errorf("a third of a user: %q", got)
		}
		other.end(endExit)
		<-s.gone(other)
		if got := admit("192.0.2.9", "alice"); got != "" {
			t.Errorf("a second of a user: %q", got)
		}
		s.End(endExit, func(*Conn) bool { return true })
	})
}

func TestSeatIsGivenBackWithTheConnection(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSet()
		c := seated(t, s, "192.0.2.1", "", admission.Caps{})
		if used := s.Seats.Usage("test", 0).Connections; used != 1 {
			t.Errorf("%d seats are taken, want 1", used)
		}
		c.end(endExit)
		<-s.gone(c)
		if used := s.Seats.Usage("test", 0).Connections; used != 0 {
			t.Errorf("%d seats are taken at the end", used)
		}
	})
}

// shown is a handler of which nothing but its limits is known.
type shown struct {
	fleet
	limits func() Limits
}

func (h shown) Limits() Limits { return h.limits() }

func TestLimitsAreShownWithWhatIsUsed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSet()
		caps := admission.Caps{Connections: 5, PerIP: 3, PerUser: 3}
		defer s.Hold("test", caps)()
		for _, user := range []string{"alice", "alice", "bob"} {
			seated(t, s, "192.0.2.1", user, caps)
		}
		seated(t, s, "2001:db8::5", "bob", caps)
		s.Enter("test", nil, shown{limits: func() Limits {
			return Limits{
				Connections: &TotalView{Max: 5}, ConnectionsPerIP: &PerIPView{Max: 3}, ConnectionsPerUser: &UsersView{Max: 3},
				HandshakesPerIP: &RateView{Max: 10, Per: Duration(time.Minute)},
				MessageSize:     &SizeView{Max: 100},
				Messages:        &RateView{Max: 10, Per: Duration(time.Second), Burst: 20, Action: "wait"},
				Bytes:           &RateView{Max: 10, Per: Duration(time.Second), Burst: 10, Action: "close"},
			}
		}})
		s.Enter("test", nil, shown{limits: func() Limits { // some are larger, some are smaller
			return Limits{
				Connections: &TotalView{Max: 4}, ConnectionsPerIP: &PerIPView{Max: 30},
				HandshakesPerIP: &RateView{Max: 5, Per: Duration(time.Second)},
				Messages:        &RateView{Max: 1000, Per: Duration(time.Hour), Burst: 1000, Action: "close"},
			}
		}})
		s.Enter("test", nil, fleet{})
		const want = `{"connections":{"used":4,"max":5},` +
			`"connections_per_ip":{"max":30,"top":[{"address":"192.0.2.1","used":3},{"address":"2001:db8::/64","used":1}]},` +
			`"connections_per_user":{"max":3,"top":[{"user":"alice","used":2},{"user":"bob","used":2}]},` +
			`"handshakes_per_ip":{"max":5,"per":"1s"},"message_size":{"max":100},` +
			`"messages":{"max":10,"per":"1s","burst":20,"action":"wait"},` +
			`"bytes":{"max":10,"per":"1s","burst":10,"action":"close"}}`
		for range 2 { // the second look finds the same
			got, err := json.Marshal(s.View()[0].Limits)
			if err != nil || string(got) != want {
				t.Errorf("got\n%s, %v, want\n%s", got, err, want)
			}
		}
		if views := s.ViewUpstreams(); len(views) != 1 || *views[0].Limits.Connections != (TotalView{Max: 5}) || views[0].Limits.ConnectionsPerIP.Top != nil {
			t.Errorf("without what is used: %+v", views)
		}
		s.End(endExit, func(*Conn) bool { return true })
	})
}

func TestLimitsOfAGatewayWithoutAnyAreEmpty(t *testing.T) {
	t.Parallel()
	s := newSet()
	s.Enter("test", nil, fleet{})
	s.Enter("capped", nil, shown{limits: func() Limits { return Limits{ConnectionsPerIP: &PerIPView{Max: 1}} }})
	got, err := json.Marshal([]Limits{s.View()[0].Limits, s.View()[1].Limits})
	if want := `[{"connections_per_ip":{"max":1,"top":[]}},{}]`; err != nil || string(got) != want {
		t.Errorf("got %s, %v, want %s", got, err, want)
	}
}

func TestAddressThatIsNotKnownIsNotValid(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]netip.Addr{
		"": {}, "@": {}, "localhost": {}, "192.0.2.1": netip.MustParseAddr("192.0.2.1"), "2001:db8::1": netip.MustParseAddr("2001:db8::1"),
	} {
		if got := AddrOf(text); got != want {
			t.Errorf("%q is %v", text, got)
		}
	}
}
