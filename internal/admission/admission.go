// Package admission holds the clients of a gateway to its caps: how many connections
// there may be in all, of one address and of one user, and how many handshakes an
// address may make in a time. The caps are exact however many handshakes come at once:
// none is exceeded, and no handshake is refused that there is room for.
//
// A [Ledger] counts by the names of gateways, so that all handlers of a gateway, in
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

// Ledger counts the handshakes and the connections of gateways. It is safe for
// concurrent use.
//
// An address that is not valid is not known, and is held to no limit of addresses; an
// empty user is held to no limit of users. IPv4 addresses are the same when they are
// mapped into IPv6, and zones do not matter.
type Ledger interface {
	// Knock counts a handshake of an address, before anything is done for it. It
	// returns how long the client has to wait, or 0 where it may come in. A handshake
	// that has to wait does not count. One that may come in counts for all rates that
	// are tracked for the gateway, and is compared with that of the caps.
	Knock(gateway string, caps Caps, ip netip.Addr) (wait time.Duration)

	// Admit takes a seat for a connection, from before its upstream is dialed to its
	// end, or names the limit that leaves no room for it. The client's own limits are
	// looked at first. Where there is no room, nothing is counted and the seat is as
	// it was.
	Admit(into *Seat, gateway string, caps Caps, ip netip.Addr, user string) Limit

	// Track notes that a configuration of the gateway has the caps, until release is
	// called. While any configuration of a gateway has a cap for each address or each
	// user, all connections of the gateway are counted by address or by user, those
	// that are there already among them: Track calls adopt for these if they were not
	// counted so far. A cap that was not tracked is not enforced.
	Track(gateway string, caps Caps, adopt Adopt) (release func())

	// Usage returns what the gateway's connections take up, with at most so many of
	// the addresses and users that have the most of them.
	Usage(gateway string, top int) Usage
}

// Adopt calls yield for each connection of a gateway that is there, with its seat, and
// the address and the user that it was admitted with. A seat that is not settled may
// be left out, and a seat may be released meanwhile. Adopt may hold locks under which
// seats are settled or released, and nothing calls [Ledger.Track] under these.
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
