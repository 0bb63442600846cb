package admission

import (
	"fmt"
	"net/netip"
	"reflect"
	"testing"
)

func wantUsage(t *testing.T, l *Local, gateway string, want Usage) {
	t.Helper()
	if got := l.Usage(gateway, 10); !reflect.DeepEqual(got, want) {
		t.Errorf("usage %+v, want %+v", got, want)
	}
}

func TestUsageNamesThoseWithTheMostConnections(t *testing.T) {
	t.Parallel()
	l := New()
	caps := Caps{PerIP: 100, PerUser: 100}
	defer l.Track("g", caps, nil)()
	for i := range 30 {
		for range i + 1 {
			ip := netip.AddrFrom4([4]byte{192, 0, 2, byte(i)})
			if i%2 == 0 {
				ip = netip.MustParseAddr(fmt.Sprintf("2001:db8:0:%x::1", i))
			}
			if limit := l.Admit(new(Seat), "g", caps, ip, fmt.Sprint("user", i)); limit != "" {
				t.Fatalf("limit %q", limit)
			}
		}
	}
	got := l.Usage("g", 3)
	want := Usage{
		Connections: 465,
		Addresses:   []Count{{"192.0.2.29", 30}, {"2001:db8:0:1c::/64", 29}, {"192.0.2.27", 28}},
		Users:       []Count{{"user29", 30}, {"user28", 29}, {"user27", 28}},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("usage %+v, want %+v", got, want)
	}
	if got := l.Usage("g", 0); !reflect.DeepEqual(got, Usage{Connections: 465}) {
		t.Errorf("usage without names %+v", got)
	}
}

func TestUsageOfEqualsIsInOrderOfTheirNames(t *testing.T) {
	t.Parallel()
	l := New()
	caps := Caps{PerUser: 1}
	defer l.Track("g", caps, nil)()
	for _, user := range []string{"d", "a", "c", "b", "e"} {
		l.Admit(new(Seat), "g", caps, netip.Addr{}, user)
	}
	if got, want := l.Usage("g", 3).Users, []Count{{"a", 1}, {"b", 1}, {"c", 1}}; !reflect.DeepEqual(got, want) {
		t.Errorf("users %v, want %v", got, want)
	}
}

func TestUsageWhereNetworksOfTwoWidthsAreCounted(t *testing.T) {
	t.Parallel()
	l := New()
	defer l.Track("g", Caps{PerIP: 9, IPv6Bits: 128}, nil)()
	defer l.Track("g", Caps{PerIP: 9, IPv6Bits: 48}, nil)()
	for _, ip := range []string{"2001:db8::1", "2001:db8::2", "192.0.2.1", "::ffff:192.0.2.1", "192.0.2.1"} {
		l.Admit(new(Seat), "g", Caps{}, address(ip), "")
	}
	wantUsage(t, l, "g", Usage{Connections: 5, Addresses: []Count{
		{"192.0.2.1", 3}, {"2001:db8::/48", 2}, {"2001:db8::1", 1}, {"2001:db8::2", 1},
	}})
}

func TestUsageOfAGatewayThatIsNotKnown(t *testing.T) {
	t.Parallel()
	wantUsage(t, New(), "g", Usage{})
}
