package integration

import (
	"bytes"
	"fmt"
	"net"
	"strings"
	"testing"

	"github.com/wsgateway/caddy-ws-gateway/internal/redistest"
)

// assertConnected waits until each node says whether it has the Redis.
func (c *cluster) assertConnected(t *testing.T, want bool) {
	t.Helper()
	for i, n := range c.nodes {
		patiently(t, fmt.Sprintf("node %d to be connected: %t", i, want), func() bool { return n.fleet(t).Connected == want })
	}
}

// outages are the ways to lose a Redis and to get it back.
var outages = []struct {
	name          string
	begin, finish func(*redistest.Server)
}{
	{"killed", func(s *redistest.Server) { s.Kill() }, func(s *redistest.Server) { s.Restart() }},
	{"paused", func(s *redistest.Server) { s.Pause() }, func(s *redistest.Server) { s.Resume() }},
}

// TestOutageDropsNobody, lets handshakes go on, and leaves right sums behind and two lines
// in each log.
func TestOutageDropsNobody(t *testing.T) {
	for _, outage := range outages {
		t.Run(outage.name, func(t *testing.T) {
			c := newCluster(t, lively, cappedSite("", "connections_per_user 12"), "a", "b", "c")
			var conns []*wsConn
			for _, n := range c.nodes {
				conns = append(conns, n.admit(t, "alice", 3)...)
				n.admit(t, "bob", 1)
			}
			outage.begin(c.redis)
			for _, n := range c.nodes {
				conns = append(conns, n.admit(t, "alice", 1)...) // its even part of the cap
				for range 30 {
					n.admit(t, "carol", 1)[0].finish(t)
				}
			}
			c.assertConnected(t, false)
			pingAll(t, conns)
			if up := c.nodes[0].sum(t, "caddy_ws_gateway_fleet_up"); up != 0 {
				t.Errorf("the metric fleet_up is %v", up)
			}
			outage.finish(c.redis)
			c.assertConnected(t, true)
			c.awaitAsserted(t, 3)
			pingAll(t, conns)
			c.assertFull(t, "alice", 429)
			conns[0].finish(t)
			conns[0] = c.nodes[2].admitPatiently(t, "alice", 429)
			c.assertFull(t, "alice", 429)
			pingAll(t, conns)
			for i, n := range c.nodes {
				if lines := n.fleetLines("error"); len(lines) != 1 {
					t.Errorf("node %d has %d lines of an error, want one: %q", i, len(lines), lines)
				}
				if lines := n.fleetLines("info"); len(lines) != 1 {
					t.Errorf("node %d has %d lines of the end, want one: %q", i, len(lines), lines)
				}
			}
		})
	}
}

// TestSlicesOutliveAnOutage: caps on all connections hold as well.
func TestSlicesOutliveAnOutage(t *testing.T) {
	for _, row := range shared(12)[2:] {
		t.Run(row.name, func(t *testing.T) {
			c := newCluster(t, lively, row.site, "a", "b", "c")
			var conns []*wsConn
			for _, n := range c.nodes {
				conns = append(conns, n.admit(t, "alice", 3)...)
			}
			c.redis.Kill()
			for _, n := range c.nodes {
				conns = append(conns, n.admit(t, "alice", 1)...)
			}
			c.redis.Restart()
			c.awaitAsserted(t, 3)
			c.assertConnected(t, true)
			c.assertFull(t, "alice", row.status)
			pingAll(t, conns)
			conns[0].finish(t)
			c.nodes[2].admitPatiently(t, "alice", row.status)
			c.assertFull(t, "alice", row.status)
		})
	}
}

// TestOutageClosesGatewaysWithACap where that is wanted, to handshakes alone.
func TestOutageClosesGatewaysWithACap(t *testing.T) {
	site := "handle /free/* {\n ws_gateway %s {\n name free\n }\n }\n" + cappedSite("", "connections_per_user 12")
	c := newCluster(t, lively+"\n on_outage closed", site, "a", "b")
	conns := c.nodes[0].admit(t, "alice", 2)
	c.redis.Kill()
	c.assertConnected(t, false)
	for _, n := range c.nodes {
		a := n.try(t, "alice")
		if a.status != 503 || a.header.Get("Retry-After") == "" {
			t.Errorf("answered %d with Retry-After %q, want 503 and some", a.status, a.header.Get("Retry-After"))
		}
		n.assertRefused(t, false, "any") // a plain request
		overWS.open(t, n.gateway, "/free/ws", nil).ping(t, "no cap here")
	}
	pingAll(t, conns)
	c.redis.Restart()
	for _, n := range c.nodes {
		n.admitPatiently(t, "alice", 503)
	}
	pingAll(t, conns)
}

// TestSumsAreRightAfterTheRedisForgotAll.
func TestSumsAreRightAfterTheRedisForgotAll(t *testing.T) {
	for _, row := range shared(12) {
		t.Run(row.name, func(t *testing.T) {
			c := newCluster(t, lively, row.site, "a", "b", "c")
			conns := c.nodes[0].admit(t, "alice", 6)
			conns = append(conns, c.nodes[1].admit(t, "alice", 5)...)
			c.redis.Do("FLUSHALL")
			c.awaitAsserted(t, 3)
			conns = append(conns, c.nodes[2].admitPatiently(t, "alice", row.status))
			c.assertFull(t, "alice", row.status)
			pingAll(t, conns)
			for i, n := range c.nodes {
				if lines := n.fleetLines("error"); len(lines) != 0 {
					t.Errorf("node %d has lines of an error: %q", i, lines)
				}
			}
		})
	}
}

// TestNodeStartsWithoutItsRedis, be it that the password is wrong, nobody is there, or what
// answers is no Redis: with one line that says why, without the password, and handshakes
// go on.
func TestNodeStartsWithoutItsRedis(t *testing.T) {
	long(t)
	mute, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = mute.Close() })
	for name, to := range map[string]func(t *testing.T) string{
		"wrong password": func(t *testing.T) string {
			return "redis://:wrong-password-of-ours@" + redistest.Start(t, "--requirepass", "right-one").Addr
		},
		"nobody there":  func(t *testing.T) string { return "redis://:wrong-password-of-ours@" + freePort(t) },
		"never answers": func(*testing.T) string { return "redis://:wrong-password-of-ours@" + mute.Addr().String() },
		"no redis":      func(t *testing.T) string { return "redis://:wrong-password-of-ours@" + newBackend(t, echo).addr },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newClusterOn(t, nil, "", cappedSite("", "connections_per_user 3"))
			n := c.add(t, fmt.Sprintf("ws_gateway {\n fleet redis %s {\n node a\n secret of-the-fleet\n timeout 1s\n }\n }", to(t)))
			n.start(t)
			patiently(t, "a line of the outage", func() bool { return len(n.fleetLines("error")) > 0 })
			n.admit(t, "alice", 3) // it takes itself for the only one
			c.assertFull(t, "alice", 429)
			if f := n.fleet(t); f.Engine != "redis" || f.Connected || len(f.Nodes) != 1 || !f.Nodes[0].Self {
				t.Errorf("the fleet is shown as %+v", f)
			}
			if lines := n.fleetLines("error"); len(lines) != 1 || name == "wrong password" && !strings.Contains(strings.ToLower(lines[0]), "password") {
				t.Errorf("logged %q, want one line that says why", lines)
			}
			if bytes.Contains(n.log.bytes(), []byte("wrong-password-of-ours")) {
				t.Error("the password is in the log")
			}
		})
	}
}
