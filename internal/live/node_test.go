package live

import (
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wsgateway/caddy-ws-gateway/internal/balance"
	"github.com/wsgateway/caddy-ws-gateway/internal/bubble"
)

// crowd opens n connections at an upstream that is there, the idlest first.
func crowd(t *testing.T, s *Set, n int, period time.Duration) (clients []*bubble.Peer) {
	t.Helper()
	s.Name("a:1")
	for range n {
		client, _ := open(t, s, "a:1", "a:1", period)
		clients = append(clients, client)
		elapse(time.Millisecond)
	}
	return clients
}

// count is how many connections are left once everything has come to rest.
func count(s *Set) int {
	synctest.Wait()
	return s.Node().Live
}

// hangUp ends the test's connections.
func hangUp(clients []*bubble.Peer) {
	for _, client := range clients {
		_ = client.Close()
	}
	elapse(time.Minute)
}

// drainers counts the goroutines that end connections one after the other, those of
// other bubbles too: tests that look at it are not parallel.
func drainers() int {
	synctest.Wait()
	stacks := make([]byte, 1<<20)
	return strings.Count(string(stacks[:runtime.Stack(stacks, true)]), "(*Set).runDrain(")
}

func TestDrainOfTheNodeEndsEveryConnectionWithinThePeriodIdleOnesFirst(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		own   time.Duration
		given *time.Duration
		takes time.Duration
	}{
		"the period of each": {20 * time.Second, nil, 20 * time.Second},
		"a shorter one":      {time.Hour, new(10 * time.Second), 10 * time.Second},
		"a longer one":       {time.Second, new(time.Minute), time.Minute},
		"at once":            {time.Hour, new(time.Duration(0)), 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				const n = 20
				s := newSet()
				clients := crowd(t, s, n, row.own)
				s.DrainNode(row.given)
				for i := range n {
					left := n - i
					if row.takes == 0 {
						left = 0
					}
					if i > 0 && count(s) != left {
						t.Fatalf("%d are left after %d parts of the period, want %d", count(s), i, left)
					}
					elapse(row.takes / n)
				}
				if left := count(s); left != 0 {
					t.Errorf("%d are left after the period", left)
				}
				for i, client := range clients {
					if code := <-client.Code; code != 1012 {
						t.Errorf("client %d got %d, want 1012", i, code)
					}
				}
			})
		})
	}
}

func TestIdlestConnectionIsTheFirstToLeaveTheNode(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSet()
		clients := crowd(t, s, 4, 4*time.Second)
		s.DrainNode(nil)
		for i, client := range clients {
			elapse(time.Second)
			synctest.Wait()
			if len(client.Code) != 1 {
				t.Errorf("client %d, the idlest, was not the next to go", i)
			}
		}
	})
}

func TestReadyStopsTheDrainOfTheNodeAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSet()
		began := time.Now()
		clients := crowd(t, s, 10, time.Hour)
		if node := s.Node(); node.State != "ready" || node.Live != 10 || !node.Since.Equal(began.UTC().Truncate(time.Second)) {
			t.Errorf("before: %+v", node)
		}
		drains, forget := s.NodeDrains()
		_, leave := s.NodeDrains()
		leave()
		s.DrainNode(new(10 * time.Second))
		<-drains
		forget()
		drains, forget = s.NodeDrains() // it does so already
		<-drains
		forget()
		if period, draining := s.NodeDraining(); !draining || *period != 10*time.Second {
			t.Errorf("draining is %t, in %v", draining, period)
		}
		elapse(5 * time.Second)
		s.ReadyNode()
		if n := drainers(); n != 0 {
			t.Errorf("%d goroutines still drain", n)
		}
		if node := s.Node(); node.State != "ready" || node.Since.Before(began.Add(5*time.Second).Truncate(time.Second)) {
			t.Errorf("after: %+v", node)
		}
		drains, forget = s.NodeDrains()
		select {
		case <-drains:
			t.Error("handshakes that wait are told that the node drains")
		default:
		}
		forget()
		if n := len(s.node.waiters); n != 0 {
			t.Errorf("%d are still to be told", n)
		}
		s.ReadyNode() // is nothing
		elapse(time.Minute)
		if left := count(s); left != 5 {
			t.Errorf("%d are left, want the 5 whose turn had not come", left)
		}
		late, _ := open(t, s, "a:1", "a:1", 0)
		elapse(time.Minute)
		if left := count(s); left != 6 {
			t.Errorf("%d are left, want the new one too", left)
		}
		hangUp(append(clients, late))
	})
}

func TestAnotherDrainOfTheNodeReschedulesWhatIsLeft(t *testing.T) {
	for name, row := range map[string]struct {
		first, second *time.Duration
		after         time.Duration // when it is over, from the second on
	}{
		"shorter":             {new(time.Hour), new(10 * time.Second), 10 * time.Second},
		"longer":              {new(20 * time.Second), new(time.Minute), time.Minute},
		"at once":             {new(time.Hour), new(time.Duration(0)), 0},
		"that of each":        {new(time.Hour), nil, 30 * time.Second},
		"given now":           {nil, new(10 * time.Second), 10 * time.Second},
		"the same":            {new(20 * time.Second), new(20 * time.Second), 10 * time.Second},
		"that of each, still": {nil, nil, 20 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSet()
				crowd(t, s, 100, 30*time.Second)
				s.DrainNode(row.first)
				since := s.Node().Since
				elapse(10 * time.Second)
				s.DrainNode(row.second)
				if n := drainers(); n > 1 {
					t.Errorf("%d goroutines drain", n)
				}
				if now := s.Node(); !now.Since.Equal(since) || now.State != "drain" {
					t.Errorf("drains since %s, want %s", now.Since, since)
				}
				if row.after > 0 {
					elapse(row.after * 4 / 5)
					if left := count(s); left == 0 {
						t.Error("it is over too soon")
					}
				}
				elapse(row.after/5 + time.Nanosecond)
				if left := count(s); left != 0 {
					t.Errorf("%d are left", left)
				}
			})
		})
	}
}

func TestConnectionThatComesWhileTheNodeDrainsIsEndedInTheRestOfThePeriod(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		own       time.Duration
		given     *time.Duration
		late, max time.Duration
	}{
		"in the middle":         {time.Hour, new(10 * time.Second), 9 * time.Second, time.Second},
		"of its own period":     {10 * time.Second, nil, 9 * time.Second, time.Second},
		"after the period":      {time.Hour, new(10 * time.Second), time.Minute, 0},
		"when all are ended":    {time.Hour, new(time.Duration(0)), 0, 0},
		"of its own, long over": {time.Second, nil, time.Minute, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := newSet()
				s.Name("a:1")
				s.DrainNode(row.given)
				elapse(row.late)
				client, _ := open(t, s, "a:1", "a:1", row.own)
				elapse(row.max)
				if left := count(s); left != 0 {
					t.Error("it is still there")
				}
				if code := <-client.Code; code != 1012 {
					t.Errorf("it got %d, want 1012", code)
				}
			})
		})
	}
}

func TestReadyKeepsAConnectionThatCameWhileTheNodeDrained(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSet()
		s.Name("a:1")
		s.DrainNode(new(time.Hour))
		client, _ := open(t, s, "a:1", "a:1", 0)
		s.ReadyNode()
		if n := drainers(); n != 0 {
			t.Errorf("%d goroutines still drain", n)
		}
		elapse(2 * time.Hour)
		if left := count(s); left != 1 {
			t.Error("it was ended")
		}
		hangUp([]*bubble.Peer{client})
	})
}

func TestExitDuringTheDrainOfTheNodeEndsAllAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSet()
		clients := crowd(t, s, 10, time.Hour)
		s.DrainNode(new(10 * time.Second))
		elapse(5 * time.Second)
		synctest.Wait()
		s.Exit(10 * time.Second)
		s.AwaitEmpty()
		if n := drainers(); n != 0 || count(s) != 0 {
			t.Errorf("%d goroutines still drain, and %d connections are left", n, count(s))
		}
		for i, client := range clients {
			want := 1001
			if i < 5 {
				want = 1012
			}
			if code := <-client.Code; code != want {
				t.Errorf("client %d got %d, want %d", i, code, want)
			}
		}
	})
}

func TestReadyLeavesEveryOtherDrainAlone(t *testing.T) {
	t.Parallel()
	for name, begin := range map[string]func(*Set){
		"of a removed upstream": func(s *Set) { s.unname("a:1") },
		"of one upstream":       func(s *Set) { s.SetState("a:1", balance.Drain) },
		"of a gateway's":        func(s *Set) { s.DrainGateway("test", "a:1", func() bool { return true }) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := newSet()
				crowd(t, s, 10, 10*time.Second)
				begin(s)
				s.DrainNode(new(time.Hour))
				s.ReadyNode()
				elapse(10 * time.Second)
				if left := count(s); left != 0 {
					t.Errorf("%d are left", left)
				}
			})
		})
	}
}

func TestUpstreamThatIsReadyAgainKeepsNobodyWhileTheNodeDrains(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSet()
		crowd(t, s, 10, 10*time.Second)
		s.SetState("a:1", balance.Drain)
		s.DrainNode(nil)
		s.SetState("a:1", balance.Ready)
		elapse(10 * time.Second)
		if left := count(s); left != 0 {
			t.Errorf("%d are left", left)
		}
	})
}

func TestNodeHasAnIDOfItsOwn(t *testing.T) {
	t.Parallel()
	one, other := newSet().Node().ID, newSet().Node().ID
	if len(one) != 16 || one == other {
		t.Errorf("the IDs are %q and %q", one, other)
	}
}

// server is an HTTP/3 server that may be gone.
type server struct {
	closed chan time.Time
	gone   *bool
}

func newServer() server { return server{make(chan time.Time, 1), new(false)} }

func (s server) Gone() bool { return *s.gone }

func (s server) Close() error { s.closed <- time.Now(); return nil }

// passOver has a connection come over the server, and leave.
func (s *Set) passOver(server Server) {
	c := lone("g", "u")
	c.Server, c.member, c.Upstream = server, "a:1", "a:1"
	s.Add(c)
	s.Remove(c)
}

func TestExitHangsUpOnTheServersOfADrainedNode(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		before func(*Set)
		closes bool
	}{
		"it drains":              {func(s *Set) { s.DrainNode(nil) }, true},
		"it is ready":            {func(*Set) {}, false},
		"it drains not any more": {func(s *Set) { s.DrainNode(nil); s.ReadyNode() }, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := newSet()
				s.Name("a:1")
				quic := newServer()
				s.passOver(quic)
				row.before(s)
				start := time.Now()
				s.Exit(time.Minute)
				s.HangUp()
				elapse(time.Second)
				synctest.Wait()
				if closes := len(quic.closed) == 1; closes != row.closes {
					t.Fatalf("closed is %t", closes)
				}
				if row.closes {
					if at := <-quic.closed; at.Sub(start) != drainedHangUpDelay {
						t.Errorf("closed after %s", at.Sub(start))
					}
				}
			})
		})
	}
}

func TestServersThatAreGoneAreForgotten(t *testing.T) {
	t.Parallel()
	s := newSet()
	s.Name("a:1")
	for range 100 { // as many reloads
		quic := newServer()
		s.passOver(quic)
		s.passOver(quic)
		*quic.gone = true
	}
	if n := len(s.servers); n != 1 {
		t.Errorf("%d are remembered, want the last one", n)
	}
}
