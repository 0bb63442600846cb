package admission

import (
	"net/netip"
	"strconv"
	"testing"
)

// step is a connection that asks for a seat, or, with a number in release, the one so
// many steps before it that ends.
type step struct {
	caps    Caps
	gateway string
	ip      string // "" for none
	user    string
	want    Limit
	release int
}

func address(s string) netip.Addr {
	if s == "" {
		return netip.Addr{}
	}
	return netip.MustParseAddr(s)
}

func TestConnectionsAreHeldToTheCaps(t *testing.T) {
	t.Parallel()
	all := Caps{Connections: 2}
	perIP := Caps{PerIP: 1}
	perUser := Caps{PerUser: 1}
	wide := Caps{PerIP: 1, IPv6Bits: 56}
	for name, steps := range map[string][]step{
		"none without caps": {{ip: "192.0.2.1", user: "a"}, {ip: "192.0.2.1", user: "a"}, {}},
		"in all":            {{caps: all}, {caps: all}, {caps: all, want: Connections}, {release: 2}, {caps: all}, {caps: all, want: Connections}},
		"each gateway its own": {
			{caps: all}, {caps: all}, {caps: all, want: Connections},
			{caps: all, gateway: "other"}, {caps: all, gateway: "other"}, {caps: all, gateway: "other", want: Connections},
		},
		"a cap that was lowered": {{}, {}, {}, {caps: all, want: Connections}, {release: 2}, {caps: all, want: Connections}, {release: 5}, {caps: all}, {caps: all, want: Connections}},
		"of an address":          {{caps: perIP, ip: "192.0.2.1"}, {caps: perIP, ip: "192.0.2.1", want: ConnectionsPerIP}, {caps: perIP, ip: "192.0.2.2"}, {release: 3}, {caps: perIP, ip: "192.0.2.1"}},
		"of a user":              {{caps: perUser, user: "a"}, {caps: perUser, user: "a", want: ConnectionsPerUser}, {caps: perUser, user: "b"}, {release: 3}, {caps: perUser, user: "a"}},
		"unknown clients":        {{caps: perIP}, {caps: perIP}, {caps: perUser}, {caps: perUser}},
		"IPv4 within IPv6":       {{caps: perIP, ip: "192.0.2.1"}, {caps: perIP, ip: "::ffff:192.0.2.1", want: ConnectionsPerIP}},
		"neighbors of IPv4":      {{caps: perIP, ip: "192.0.2.1"}, {caps: perIP, ip: "192.0.2.0"}, {caps: wide, ip: "::ffff:192.0.2.2"}, {caps: wide, ip: "::ffff:192.0.2.3"}},
		"zones":                  {{caps: perIP, ip: "fe80::1%eth0"}, {caps: perIP, ip: "fe80::1%eth1", want: ConnectionsPerIP}},
		"a network of IPv6":      {{caps: perIP, ip: "2001:db8:0:1::1"}, {caps: perIP, ip: "2001:db8:0:1:ffff::1", want: ConnectionsPerIP}, {caps: perIP, ip: "2001:db8:0:2::1"}},
		"networks of two widths": {
			{caps: perIP, ip: "2001:db8:0:1::1"}, {caps: wide, ip: "2001:db8:0:2::1", want: ConnectionsPerIP},
			{caps: perIP, ip: "2001:db8:0:2::1"}, {caps: wide, ip: "2001:db8:0:100::1"}, {caps: perIP, ip: "2001:db8:0:100::2", want: ConnectionsPerIP},
		},
		"whole addresses of IPv6": {{caps: Caps{PerIP: 1, IPv6Bits: 128}, ip: "2001:db8::1"}, {caps: Caps{PerIP: 1, IPv6Bits: 128}, ip: "2001:db8::2"}, {caps: Caps{PerIP: 1, IPv6Bits: 128}, ip: "2001:db8::1", want: ConnectionsPerIP}},
		"the client's own first": {
			{caps: Caps{Connections: 1, PerIP: 1, PerUser: 1}, ip: "192.0.2.1", user: "a"},
			{caps: Caps{Connections: 1, PerIP: 1, PerUser: 1}, ip: "192.0.2.1", user: "a", want: ConnectionsPerIP},
			{caps: Caps{Connections: 1, PerIP: 1, PerUser: 1}, ip: "192.0.2.2", user: "a", want: ConnectionsPerUser},
			{caps: Caps{Connections: 1, PerIP: 1, PerUser: 1}, ip: "192.0.2.2", user: "b", want: Connections},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			run(t, steps)
		})
	}
}

// run takes the steps, and finds all counts zero after the end of all connections.
func run(t *testing.T, steps []step) {
	t.Helper()
	l := New()
	seats := make([]Seat, len(steps))
	for _, s := range steps {
		defer l.Track(s.gateway, s.caps, nil)()
	}
	for i, s := range steps {
		if s.release > 0 {
			seats[i-s.release].Release()
			continue
		}
		before := l.Usage(s.gateway, 10)
		if got := l.Admit(&seats[i], s.gateway, s.caps, address(s.ip), s.user); got != s.want {
			t.Errorf("step %d: limit %q, want %q", i, got, s.want)
		}
		if s.want != "" {
			wantUsage(t, l, s.gateway, before)
		}
	}
	for i := range seats {
		seats[i].Release()
		seats[i].Release()
	}
	for _, s := range steps {
		wantUsage(t, l, s.gateway, Usage{})
	}
}

func TestSeatsThatHoldNothingAreReleasedWithoutHarm(t *testing.T) {
	t.Parallel()
	var none *Seat
	none.Release()
	none.Settle()
	new(Seat).Release()
	new(Seat).Settle()
}

func TestGatewaysThatNobodyNeedsAreForgotten(t *testing.T) {
	t.Parallel()
	l := New()
	for i := range 100 {
		release := l.Track(strconv.Itoa(i), Caps{PerIP: 1}, nil)
		var s Seat
		l.Admit(&s, strconv.Itoa(i), Caps{}, netip.Addr{}, "")
		release() // with a live connection
		s.Release()
	}
	l.Track("last", Caps{}, nil)()
	if left := len(*l.gateways.Load()); left != 0 {
		t.Errorf("%d gateways are remembered, want none", left)
	}
}

func TestGatewayWithConnectionsIsRemembered(t *testing.T) {
	t.Parallel()
	l := New()
	caps := Caps{Connections: 1}
	var first, second Seat
	release := l.Track("g", caps, nil)
	l.Admit(&first, "g", caps, netip.Addr{}, "")
	release()
	if got := l.Admit(&second, "g", caps, netip.Addr{}, ""); got != Connections {
		t.Errorf("limit %q, want that of connections", got)
	}
}
