package live

import (
	"fmt"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/wsgateway/caddy-ws-gateway/internal/bubble"
	"github.com/wsgateway/caddy-ws-gateway/internal/relay"
)

func TestRemovedUpstreamIsDrainedEvenlyOverThePeriod(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const n, period = 100, 10 * time.Second
		s := newSet()
		s.Name("a:1")
		var mu sync.Mutex
		var ended []time.Duration
		start := time.Now()
		var wg sync.WaitGroup
		for range n {
			client, backend := open(t, s, "a:1", "a:1", period)
			wg.Go(func() {
				if code := <-client.Code; code != 1012 {
					t.Errorf("the client got %d, want 1012", code)
				}
				mu.Lock()
				ended = append(ended, time.Since(start))
				mu.Unlock()
				if code := <-backend.Code; code != 1001 {
					t.Errorf("the upstream got %d, want 1001", code)
				}
			})
		}
		s.unname("a:1")
		wg.Wait()
		synctest.Wait()
		perSecond := make(map[int]int)
		for _, d := range ended {
			if d > period {
				t.Errorf("one ended after %s", d)
			}
			perSecond[int(d/time.Second)]++
		}
		for second := range 10 {
			if got := perSecond[second]; got != n/10 {
				t.Errorf("in second %d, %d were ended, want %d", second, got, n/10)
			}
		}
		if left := s.connections.count + len(s.series); left != 0 {
			t.Errorf("the set still holds %d", left)
		}
	})
}

func TestConnectionStaysWhileAnyConfigurationNamesItsUpstream(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		member       string
		joins, leave []string
		stays        bool
	}{
		"named again":           {"a:1", []string{"a:1", "a:1"}, []string{"a:1"}, true},
		"named no more":         {"a:1", []string{"a:1", "b:1"}, []string{"a:1"}, false},
		"dynamic, named as one": {"dynamic:x", []string{"dynamic:x", "a:1"}, []string{"dynamic:x"}, true},
		"dynamic, gone":         {"dynamic:x", []string{"dynamic:x"}, []string{"dynamic:x"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := newSet()
				for _, member := range row.joins {
					s.Name(member)
				}
				client, _ := open(t, s, "a:1", row.member, time.Second)
				for _, member := range row.leave {
					s.unname(member)
				}
				elapse(2 * time.Second)
				synctest.Wait()
				if stays := s.connections.count == 1; stays != row.stays {
					t.Errorf("stays: %t, want %t", stays, row.stays)
				}
				_ = client.Close()
				elapse(time.Minute)
			})
		})
	}
}

func TestUpstreamThatComesBackStopsItsDrain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSet()
		s.Name("a:1")
		var clients []*bubble.Peer
		for range 10 {
			client, _ := open(t, s, "a:1", "a:1", 10*time.Second)
			clients = append(clients, client)
		}
		s.unname("a:1")
		elapse(5 * time.Second)
		s.Name("a:1")
		elapse(20 * time.Second)
		synctest.Wait()
		if left := s.connections.count; left != 5 {
			t.Errorf("%d connections are left, want the 5 whose turn had not come", left)
		}
		for _, client := range clients {
			_ = client.Close()
		}
		elapse(time.Minute)
	})
}

// The configuration may be gone between the choice of an upstream and the
// moment the connection is live.
func TestConnectionThatComesTooLateIsEnded(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		before func(*Set)
		want   int
	}{
		"its upstream was removed": {func(*Set) {}, 1012},
		"the process exits":        {func(s *Set) { s.Exit(time.Second) }, 1001},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := newSet()
				row.before(s)
				client, _ := open(t, s, "a:1", "a:1", time.Second)
				if code := <-client.Code; code != row.want {
					t.Errorf("the client got %d, want %d", code, row.want)
				}
			})
		})
	}
}

func TestExitEndsEveryoneAndWaitsForThem(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSet()
		s.Name("a:1")
		var clients []*bubble.Peer
		for range 50 {
			client, _ := open(t, s, "a:1", "a:1", time.Minute)
			clients = append(clients, client)
		}
		s.Exit(10 * time.Second)
		s.AwaitEmpty()
		if left := s.connections.count; left != 0 {
			t.Errorf("%d connections are left", left)
		}
		for _, client := range clients {
			if code := <-client.Code; code != 1001 {
				t.Errorf("a client got %d, want 1001", code)
			}
		}
	})
}

func TestExitIsBoundedWhereAClientDoesNotAnswer(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSet()
		s.Name("a:1")
		near, far := net.Pipe()
		nearBackend, farBackend := net.Pipe()
		c := s.NewConn(Details{ID: "x", Protocol: ProtocolWebSocket, Upstream: "a:1",
			Link: relay.New(relay.Config{Client: near, Upstream: nearBackend, CloseTimeout: time.Hour})}, "a:1", Authority{})
		s.Add(c)
		go func() {
			defer s.Remove(c)
			relayOf(c).Run()
		}()
		start := time.Now()
		s.Exit(10 * time.Second)
		s.AwaitEmpty()
		if took := time.Since(start); took != 10*time.Second {
			t.Errorf("waited %s, want the 10s of the period", took)
		}
		_ = far.Close()
		_ = farBackend.Close()
		<-s.gone(c)
	})
}

func TestNothingIsDrainedOnceTheProcessExits(t *testing.T) {
	t.Parallel()
	for name, begin := range map[string]func(*Set){
		"as the set was told":     func(s *Set) { s.beginExit(10 * time.Second) },
		"before the set was told": func(s *Set) { s.exits = func() bool { return true } },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := newSet()
				release := s.Name("a:1", "b:2")
				client, _ := open(t, s, "a:1", "a:1", 0)
				begin(s)
				release()
				synctest.Wait()
				s.Exit(10 * time.Second)
				if code := <-client.Code; code != 1001 {
					t.Errorf("the client got %d, want 1001", code)
				}
				if len(s.members) != 0 {
					t.Errorf("%d members are still named", len(s.members))
				}
			})
		})
	}
}

func TestReportsGoToTheNewestConfigurationThatIsLoaded(t *testing.T) {
	t.Parallel()
	s := newSet()
	newLogger := func() (*zap.Logger, *observer.ObservedLogs) {
		core, logs := observer.New(zapcore.InfoLevel)
		return zap.New(core), logs
	}
	first, firstLogs := newLogger()
	failed, failedLogs := newLogger()
	second, secondLogs := newLogger()

	releaseFirst := s.ReportTo("gw", first)
	s.ReportTo("gw", failed)() // a configuration that does not load
	s.Reporter("gw").Info("1")
	releaseSecond := s.ReportTo("gw", second)
	releaseFirst()
	s.Reporter("gw").Info("2")
	releaseSecond()
	if got := fmt.Sprint(firstLogs.Len(), failedLogs.Len(), secondLogs.Len()); got != "1 0 1" {
		t.Errorf("lines per logger: %s", got)
	}
	if s.Reporter("gw") != nil {
		t.Error("a logger still takes the reports of a gateway that is gone")
	}
}
