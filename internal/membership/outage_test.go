package membership

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wsgateway/caddy-ws-gateway/fleet"
	"github.com/wsgateway/caddy-ws-gateway/fleet/memory"
	"github.com/wsgateway/caddy-ws-gateway/internal/admission"
	"github.com/wsgateway/caddy-ws-gateway/internal/bubble"
)

func TestShareOfANodeThatLeaves(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		leave func(n *node)
		after time.Duration
	}{
		"politely": {func(n *node) { n.Stop(context.Background()) }, 0},
		"dead":     {func(n *node) { n.Retire(context.Background()) }, fleet.Settings{Heartbeat: heartbeat}.Void()},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				nodes := newNodes(t, memory.New(time.Now), 2, admission.Caps{PerUser: 10, Connections: 20}, nil)
				start(nodes...)
				if n := total(rush(nodes[:1], 15, "alice")); n != 10 {
					t.Fatalf("%d came in", n)
				}
				row.leave(nodes[0])
				if row.after > 0 {
					bubble.Elapse(row.after / 2)
					if seat, _ := nodes[1].try(alice, "alice"); seat != nil {
						t.Error("a client came in before the share was void")
					}
					bubble.Elapse(row.after / 2)
				}
				if n := total(rush(nodes[1:], 15, "alice")); n != 10 {
					t.Errorf("%d came in after the other node has gone, want 10", n)
				}
				stop(nodes[1])
				if s := nodes[1].seats.Shared()[0]; s.Allowance <= s.Cap {
					t.Errorf("an allowance of %d holds without a fleet", s.Allowance)
				}
			})
		})
	}
}

func TestFlushedEngineIsToldAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := memory.New(time.Now)
		nodes := newNodes(t, f, 3, admission.Caps{PerUser: 100, Connections: 200}, nil)
		start(nodes...)
		if n := total(rush(nodes, 60, "alice")); n != 60 {
			t.Fatalf("%d came in", n)
		}
		bubble.Elapse(2 * heartbeat)
		f.Flush()
		begun := time.Now()
		seat, _ := nodes[0].try(alice, "alice")
		if took := time.Since(begun); seat == nil || took > 0 {
			t.Errorf("the next handshake took %s", took)
		}
		nodes[0].leave(seat)
		bubble.Elapse(heartbeat)
		synctest.Wait()
		if connections, _ := look(t, f, nodes[0].userKey("alice"), ""); connections != 60 {
			t.Errorf("the engine has %d connections after a beat, want 60", connections)
		}
		if n := total(rush(nodes, 100, "alice")); n != 40 {
			t.Errorf("%d came in, want 40", n)
		}
		for _, n := range nodes {
			if errs, infos := n.levels(); errs+infos > 0 {
				t.Errorf("%d lines about an engine that answers", errs+infos)
			}
		}
		stop(nodes...)
	})
}

var errDown = errors.New("connection refused")

// outages are ways for an engine not to answer.
var outages = map[string]struct{ begin, end func(f *memory.Fleet) }{
	"silent":  {(*memory.Fleet).Stall, (*memory.Fleet).Resume},
	"refused": {func(f *memory.Fleet) { f.Fail(errDown) }, func(f *memory.Fleet) { f.Fail(nil) }},
}

func TestOutageIsDecidedByEachNode(t *testing.T) {
	t.Parallel()
	for name, outage := range outages {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				f := memory.New(time.Now)
				nodes := newNodes(t, f, 2, admission.Caps{PerUser: 100, Connections: 1000}, nil)
				start(nodes...)
				first := rush(nodes, 80, "alice") // 40 each
				for _, n := range nodes {         // each knows of the others
					seat, _ := n.try(alice, "alice")
					n.leave(seat)
					synctest.Wait()
				}
				bubble.Elapse(heartbeat)
				outage.begin(f)
				waited := time.Duration(0)
				var late [2]int
				for range 100 {
					for i, n := range nodes {
						begun := time.Now()
						if seat, _ := n.try(alice, "alice"); seat != nil {
							first[i] = append(first[i], seat)
							late[i]++
						}
						took := time.Since(begun)
						if took > timeout {
							t.Fatalf("a handshake took %s", took)
						}
						waited += took
					}
				}
				if waited > 2*3*timeout {
					t.Errorf("handshakes waited %s in all", waited)
				}
				for i, n := range nodes { // 100 less the 40 of the other, and its part is 50
					if late[i] != 20 || !n.Out() || n.Refuses() || n.View().Connected {
						t.Errorf("%d came in during the outage, want 20", late[i])
					}
				}
				bubble.Elapse(20 * time.Second)
				outage.end(f)
				bubble.Elapse(heartbeat) // sums are right, and what is not needed goes back with the next
				connections, parts := look(t, f, nodes[0].userKey("alice"), slot{name: gateway}.key())
				if connections != 120 || parts < 120 {
					t.Errorf("%d connections and parts of %d after a beat, want 120", connections, parts)
				}
				bubble.Elapse(heartbeat)
				synctest.Wait()
				nodes[0].expect("alice", 120, 120)
				for i, n := range nodes {
					if seat, v := n.try(alice, "alice"); seat != nil {
						t.Errorf("verdict %+v above the cap", v)
					}
					if errs, infos := n.levels(); errs != 1 || infos != 1 || n.Out() || !n.View().Connected {
						t.Errorf("%d errors and %d other lines, want 1 and 1", errs, infos)
					}
					for _, seat := range first[i][:10] {
						n.leave(seat)
					}
				}
				synctest.Wait()
				if seat, _ := nodes[0].try(alice, "alice"); seat != nil {
					t.Error("a client came in at the cap")
				}
				nodes[0].leave(first[0][10])
				synctest.Wait()
				if seat, v := nodes[1].try(alice, "alice"); seat == nil {
					t.Errorf("verdict %+v with room for one", v)
				}
				stop(nodes...)
			})
		})
	}
}

func TestOutageOfTheWholeCap(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := memory.New(time.Now)
		nodes := newNodes(t, f, 3, admission.Caps{Connections: 100}, nil)
		start(nodes...)
		got := rush(nodes[:1], 80, "")
		bubble.Elapse(3 * heartbeat)
		f.Stall()
		for range 100 {
			for i := range nodes {
				if seat, _ := nodes[i].try(alice, ""); seat != nil {
					got = append(got, nil)
					got[i] = append(got[i], seat)
				}
			}
		}
		// All that the first has room for, and the even part of the others.
		want := []int{100, 34, 34}
		for i := range nodes {
			if len(got[i]) != want[i] {
				t.Errorf("node %d has %d connections, want %d", i, len(got[i]), want[i])
			}
		}
		f.Resume()
		bubble.Elapse(heartbeat)
		nodes[0].expect("", 0, 168)
		for i, n := range nodes { // each of 22 who leave would have room on their node
			for _, seat := range got[i][:22] {
				n.leave(seat)
				if seat, _ := n.try(alice, ""); seat != nil {
					t.Fatal("a client came in while the cap did not hold")
				}
			}
		}
		for _, seat := range got[0][22:42] {
			nodes[0].leave(seat)
		}
		bubble.Elapse(2 * heartbeat)
		if n := total(rush(nodes, 100, "")); n < 14 || n > 18 {
			t.Errorf("%d came in when there was room for 18", n)
		}
		stop(nodes...)
	})
}

func TestClosedOutage(t *testing.T) {
	t.Parallel()
	for name, outage := range outages {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				f := memory.New(time.Now)
				caps := admission.Caps{PerUser: 100, Connections: 1000}
				n := newNode(t, f, "a", caps, func(c *Config) { c.Settings.Closed = true })
				start(n)
				rush([]*node{n}, 10, "alice")
				outage.begin(f)
				for range 20 {
					if seat, v := n.try(alice, "alice"); seat != nil || !v.Closed && v.Limit != admission.Connections {
						t.Errorf("verdict %+v during the outage", v)
					}
				}
				if !n.Refuses() {
					t.Error("it does not refuse handshakes")
				}
				outage.end(f)
				bubble.Elapse(2 * time.Second)
				if seat, v := n.try(alice, "alice"); seat == nil || n.Refuses() {
					t.Errorf("verdict %+v after the outage", v)
				}
				n.expect("alice", 11, n.seats.Shared()[0].Allowance)
				stop(n)
			})
		})
	}
}

func TestLateAnswersAreCorrected(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := memory.New(time.Now)
		n := newNode(t, f, "a", admission.Caps{PerUser: 3}, nil)
		start(n)
		for range 20 {
			f.Stall()
			seat, v := n.try(alice, "alice") // decided by the node
			if seat == nil {
				t.Fatalf("verdict %+v", v)
			}
			f.Resume() // now the engine takes what it was told before
			synctest.Wait()
			bubble.Elapse(time.Second)
			n.expect("alice", 1, 0)
			n.leave(seat)
			bubble.Elapse(time.Second)
			n.expect("alice", 0, 0)
			if n.Out() {
				t.Error("one late answer is no outage")
			}
		}
		stop(n)
	})
}

func TestStartWithoutTheEngine(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := memory.New(time.Now)
		var down atomic.Bool
		down.Store(true)
		n := newNode(t, f, "a", admission.Caps{PerUser: 3, Connections: 5}, func(c *Config) {
			open := c.Open
			c.Open = func(ctx context.Context) (fleet.Engine, error) {
				if down.Load() {
					<-ctx.Done()
					return nil, errDown
				}
				return open(ctx)
			}
		})
		start(n)
		if n := total(rush([]*node{n}, 10, "alice")); n != 3 {
			t.Errorf("%d came in, want 3", n)
		}
		if n := total(rush([]*node{n}, 10, "bob")); n != 2 {
			t.Errorf("%d came in, want 2", n)
		}
		bubble.Elapse(10 * time.Second)
		down.Store(false)
		bubble.Elapse(5 * time.Second)
		n.expect("alice", 3, 5)
		if errs, infos := n.levels(); errs != 1 || infos != 1 {
			t.Errorf("%d errors and %d other lines, want 1 and 1", errs, infos)
		}
		stop(n)
	})
}
