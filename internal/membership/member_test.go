package membership

import (
	"context"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"github.com/wsgateway/caddy-ws-gateway/fleet"
	"github.com/wsgateway/caddy-ws-gateway/fleet/memory"
	"github.com/wsgateway/caddy-ws-gateway/internal/admission"
	"github.com/wsgateway/caddy-ws-gateway/internal/balance"
	"github.com/wsgateway/caddy-ws-gateway/internal/bubble"
)

func TestNextMemberCountsWhatIsThere(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(*node){
		"retired": func(n *node) { n.Retire(context.Background()) },
		"stopped": func(n *node) { n.Stop(context.Background()) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				n := newNode(t, memory.New(time.Now), "a", admission.Caps{PerUser: 5, Connections: 8}, nil)
				start(n)
				seats := rush([]*node{n}, 5, "alice")[0]
				seats[0].Settle() // nobody lists it any more
				n.leave(seats[0])
				end(n)
				n.leave(seats[1])
				n.renew(zap.NewNop())
				claimed, _ := n.try(alice, "alice") // before the start
				start(n)
				bubble.Elapse(2 * heartbeat)
				n.expect("alice", 4, 4)
				for _, seat := range append(seats[2:], claimed) {
					n.leave(seat)
				}
				synctest.Wait()
				bubble.Elapse(2 * heartbeat)
				n.expect("alice", 0, 0)
				stop(n)
			})
		})
	}
}

func TestCapThatAReloadBringsCountsWhoIsThere(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t, memory.New(time.Now), "a", admission.Caps{PerIP: 100}, nil)
		start(n)
		there := rush([]*node{n}, 3, "alice")[0]
		for _, seat := range there {
			seat.Settle()
		}
		n.caps = admission.Caps{PerUser: 5, Connections: 10}
		release := n.seats.Track(gateway, n.caps, func(yield func(*admission.Seat, netip.Addr, string)) {
			for _, seat := range there {
				yield(seat, alice, "alice")
			}
		})
		synctest.Wait()
		n.expect("alice", 3, 3)
		bubble.Elapse(heartbeat)
		n.expect("alice", 3, 3)
		if n := total(rush([]*node{n}, 5, "alice")); n != 2 {
			t.Errorf("%d came in, want 2", n)
		}
		for _, seat := range there {
			n.leave(seat)
		}
		release()
		bubble.Elapse(2 * heartbeat)
		n.expect("alice", 2, 0)
		stop(n)
	})
}

func TestClientThatLeavesCountsNowhere(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := memory.New(time.Now)
		n := newNode(t, f, "a", admission.Caps{PerUser: 5}, nil)
		start(n)
		f.Stall()
		ctx, cancel := context.WithCancel(t.Context())
		seat := new(admission.Seat)
		n.seats.Admit(seat, gateway, n.caps, alice, "alice")
		p := n.Claim(seat, gateway, n.caps, alice, "alice")
		synctest.Wait() // it is under way
		cancel()
		p.Wait(ctx)
		seat.Release()
		unsent := new(admission.Seat)
		n.seats.Admit(unsent, gateway, n.caps, alice, "alice")
		n.Claim(unsent, gateway, n.caps, alice, "alice")
		unsent.Release()
		released := new(admission.Seat)
		n.seats.Admit(released, gateway, n.caps, alice, "alice")
		released.Release()
		n.Claim(released, gateway, n.caps, alice, "alice")
		f.Resume()
		bubble.Elapse(heartbeat)
		n.expect("alice", 0, 0)
		stop(n)
	})
}

func TestClaimOfAConnectionThatWasListed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t, memory.New(time.Now), "a", admission.Caps{PerUser: 1}, nil)
		start(n)
		seat := new(admission.Seat)
		n.seats.Admit(seat, gateway, n.caps, alice, "alice")
		n.track(gateway, nil)
		synctest.Wait()
		if v := n.Claim(seat, gateway, n.caps, alice, "alice").Wait(t.Context()); v != (Verdict{}) {
			t.Errorf("verdict %+v", v)
		}
		n.expect("alice", 1, 0)
		seat.Release()
		synctest.Wait()
		n.expect("alice", 0, 0)
		stop(n)
	})
}

// news notes what is told.
type news struct {
	mu    sync.Mutex
	heard []string
	panic bool
}

func (n *news) note(what string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.heard) == 0 || n.heard[len(n.heard)-1] != what {
		n.heard = append(n.heard, what)
	}
	if n.panic {
		panic("news")
	}
}

func (n *news) Joined(context.Context, fleet.Engine)               { n.note("joined") }
func (n *news) Heard(context.Context, fleet.Engine, *fleet.Answer) { n.note("heard") }
func (n *news) Position() string                                   { return "" }
func (n *news) Left()                                              { n.note("left") }

func TestNews(t *testing.T) {
	t.Parallel()
	for name, panics := range map[string]bool{"in order": false, "panicking": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				f := memory.New(time.Now)
				heard := &news{panic: panics}
				n := newNode(t, f, "a", admission.Caps{PerUser: 5}, func(c *Config) { c.News = heard })
				start(n)
				bubble.Elapse(heartbeat)
				for _, outage := range outages {
					outage.begin(f)
					bubble.Elapse(10 * time.Second)
					outage.end(f)
					bubble.Elapse(heartbeat)
				}
				stop(n)
				want := strings.Fields("joined heard left joined heard left joined heard left")
				if !slices.Equal(heard.heard, want) {
					t.Errorf("told %q, want %q", heard.heard, want)
				}
			})
		})
	}
}

// faulty is an engine that panics.
type faulty struct {
	fleet.Engine
	times int
}

func (f *faulty) Exchange(ctx context.Context, b *fleet.Batch) (*fleet.Answer, error) {
	if f.times--; f.times >= 0 {
		panic("fault")
	}
	return f.Engine.Exchange(ctx, b)
}

func TestEngineThatPanics(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := memory.New(time.Now)
		n := newNode(t, f, "a", admission.Caps{PerUser: 5}, func(c *Config) {
			c.Open = func(context.Context) (fleet.Engine, error) { return &faulty{f.Engine(), 2}, nil }
		})
		start(n)
		if n := total(rush([]*node{n}, 10, "alice")); n != 5 {
			t.Errorf("%d came in, want 5", n)
		}
		bubble.Elapse(5 * time.Second)
		n.expect("alice", 5, 0)
		stop(n)
	})
}

func TestView(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := memory.New(time.Now)
		nodes := newNodes(t, f, 2, admission.Caps{}, nil)
		at := map[string]int{"a:1": 3}
		nodes[1].Member.config.Info = func() Info { return Info{Name: "other", Version: "v1", State: "drain", Live: 3, Upstreams: at} }
		start(nodes...)
		bubble.Elapse(heartbeat)
		seen := nodes[0].View()
		want := []NodeView{
			{Name: "node0", ID: "node0", Self: true, State: "ready", Upstreams: map[string]int{}},
			{Name: "other", ID: "node1", State: "drain", Live: 3, Version: "v1", Upstreams: at},
		}
		for i := range seen.Nodes {
			if seen.Nodes[i].Seen.IsZero() {
				t.Error("a node that was never seen")
			}
			seen.Nodes[i].Seen = time.Time{}
		}
		if !seen.Connected || seen.Engine != "memory" || !reflect.DeepEqual(seen.Nodes, want) {
			t.Errorf("view %+v, want %+v", seen, want)
		}
		stop(nodes...)
		if v := nodes[0].View(); v.Connected || len(v.Nodes) == 0 {
			t.Errorf("view %+v of a member that left", v)
		}
	})
}

func TestLoadsAreThoseOfAllNodes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		nodes := newNodes(t, memory.New(time.Now), 2, admission.Caps{}, nil)
		nodes[1].Member.config.Info = func() Info { return Info{Upstreams: map[string]int{"a:1": 3}} }
		b := nodes[0].conns.New(balance.Settings{Name: gateway, Policy: balance.LeastConn{}}, []balance.Member{
			{Address: "a:1", Weight: 1, Source: up{}}, {Address: "b:1", Weight: 1, Source: up{}},
		})
		start(nodes...)
		bubble.Elapse(heartbeat)
		synctest.Wait()
		for range 3 {
			if i, _ := b.Acquire(new(balance.Lease), balance.Ask{}); i != 1 {
				t.Error("the upstream was chosen that the other node has loaded")
			}
		}
		stop(nodes...)
	})
}

func TestNoMember(t *testing.T) {
	t.Parallel()
	var m *Member
	m.Start()
	m.Beat()
	m.Retire(t.Context())
	m.Stop(t.Context())
	p, k := m.Claim(new(admission.Seat), gateway, admission.Caps{PerUser: 1}, alice, "alice"), m.Knock(gateway, admission.Caps{}, alice)
	if p.Wait(t.Context()) != (Verdict{}) || k.Wait(t.Context()) != (Verdict{}) || m.Out() || m.Refuses() ||
		m.MoreSeats(t.Context(), gateway, 1) || m.MoreConns(t.Context(), []string{"a:1"}, 1) || m.View().Engine != "none" {
		t.Error("without a fleet there is something to say")
	}
}

func TestKeysDiffer(t *testing.T) {
	t.Parallel()
	var a, b keys
	a.init([]byte("secret"))
	b.init([]byte("other"))
	v6, same := netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("2001:db8::2")
	caps := admission.Caps{Handshakes: admission.Rate{Count: 1, Per: time.Second}}
	all := []key{
		a.user("g", "u"), b.user("g", "u"), a.user("gu", ""), a.user("", "gu"), a.network("g", 64, v6), a.network("g", 128, v6),
		a.network("g", 64, alice), a.rate("g", caps, v6),
	}
	for i, k := range all {
		if slices.Index(all, k) != i {
			t.Errorf("key %d is %q", i, k)
		}
	}
	if a.network("g", 64, v6) != a.network("g", 64, same) || a.user("g", "u") != all[0] {
		t.Error("keys of the same differ")
	}
}
