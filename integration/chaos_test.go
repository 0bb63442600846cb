package integration

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestChaosLeavesNothingBehind kills clients at random while upstreams die and
// come back and the configuration is reloaded 20 times. Afterwards every count
// is zero and every goroutine of the gateway has ended.
func TestChaosLeavesNothingBehind(t *testing.T) {
	const reloads, clients = 20, 24
	all, _ := backends(t, 4, echo)
	g := start(t, chaosSite(all, 0))
	before := goroutines(connectionCode...)

	stop := make(chan struct{})
	var wg sync.WaitGroup
	var opened, refused counter
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	for i := range clients {
		wg.Go(func() {
			rnd := rand.New(rand.NewPCG(seed, uint64(i))) // #nosec G115 -- small
			for {
				select {
				case <-stop:
					return
				default:
					chaoticClient(g, carriers[i%len(carriers)], rnd, &opened, &refused)
				}
			}
		})
	}
	for i := range reloads {
		b := all[i%len(all)]
		b.kill()
		g.reload(t, chaosSite(all, i))
		b.revive(t)
		want := opened.value() + 3
		eventually(t, "three more connections", func() bool { return opened.value() >= want })
	}
	close(stop)
	wg.Wait()
	t.Logf("%d handshakes succeeded, %d were refused or broke", opened.value(), refused.value())

	g.assertNoLiveSeries(t)
	var left string
	if !poll(patience, func() bool {
		left = moreThan(goroutines(connectionCode...), before)
		return left == ""
	}) {
		t.Errorf("goroutines left:\n%s", left)
	}
	for _, b := range all {
		eventually(t, "the backends to be left", func() bool { return b.count(&b.live) == 0 })
	}
	eventually(t, "a closed line for every opened one", func() bool {
		closed := map[string]bool{}
		for _, line := range book.find(ourLogger, "closed") {
			closed[line.str("connection")] = true
		}
		return !slices.ContainsFunc(book.find(ourLogger, "opened"), func(l logLine) bool { return !closed[l.str("connection")] })
	})
	for _, line := range book.find("", "") {
		if level := line.str("level"); level == "panic" || strings.Contains(line.raw, "panic") || strings.Contains(line.raw, "negative") {
			t.Errorf("in the log: %s", line.raw)
		}
	}
}

// chaosSite changes with each reload: another upstream is missing, another
// policy chooses.
func chaosSite(all []*backend, i int) string {
	var addrs []string
	for j, b := range all {
		if j != i%(len(all)+1) {
			addrs = append(addrs, b.addr)
		}
	}
	policy := []string{"least_conn", "round_robin", "random_choose 2", "random"}[i%4]
	return fmt.Sprintf("ws_gateway %s {\n lb_policy %s\n drain_period 200ms\n write_timeout 2s\n handshake_timeout 2s\n }",
		strings.Join(addrs, " "), policy)
}

// chaoticClient opens a connection, says a few things and leaves in one of
// several ways; whatever breaks meanwhile is part of the chaos.
func chaoticClient(g *gateway, c carrier, rnd *rand.Rand, opened, refused *counter) {
	a, err := c.try(g, "/ws", nil)
	if err != nil || a.conn == nil {
		refused.add()
		return
	}
	opened.add()
	defer a.conn.kill()
	for range rnd.IntN(6) {
		if a.conn.send(text(strings.Repeat("x", rnd.IntN(5000)))) != nil {
			return
		}
		if f, err := a.conn.next(); err != nil || f.op == opClose {
			return
		}
	}
	switch rnd.IntN(5) {
	case 0:
		if a.conn.send(closing(1000, "")) == nil {
			_, _ = a.conn.closeFrame()
		}
	case 1:
		_ = a.conn.closeWrite()
	case 2:
		_, _ = a.conn.w.Write([]byte{0x82, 0xFE, 0x10}) // the start of a frame
	case 3: // it breaks off at some moment
		time.AfterFunc(time.Duration(rnd.IntN(50))*time.Millisecond, a.conn.kill)
		for err := error(nil); err == nil; {
			_, err = a.conn.next()
		}
	}
}

// counter counts from several goroutines.
type counter struct {
	mu sync.Mutex // protects n
	n  int
}

func (c *counter) add() {
	c.mu.Lock()
	c.n++
	c.mu.Unlock()
}

func (c *counter) value() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.n
}
