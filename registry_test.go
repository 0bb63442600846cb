package wsgateway

import (
	"fmt"
	"io"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/wsgateway/caddy-ws-gateway/internal/relay"
)

// elapse lets the fake time of a synctest bubble pass.
func elapse(d time.Duration) { <-time.After(d) }

// peer is the far end of one side of a connection.
type peer struct {
	net.Conn
	code chan int // of the close frame it got
}

// answerClose reads until a close frame, records its code and answers it.
func (p *peer) answerClose() {
	buf := make([]byte, 256)
	n, err := p.Read(buf)
	if err != nil || n < 2 || buf[0] != 0x88 {
		p.code <- 0
		return
	}
	payload := buf[2:n]
	if buf[1]&0x80 != 0 {
		key := payload[:4]
		payload = payload[4:]
		for i := range payload {
			payload[i] ^= key[i%4]
		}
	}
	p.code <- int(payload[0])<<8 | int(payload[1])
	_, _ = p.Write([]byte{0x88, 0x02, payload[0], payload[1]})
	_, _ = io.Copy(io.Discard, p)
}

// open adds a live connection to the registry and returns its far ends.
func open(t *testing.T, g *registry, upstream, member string, drain time.Duration) (client, backend *peer) {
	t.Helper()
	c, client, backend := prepare(t, upstream, member, drain)
	live(g, c, client, backend)
	return client, backend
}

// prepare makes a connection and its far ends.
func prepare(t *testing.T, upstream, member string, drain time.Duration) (c *connection, client, backend *peer) {
	t.Helper()
	nearClient, farClient := net.Pipe()
	nearBackend, farBackend := net.Pipe()
	client, backend = &peer{farClient, make(chan int, 1)}, &peer{farBackend, make(chan int, 1)}
	return &connection{
		id: newConnectionID(), gateway: "test", upstream: upstream, member: member,
		openedAt: time.Now(), drainPeriod: drain,
		relay: relay.New(relay.Config{Client: nearClient, Upstream: nearBackend}),
	}, client, backend
}

// live adds the connection and lets it live.
func live(g *registry, c *connection, client, backend *peer) {
	g.add(c)
	go func() {
		defer g.remove(c)
		c.relay.Run()
	}()
	go client.answerClose()
	go backend.answerClose()
}

func TestRemovedUpstreamIsDrainedEvenlyOverThePeriod(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const n, period = 100, 10 * time.Second
		g := newRegistry()
		if err := g.join("a:1"); err != nil {
			t.Fatal(err)
		}
		var mu sync.Mutex
		var ended []time.Duration
		start := time.Now()
		var wg sync.WaitGroup
		for range n {
			client, backend := open(t, g, "a:1", "a:1", period)
			wg.Go(func() {
				if code := <-client.code; code != 1012 {
					t.Errorf("the client got %d, want 1012", code)
				}
				mu.Lock()
				ended = append(ended, time.Since(start))
				mu.Unlock()
				if code := <-backend.code; code != 1001 {
					t.Errorf("the upstream got %d, want 1001", code)
				}
			})
		}
		g.leave("a:1")
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
		if left := len(g.connections) + len(g.series); left != 0 {
			t.Errorf("the registry still holds %d", left)
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
				g := newRegistry()
				for _, member := range row.joins {
					if err := g.join(member); err != nil {
						t.Fatal(err)
					}
				}
				client, _ := open(t, g, "a:1", row.member, time.Second)
				for _, member := range row.leave {
					g.leave(member)
				}
				elapse(2 * time.Second)
				synctest.Wait()
				if stays := len(g.connections) == 1; stays != row.stays {
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
		g := newRegistry()
		_ = g.join("a:1")
		var clients []*peer
		for range 10 {
			client, _ := open(t, g, "a:1", "a:1", 10*time.Second)
			clients = append(clients, client)
		}
		g.leave("a:1")
		elapse(5 * time.Second)
		_ = g.join("a:1")
		elapse(20 * time.Second)
		synctest.Wait()
		if left := len(g.connections); left != 5 {
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
		before func(*registry)
		want   int
	}{
		"its upstream was removed": {func(*registry) {}, 1012},
		"the process exits":        {func(g *registry) { g.exit(time.Second) }, 1001},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				g := newRegistry()
				row.before(g)
				client, _ := open(t, g, "a:1", "a:1", time.Second)
				if code := <-client.code; code != row.want {
					t.Errorf("the client got %d, want %d", code, row.want)
				}
			})
		})
	}
}

func TestExitEndsEveryoneAndWaitsForThem(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := newRegistry()
		_ = g.join("a:1")
		var clients []*peer
		for range 50 {
			client, _ := open(t, g, "a:1", "a:1", time.Minute)
			clients = append(clients, client)
		}
		g.exit(10 * time.Second)
		g.awaitEmpty()
		if left := len(g.connections); left != 0 {
			t.Errorf("%d connections are left", left)
		}
		for _, client := range clients {
			if code := <-client.code; code != 1001 {
				t.Errorf("a client got %d, want 1001", code)
			}
		}
	})
}

func TestExitIsBoundedWhereAClientDoesNotAnswer(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := newRegistry()
		_ = g.join("a:1")
		near, far := net.Pipe()
		nearBackend, farBackend := net.Pipe()
		c := &connection{id: "x", upstream: "a:1", member: "a:1",
			relay: relay.New(relay.Config{Client: near, Upstream: nearBackend, CloseTimeout: time.Hour})}
		g.add(c)
		go func() {
			defer g.remove(c)
			c.relay.Run()
		}()
		start := time.Now()
		g.exit(10 * time.Second)
		g.awaitEmpty()
		if took := time.Since(start); took != 10*time.Second {
			t.Errorf("waited %s, want the 10s of the period", took)
		}
		_ = far.Close()
		_ = farBackend.Close()
		<-g.ended(c)
	})
}

func TestReportsGoToTheNewestConfigurationThatIsLoaded(t *testing.T) {
	t.Parallel()
	g := newRegistry()
	newLogger := func() (*zap.Logger, *observer.ObservedLogs) {
		core, logs := observer.New(zapcore.InfoLevel)
		return zap.New(core), logs
	}
	first, firstLogs := newLogger()
	failed, failedLogs := newLogger()
	second, secondLogs := newLogger()

	g.reportTo("gw", first)
	g.reportTo("gw", failed) // a configuration that does not load
	g.noReportTo("gw", failed)
	g.reporter("gw").Info("1")
	g.reportTo("gw", second)
	g.noReportTo("gw", first)
	g.reporter("gw").Info("2")
	g.noReportTo("gw", second)
	if got := fmt.Sprint(firstLogs.Len(), failedLogs.Len(), secondLogs.Len()); got != "1 0 1" {
		t.Errorf("lines per logger: %s", got)
	}
	if g.reporter("gw") == nil {
		t.Error("nobody takes the reports of a gateway that is gone")
	}
}
