package membership

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wsgateway/caddy-ws-gateway/fleet"
	"github.com/wsgateway/caddy-ws-gateway/fleet/memory"
	"github.com/wsgateway/caddy-ws-gateway/internal/admission"
	"github.com/wsgateway/caddy-ws-gateway/internal/bubble"
)

// gated is an engine that a node cannot reach while it is down.
type gated struct {
	fleet.Engine
	down *atomic.Bool
}

func (g gated) Exchange(ctx context.Context, b *fleet.Batch) (*fleet.Answer, error) {
	if g.down.Load() {
		return nil, errDown
	}
	return g.Engine.Exchange(ctx, b)
}

func (g gated) Assert(ctx context.Context, s *fleet.Share) error {
	if g.down.Load() {
		return errDown
	}
	return g.Engine.Assert(ctx, s)
}

// forgetful is a fleet of three nodes whose engine forgets.
type forgetful struct {
	t     *testing.T
	fleet *memory.Fleet
	nodes []*node
	downs []*atomic.Bool
	got   [][]*admission.Seat
}

// newForgetful starts the nodes, which have so many connections, and know it of each other.
func newForgetful(t *testing.T, caps admission.Caps, there ...int) *forgetful {
	f := &forgetful{t: t, fleet: memory.New(time.Now), got: make([][]*admission.Seat, len(there))}
	for i := range there {
		down := new(atomic.Bool)
		f.downs = append(f.downs, down)
		f.nodes = append(f.nodes, newNode(t, f.fleet, fmt.Sprint("node", i), caps, func(c *Config) {
			open := c.Open
			c.Open = func(ctx context.Context) (fleet.Engine, error) {
				e, err := open(ctx)
				return gated{e, down}, err
			}
		}))
	}
	start(f.nodes...)
	for i, n := range there {
		for range n {
			if !f.open(i) {
				t.Errorf("node %d is refused what there is room for", i)
			}
		}
		bubble.Elapse(4 * heartbeat) // what is not needed goes back, and is heard of
	}
	for i := range there {
		if f.open(i) { // one that is granted, or not, tells what the others have
			f.close(i)
		}
	}
	bubble.Elapse(4 * heartbeat)
	return f
}

func (f *forgetful) open(i int) bool {
	seat, _ := f.nodes[i].try(alice, "alice")
	if seat != nil {
		f.got[i] = append(f.got[i], seat)
	}
	return seat != nil
}

func (f *forgetful) close(i int) {
	f.nodes[i].leave(f.got[i][0])
	f.got[i] = f.got[i][1:]
}

// forgets are the ways for an engine to lose all, and for nodes to find it again.
var forgets = map[string]func(f *forgetful){
	"flushed": func(f *forgetful) { f.fleet.Flush() },
	"restarted at once": func(f *forgetful) {
		f.fleet.Fail(errDown)
		f.nodes[0].Beat() // the only one who notices
		bubble.Elapse(time.Millisecond)
		f.fleet.Flush()
		f.fleet.Fail(nil)
	},
	"restarted after a while": func(f *forgetful) {
		f.fleet.Fail(errDown)
		bubble.Elapse(30 * time.Second)
		f.fleet.Flush()
		f.fleet.Fail(nil)
	},
	"found one after the other": func(f *forgetful) {
		for i, down := range f.downs {
			down.Store(true)
			time.AfterFunc(30*time.Second+time.Duration(i)*1300*time.Millisecond, func() { down.Store(false) })
		}
		bubble.Elapse(29 * time.Second)
		f.fleet.Flush()
	},
}

var cappedAt12 = map[string]admission.Caps{
	"of a user": {PerUser: 12}, "of a network": {PerIP: 12}, "in all": {Connections: 12},
}

func TestCapHoldsAfterTheEngineForgot(t *testing.T) {
	t.Parallel()
	for name, caps := range cappedAt12 {
		for way, forget := range forgets {
			for churn, closes := range map[string]int{"at the cap": 0, "with churn": 1} {
				t.Run(name+" "+way+" "+churn, func(t *testing.T) {
					t.Parallel()
					synctest.Test(t, func(t *testing.T) {
						f := newForgetful(t, caps, 4, 4, 4)
						forget(f)
						f.hold(12, closes)
						stop(f.nodes...)
					})
				})
			}
		}
	}
}

// hold has clients come, and go before, and checks that there are never more than the cap
// lets in, and not less either in the end.
func (f *forgetful) hold(most, closes int) {
	for step := range 60 {
		at := step % len(f.nodes)
		for range min(closes, len(f.got[at])) {
			f.close(at)
		}
		for i := range f.nodes {
			f.open((at + i) % len(f.nodes))
		}
		if n := total(f.got); n > most {
			f.t.Errorf("%d connections after %d steps, more than %d", n, step, most)
			return
		}
		bubble.Elapse(150 * time.Millisecond)
	}
	bubble.Elapse(2 * heartbeat)
	for i := range f.nodes {
		f.open(i)
	}
	if n := total(f.got); n != most {
		f.t.Errorf("%d connections in the end, want %d", n, most)
	}
}

func TestCapHoldsAfterAFlushForNodesBelowTheirPart(t *testing.T) {
	t.Parallel()
	for name, caps := range cappedAt12 {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				f := newForgetful(t, caps, 1, 5, 6)
				f.fleet.Flush()
				f.hold(12, 1)
				stop(f.nodes...)
			})
		})
	}
}

func TestRoomThatAllKnowOfIsGivenAfterAFlush(t *testing.T) {
	t.Parallel()
	for name, caps := range cappedAt12 {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				f := newForgetful(t, caps, 3, 3, 3)
				f.fleet.Flush()
				for n := range 4 {
					if in := f.open(0); in != (n < 3) {
						t.Errorf("handshake %d with room for three came in: %t", n+1, in)
					}
				}
				stop(f.nodes...)
			})
		})
	}
}

func TestNodesThatDoNotComeBackLeaveTheirRoom(t *testing.T) {
	t.Parallel()
	for name, caps := range cappedAt12 {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				f := newForgetful(t, caps, 4, 4, 4)
				f.nodes[2].Retire(context.Background())
				f.fleet.Flush()
				if f.open(0) {
					t.Error("the room of a node was given away that may live")
				}
				bubble.Elapse(heartbeat + retryLater)
				for range 12 {
					f.open(0)
				}
				if n := len(f.got[0]); n != 8 {
					t.Errorf("%d connections, want 8", n)
				}
				f.nodes[2].Stop(context.Background())
				stop(f.nodes[:2]...)
			})
		})
	}
}

func TestOvershotCapAdmitsNobody(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		nodes := newNodes(t, memory.New(time.Now), 2, admission.Caps{Connections: 4}, nil)
		got := make([][]*admission.Seat, 2)
		for i, n := range nodes { // one joins after the other
			got[i] = rush([]*node{n}, 4, "")[0]
			start(n)
		}
		nodes[0].Beat() // the news had it told that somebody has joined
		synctest.Wait()
		for left := 8; left > 4; left-- {
			at := left % 2
			nodes[at].leave(got[at][0])
			got[at] = got[at][1:]
			for i, n := range nodes {
				if seat, _ := n.try(alice, ""); seat != nil {
					t.Errorf("node %d lets somebody in with %d of 4", i, left-1)
				}
			}
			if left%3 == 0 {
				bubble.Elapse(2 * heartbeat)
			}
		}
		nodes[0].leave(got[0][0])
		bubble.Elapse(2 * heartbeat)
		if n := total(rush(nodes, 10, "")); n != 1 {
			t.Errorf("%d came in with room for one", n)
		}
		stop(nodes...)
	})
}
