package live

import (
	"net/netip"
	"time"

	"github.com/wsgateway/caddy-ws-gateway/internal/admission"
)

// Limits are the limits of a gateway as the admin API shows them. What has no limit is
// nil.
type Limits struct {
	Connections        *TotalView `json:"connections,omitempty"`
	ConnectionsPerIP   *PerIPView `json:"connections_per_ip,omitempty"`
	ConnectionsPerUser *UsersView `json:"connections_per_user,omitempty"`
	HandshakesPerIP    *RateView  `json:"handshakes_per_ip,omitempty"`
	MessageSize        *SizeView  `json:"message_size,omitempty"`
	Messages           *RateView  `json:"messages,omitempty"`
	Bytes              *RateView  `json:"bytes,omitempty"`
}

// TotalView is the cap on the connections of a gateway, and how many there are, those
// that are being opened among them.
type TotalView struct {
	Used int `json:"used"`
	Max  int `json:"max"`
}

// PerIPView is the cap on the connections of an address, and who has the most.
type PerIPView struct {
	Max int          `json:"max"`
	Top []AddressUse `json:"top"`
}

// AddressUse is how many connections an address has.
type AddressUse struct {
	Address string `json:"address"`
	Used    int    `json:"used"`
}

// UsersView is the cap on the connections of a user, and who has the most.
type UsersView struct {
	Max int       `json:"max"`
	Top []UserUse `json:"top"`
}

// UserUse is how many connections a user has.
type UserUse struct {
	User string `json:"user"`
	Used int    `json:"used"`
}

// SizeView is the largest message, in bytes.
type SizeView struct {
	Max int64 `json:"max"`
}

// RateView is how much may come in a time.
type RateView struct {
	Max    int64    `json:"max"`
	Per    Duration `json:"per"`
	Burst  int64    `json:"burst,omitempty"`
	Action string   `json:"action,omitempty"`
}

// Duration is shown as a text.
type Duration time.Duration

// MarshalText implements encoding.TextMarshaler.
func (d Duration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

// widen makes each limit the larger one of the two.
func (l *Limits) widen(other Limits) {
	larger(&l.Connections, other.Connections, func(v *TotalView) float64 { return float64(v.Max) })
	larger(&l.ConnectionsPerIP, other.ConnectionsPerIP, func(v *PerIPView) float64 { return float64(v.Max) })
	larger(&l.ConnectionsPerUser, other.ConnectionsPerUser, func(v *UsersView) float64 { return float64(v.Max) })
	larger(&l.MessageSize, other.MessageSize, func(v *SizeView) float64 { return float64(v.Max) })
	larger(&l.HandshakesPerIP, other.HandshakesPerIP, (*RateView).pace)
	larger(&l.Messages, other.Messages, (*RateView).pace)
	larger(&l.Bytes, other.Bytes, (*RateView).pace)
}

func larger[V any](into **V, other *V, size func(*V) float64) {
	if other != nil && (*into == nil || size(other) > size(*into)) {
		*into = other
	}
}

func (v *RateView) pace() float64 { return float64(v.Max) / float64(v.Per) }

// mostShown is how many addresses and users are shown, those with the most
// connections.
const mostShown = 10

// fill shows what is used.
func (l *Limits) fill(use admission.Usage) {
	if l.Connections != nil {
		l.Connections.Used = use.Connections
	}
	if l.ConnectionsPerIP != nil {
		l.ConnectionsPerIP.Top = make([]AddressUse, 0, len(use.Addresses))
		for _, c := range use.Addresses {
			l.ConnectionsPerIP.Top = append(l.ConnectionsPerIP.Top, AddressUse{c.Key, c.Connections})
		}
	}
	if l.ConnectionsPerUser != nil {
		l.ConnectionsPerUser.Top = make([]UserUse, 0, len(use.Users))
		for _, c := range use.Users {
			l.ConnectionsPerUser.Top = append(l.ConnectionsPerUser.Top, UserUse{c.Key, c.Connections})
		}
	}
}

// widest returns the limits of the handlers, the largest where they differ.
func widest(handlers []*loaded) Limits {
	var limits Limits
	for _, h := range handlers {
		limits.widen(h.Limits())
	}
	return limits
}

// limitsOf returns the limits of the handlers with one name, the largest where they
// differ, and what is used.
func (s *Set) limitsOf(name string, handlers []*loaded) Limits {
	limits := widest(handlers)
	if limits.Connections != nil || limits.ConnectionsPerIP != nil || limits.ConnectionsPerUser != nil {
		limits.fill(s.Seats.Usage(name, mostShown))
	}
	return limits
}

// Hold has the caps hold for the gateway until release. The connections that are there
// already are counted.
func (s *Set) Hold(gateway string, caps admission.Caps) (release func()) {
	return s.Seats.Track(gateway, caps, func(yield func(*admission.Seat, netip.Addr, string)) {
		for _, c := range s.list(func(c *Conn) bool { return c.Gateway == gateway }) {
			yield(c.Seat, AddrOf(c.RemoteIP), c.UserID)
		}
	})
}

// AddrOf reads the address of a client, which is not valid where it is not known.
func AddrOf(ip string) netip.Addr {
	addr, _ := netip.ParseAddr(ip)
	return addr
}
