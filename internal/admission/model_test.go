package admission

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
)

// model is what a ledger should do for one gateway, said in the simplest way.
type model struct {
	live    map[*Seat]client
	tracked map[int]Caps
}

// limit is the limit that a client meets.
func (m *model) limit(caps Caps, c client) Limit {
	perIP, perUser, byIP, byUser := 0, 0, false, false
	for _, t := range m.tracked {
		byIP = byIP || t.PerIP > 0 && t.Bits() == caps.Bits()
		byUser = byUser || t.PerUser > 0
	}
	for _, other := range m.live {
		if c.ip.IsValid() && other.ip.IsValid() && prefix(c.ip, caps) == prefix(other.ip, caps) {
			perIP++
		}
		if c.user != "" && c.user == other.user {
			perUser++
		}
	}
	switch {
	case byIP && caps.PerIP > 0 && perIP >= caps.PerIP:
		return ConnectionsPerIP
	case byUser && caps.PerUser > 0 && perUser >= caps.PerUser:
		return ConnectionsPerUser
	case caps.Connections > 0 && len(m.live) >= caps.Connections:
		return Connections
	}
	return ""
}

func prefix(ip netip.Addr, caps Caps) netip.Prefix {
	ip = ip.Unmap().WithZone("")
	bits := 32
	if ip.Is6() {
		bits = caps.Bits()
	}
	p, err := ip.Prefix(bits)
	if err != nil {
		panic(err)
	}
	return p
}

func randomCaps(r *rand.Rand) Caps {
	return Caps{
		Connections: r.IntN(4) * 10,
		PerIP:       r.IntN(4) * r.IntN(3),
		PerUser:     r.IntN(4) * r.IntN(3),
		IPv6Bits:    []int{0, 1, 47, 64, 127, 128}[r.IntN(6)],
	}
}

func randomClient(r *rand.Rand) client {
	ips := []string{"", "192.0.2.1", "::ffff:192.0.2.1", "192.0.2.2", "2001:db8::1", "2001:db8::2", "2001:db8:0:1::1", "fe80::1%a", "fe80::1", "8000::"}
	return client{address(ips[r.IntN(len(ips))]), []string{"", "a", "b", "c"}[r.IntN(4)]}
}

func TestLedgerDoesAsItsModel(t *testing.T) {
	t.Parallel()
	for seed := range uint64(200) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			r := rand.New(rand.NewPCG(seed, 7))
			l := New()
			m := &model{live: make(map[*Seat]client), tracked: make(map[int]Caps)}
			adopt := func(yield func(*Seat, netip.Addr, string)) {
				for s, c := range m.live {
					yield(s, c.ip, c.user)
				}
			}
			releases := make(map[int]func())
			for i := range 500 {
				switch r.IntN(10) {
				case 0:
					m.tracked[i] = randomCaps(r)
					releases[i] = l.Track("g", m.tracked[i], adopt)
				case 1:
					for i, release := range releases {
						release()
						delete(releases, i)
						delete(m.tracked, i)
						break
					}
				case 2, 3:
					for s := range m.live {
						s.Release()
						delete(m.live, s)
						break
					}
				default:
					caps, c, s := randomCaps(r), randomClient(r), new(Seat)
					want := m.limit(caps, c)
					if got := l.Admit(s, "g", caps, c.ip, c.user); got != want {
						t.Fatalf("step %d: limit %q of %+v for %v, want %q", i, got, caps, c, want)
					}
					if want == "" {
						m.live[s] = c
						if r.IntN(2) == 0 {
							s.Settle()
						}
					}
				}
			}
			for s := range m.live {
				s.Release()
			}
			wantUsage(t, l, "g", Usage{})
			for _, release := range releases {
				release()
			}
			if found := occupied(l, "g"); len(found) > 0 {
				t.Errorf("homes %v still hold something", found)
			}
		})
	}
}
