// Package admission holds the clients of a gateway to its caps: how many connections
// there may be in all, of one address and of one user, and how many handshakes an
// address may make in a time. The caps are exact however many handshakes come at once:
// none is exceeded, and no handshake is refused that there is room for.
//
// A [Local] counts by the names of gateways, so that all handlers of a gateway, in
// all sites and over reloads, have one count. The caps are those of the configuration
// that a handshake came under. A cap that was lowered ends no connection. A [Seat] is
// what an admitted connection holds until its end.
package admission

import (
	"net/netip"
	"time"
)

// Rate is a number of handshakes in a time. As many may come at once after a pause, and
// then one each Per/Count. The zero value is no limit.
type Rate struct {
	Count int
	Per   time.Duration
}

// limits reports whether the rate is a limit at all.
func (r Rate) limits() bool { return r.Count > 0 && r.Per > 0 }

// Caps are what a configuration allows the clients of a gateway. Zero is no limit.
type Caps struct {
	Connections int  // in all
	PerIP       int  // connections of one address
	PerUser     int  // connections of one user
	Handshakes  Rate // of one address
	IPv6Bits    int  // how many bits of an IPv6 address are one client's; 0 for [DefaultIPv6Bits]
}

// DefaultIPv6Bits is the part of an IPv6 address that a network has; who is in the
// network may choose the rest at will.
const DefaultIPv6Bits = 64

// Limit is the configuration's word for a limit, or "" for none.
type Limit string

// The limits.
const (
	Connections        Limit = "connections"
	ConnectionsPerIP   Limit = "connections_per_ip"
	ConnectionsPerUser Limit = "connections_per_user"
	HandshakesPerIP    Limit = "handshakes_per_ip"
)

// Adopt calls yield for each connection of a gateway that is there, with its seat, and
// the address and the user that it was admitted with. A seat that is not settled may
// be left out, and a seat may be released meanwhile. Adopt may hold locks under which
// seats are settled or released, and nothing calls [Local.Track] under these.
type Adopt func(yield func(seat *Seat, ip netip.Addr, user string))

// Usage is what the connections of a gateway take up.
type Usage struct {
	Connections int
	Addresses   []Count // largest first; empty unless a cap for each address is tracked
	Users       []Count // largest first; empty unless a cap for each user is tracked
}

// Count is the number of connections of an address, such as "192.0.2.1" or
// "2001:db8::/64", or of a user.
type Count struct {
	Key         string
	Connections int
}
