package membership

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wsgateway/caddy-ws-gateway/fleet/memory"
	"github.com/wsgateway/caddy-ws-gateway/internal/admission"
	"github.com/wsgateway/caddy-ws-gateway/internal/bubble"
)

// model is a fleet to which anything may happen.
type model struct {
	t       *testing.T
	rand    *rand.Rand
	fleet   *memory.Fleet
	caps    admission.Caps
	nodes   []*node
	clients [][]modelClient // by node
	release []func()        // the caps of a node
	born    int
	stalled bool
	doubt   bool // there was something lately after which a cap may be exceeded
}

type modelClient struct {
	seat *admission.Seat
	ip   netip.Addr
	user string
}

func TestModel(t *testing.T) {
	t.Parallel()
	for seed := range uint64(30) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				m := &model{
					t: t, rand: rand.New(rand.NewPCG(seed, 0)), fleet: memory.New(time.Now),
					nodes: make([]*node, 3), clients: make([][]modelClient, 3), release: make([]func(), 3),
				}
				m.reload()
				for i := range m.nodes {
					m.arrive(i)
				}
				for range 30 {
					for range 20 {
						m.step()
					}
					m.calm()
				}
				m.finish()
			})
		})
	}
}

func (m *model) step() {
	i := m.rand.IntN(len(m.nodes))
	switch n := m.rand.IntN(100); {
	case n < 50:
		m.open(i)
	case n < 80:
		m.close(i)
	case n < 90:
		bubble.Elapse(time.Duration(m.rand.IntN(4000)) * time.Millisecond)
	case n < 92:
		m.fleet.Flush()
		m.doubt = true
	case n < 94:
		m.stall()
	case n < 96:
		m.reload()
	case n < 97:
		m.die(i)
	case n < 98:
		m.replace(i)
	default:
		if m.nodes[i] == nil {
			m.arrive(i)
		} else {
			m.nodes[i].Beat()
		}
	}
}

func (m *model) open(i int) {
	n := m.nodes[i]
	if n == nil {
		return
	}
	user := string(rune('a' + m.rand.IntN(4)))
	ip := netip.AddrFrom4([4]byte{192, 0, 2, byte(m.rand.IntN(4))})
	begun := time.Now()
	seat, _ := n.try(ip, user)
	if took := time.Since(begun); took > timeout {
		m.t.Errorf("a handshake took %s", took)
	}
	if seat == nil {
		return
	}
	m.clients[i] = append(m.clients[i], modelClient{seat, ip, user})
	if m.rand.IntN(2) == 0 {
		seat.Settle()
	}
	if m.doubt {
		return
	}
	byUser, byIP, all := m.count(user, ip)
	if exceeds(byUser, m.caps.PerUser) || exceeds(byIP, m.caps.PerIP) || exceeds(all, m.caps.Connections) {
		m.t.Errorf("%d connections of a user, %d of an address, %d in all: more than %+v", byUser, byIP, all, m.caps)
	}
}

func exceeds(n, most int) bool { return most > 0 && n > most }

func (m *model) count(user string, ip netip.Addr) (byUser, byIP, all int) {
	for _, clients := range m.clients {
		for _, c := range clients {
			all++
			if c.user == user {
				byUser++
			}
			if c.ip == ip {
				byIP++
			}
		}
	}
	return byUser, byIP, all
}

func (m *model) close(i int) {
	if len(m.clients[i]) == 0 {
		return
	}
	at := m.rand.IntN(len(m.clients[i]))
	m.nodes[i].leave(m.clients[i][at].seat)
	m.clients[i] = append(m.clients[i][:at], m.clients[i][at+1:]...)
}

func (m *model) stall() {
	if m.stalled {
		m.fleet.Resume()
	} else {
		m.fleet.Stall()
		m.doubt = true
	}
	m.stalled = !m.stalled
}

// reload gives all nodes other caps.
func (m *model) reload() {
	m.caps = admission.Caps{PerUser: 2 * m.rand.IntN(3), PerIP: 3 * m.rand.IntN(3), Connections: 5 * m.rand.IntN(4)}
	m.doubt = true // connections that are there may not be counted yet
	for i := range m.nodes {
		m.track(i)
	}
}

func (m *model) track(i int) {
	n := m.nodes[i]
	if n == nil {
		return
	}
	n.caps = m.caps
	old := m.release[i]
	m.release[i] = n.seats.Track(gateway, m.caps, func(yield func(*admission.Seat, netip.Addr, string)) {
		for _, c := range m.clients[i] {
			yield(c.seat, c.ip, c.user)
		}
	})
	old()
}

// arrive has a new process begin.
func (m *model) arrive(i int) {
	m.born++
	m.nodes[i] = newNode(m.t, m.fleet, fmt.Sprint("node", m.born), admission.Caps{}, nil)
	m.release[i] = func() {}
	m.track(i)
	m.nodes[i].Start()
}

// die has a process and all of its connections vanish.
func (m *model) die(i int) {
	if m.nodes[i] != nil {
		m.nodes[i].Retire(context.Background())
		m.nodes[i], m.clients[i] = nil, nil
	}
}

// replace gives the process another member, as a reload does.
func (m *model) replace(i int) {
	n := m.nodes[i]
	if n == nil {
		return
	}
	if m.rand.IntN(2) == 0 {
		n.Retire(context.Background())
	} else {
		n.Stop(context.Background())
		m.doubt = true
	}
	n.renew(n.config.Logger)
	n.Start()
}

// calm waits until the fleet must be right, and checks that it is.
func (m *model) calm() {
	if m.stalled {
		m.stall()
	}
	bubble.Elapse(20 * time.Second)
	synctest.Wait()
	m.doubt = false
	live := 0
	for _, clients := range m.clients {
		live += len(clients)
	}
	k := new(keys)
	k.init([]byte("secret"))
	for i := range 4 {
		user, ip := string(rune('a'+i)), netip.AddrFrom4([4]byte{192, 0, 2, byte(i)})
		byUser, byIP, _ := m.count(user, ip)
		if m.caps.PerUser > 0 {
			m.check("user", k.user(gateway, user), byUser)
		}
		if m.caps.PerIP > 0 {
			m.check("address", k.network(gateway, admission.DefaultIPv6Bits, ip), byIP)
		}
	}
	if _, parts := look(m.t, m.fleet, "", slot{name: gateway}.key()); m.caps.Connections > 0 && parts != live {
		m.t.Errorf("parts of %d for %d connections", parts, live)
	}
}

func (m *model) check(what string, k key, live int) {
	if n, _ := look(m.t, m.fleet, string(k[:]), ""); n != live {
		m.t.Errorf("the engine has %d connections of a %s, of %d", n, what, live)
	}
}

func (m *model) finish() {
	for i, n := range m.nodes {
		for len(m.clients[i]) > 0 {
			m.close(i)
		}
		m.release[i]()
		if n != nil {
			bubble.Elapse(20 * time.Second)
			n.Stop(context.Background())
			if len(n.books.seats) > 0 || len(n.books.counts) > 0 {
				m.t.Errorf("%d seats and %d counts are kept for nothing", len(n.books.seats), len(n.books.counts))
			}
		}
	}
}
