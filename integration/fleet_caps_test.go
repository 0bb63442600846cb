package integration

import (
	"fmt"
	"net/http"
	"syscall"
	"testing"
	"time"
)

// cappedSite is a gateway for users with tokens.
func cappedSite(words, limit string) string {
	if limit != "" {
		words += "\n limit {\n " + limit + "\n }"
	}
	return fmt.Sprintf("ws_gateway %%s {\n auth {\n jwt {\n key %q\n }\n }\n %s\n }", jwtSecret, words)
}

// shared are the caps that are the fleet's, each set to the same number.
func shared(limit int) []struct {
	name, site string
	status     int
} {
	with := func(word string) string { return fmt.Sprint(word, " ", limit) }
	return []struct {
		name, site string
		status     int
	}{
		{"connections_per_user", cappedSite("", with("connections_per_user")), http.StatusTooManyRequests},
		{"connections_per_ip", cappedSite("", with("connections_per_ip")), http.StatusTooManyRequests},
		{"connections", cappedSite("", with("connections")), http.StatusServiceUnavailable},
		{"max_conns", cappedSite(with("max_conns"), ""), http.StatusServiceUnavailable},
	}
}

// TestFleetHoldsCapsUnderAStorm of ten times as many handshakes at three nodes, twice, and
// uses nearly all of them.
func TestFleetHoldsCapsUnderAStorm(t *testing.T) {
	const limit = 100
	for _, row := range shared(limit) {
		t.Run(row.name, func(t *testing.T) {
			c := newCluster(t, unhurried, row.site, "a", "b", "c")
			for range 2 {
				conns, byStatus := c.stormed(t, 10*limit, func(int) string { return "alice" })
				if n := len(conns); n > limit || n < limit*9/10 {
					t.Errorf("%d were let in under a cap of %d", n, limit)
				}
				if byStatus[101]+byStatus[row.status] != 10*limit {
					t.Errorf("answers by status: %v, want but 101 and %d", byStatus, row.status)
				}
				if peak := c.backend.count(&c.backend.peak); peak > limit {
					t.Errorf("the upstream had %d at once, the cap is %d", peak, limit)
				}
				pingAll(t, conns)
				killAll(conns)
				patiently(t, "all to have left", func() bool {
					live := 0
					for _, n := range c.nodes {
						live += len(n.connectionList(t, ""))
					}
					return live == 0
				})
			}
		})
	}
}

// TestFleetCountsEachUserApart over the nodes.
func TestFleetCountsEachUserApart(t *testing.T) {
	c := newCluster(t, unhurried, cappedSite("", "connections_per_user 20"), "a", "b", "c")
	users := []string{"alice", "bob", "carol"}
	conns, byStatus := c.stormed(t, 300, func(i int) string { return users[i/3%3] })
	if len(conns) != 60 || byStatus[429] != 240 {
		t.Errorf("answers by status: %v, want 20 for each of three", byStatus)
	}
}

// TestFleetHoldsTheRateOfHandshakes of one address, wherever they come.
func TestFleetHoldsTheRateOfHandshakes(t *testing.T) {
	c := newCluster(t, unhurried, cappedSite("", "handshakes_per_ip 50/100h"), "a", "b", "c")
	_, byStatus := c.stormed(t, 300, func(int) string { return "alice" })
	if byStatus[101] != 50 || byStatus[429] != 250 { // the next may come after two hours
		t.Errorf("answers by status: %v, want 50 and 250 with 429", byStatus)
	}
	a := c.nodes[0].try(t, "alice")
	if a.status != 429 || len(a.header.Get("Retry-After")) != 4 {
		t.Errorf("answered %d with Retry-After %q, want about two hours", a.status, a.header.Get("Retry-After"))
	}
}

// TestNodeThatStopsGivesItsShareBack at once where it stops by itself, and when it is void
// where it was killed.
func TestNodeThatStopsGivesItsShareBack(t *testing.T) {
	for _, row := range shared(12) {
		for _, end := range []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL} {
			if end == syscall.SIGKILL && (row.name == "connections_per_ip" || row.name == "max_conns") {
				continue // as with the others, and it takes long
			}
			t.Run(row.name+" "+end.String(), func(t *testing.T) {
				words := lively
				if end == syscall.SIGTERM {
					words = "heartbeat 1m\n timeout 10s" // not in the time of a test
				}
				c := newCluster(t, words, row.site, "a", "b", "c")
				stays := c.nodes[1].admit(t, "alice", 3)
				c.nodes[0].admit(t, "alice", 9)
				c.assertFull(t, "alice", row.status)
				c.nodes[0].stop(t, end)
				left := c.nodes[1:]
				for i := range 9 {
					stays = append(stays, left[i%2].admitPatiently(t, "alice", row.status))
				}
				c.nodes = left
				c.assertFull(t, "alice", row.status)
				pingAll(t, stays)
			})
		}
	}
}

// TestFleetFreesWhatCloses at one node for another.
func TestFleetFreesWhatCloses(t *testing.T) {
	for _, row := range shared(6) {
		t.Run(row.name, func(t *testing.T) {
			c := newCluster(t, lively, row.site, "a", "b", "c")
			conns := c.nodes[0].admit(t, "alice", 6)
			for round := range 3 {
				c.assertFull(t, "alice", row.status)
				conns[round].finish(t)
				c.nodes[1+round%2].admitPatiently(t, "alice", row.status)
			}
			c.assertFull(t, "alice", row.status)
		})
	}
}

// TestFleetShowsWhatAllHave of an upstream, with those of the others as of their last
// beat.
func TestFleetShowsWhatAllHave(t *testing.T) {
	c := newCluster(t, lively, cappedSite("", ""), "a", "b", "c")
	c.nodes[0].admit(t, "alice", 2)
	c.nodes[2].admit(t, "bob", 1)
	for i, n := range c.nodes {
		patiently(t, "the counts of all nodes", func() bool {
			f := n.fleet(t)
			got := map[string]int{}
			for _, other := range f.Nodes {
				got[other.Name] = other.Live
				if other.Upstreams[c.backend.addr] != other.Live {
					return false
				}
				if other.Self != (other.Name == string(rune('a'+i))) || other.Seen.IsZero() || other.ID == "" || other.State != "ready" || other.Version == "" {
					t.Fatalf("shown as %+v", other)
				}
			}
			return f.Engine == "redis" && f.Connected && fmt.Sprint(got) == "map[a:2 b:0 c:1]" && time.Since(f.Nodes[0].Seen) < time.Hour
		})
	}
}
