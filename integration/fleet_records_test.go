package integration

import (
	"syscall"
	"testing"
	"time"
)

// revocable is a gateway for users with tokens.
var revocable = cappedSite("", "")

// TestRevocationOnOneNodeIsTheFleets: it ends the connections on all, and refuses
// everywhere, until it is taken back anywhere.
func TestRevocationOnOneNodeIsTheFleets(t *testing.T) {
	c := newCluster(t, lively, revocable, "a", "b", "c")
	token := bearer(tokenFor("alice", time.Hour, `"jti":"stolen"`))
	var conns []*wsConn
	for _, n := range c.nodes {
		conns = append(conns, overWS.open(t, n.gateway, "/ws", token), overWS.open(t, n.gateway, "/ws", token))
	}
	kept := c.nodes[2].admit(t, "bob", 1)
	made := c.nodes[0].revoke(t, `{"jti":"stolen","code":4001}`)
	for _, conn := range conns {
		conn.expectClose(t, 4001)
	}
	for _, n := range c.nodes {
		patiently(t, "the token to be refused", func() bool { return n.refuses(t, "stolen") })
		n.assertRefused(t, false, "another")
	}
	pingAll(t, kept)
	c.nodes[2].pardon(t, made.ID)
	for _, n := range c.nodes {
		patiently(t, "the token to be good again", func() bool { return !n.refuses(t, "stolen") })
	}
}

// TestNodeThatWasAwayLearnsWhatItMissed of revocations, those that were taken back among
// them, and states.
func TestNodeThatWasAwayLearnsWhatItMissed(t *testing.T) {
	c := newCluster(t, lively, revocable, "a", "b", "c")
	forgotten := c.nodes[0].revoke(t, `{"jti":"forgotten"}`)
	away := c.nodes[2]
	patiently(t, "the node to hear of it", func() bool { return away.refuses(t, "forgotten") })
	away.signal(t, syscall.SIGSTOP)
	c.nodes[0].revoke(t, `{"jti":"missed"}`)
	c.nodes[1].pardon(t, forgotten.ID)
	c.nodes[1].setState(t, c.backend.addr, "maintenance")
	away.signal(t, syscall.SIGCONT)
	patiently(t, "it to refuse what it missed", func() bool { return away.refuses(t, "missed") })
	patiently(t, "it to know the state", func() bool {
		return away.shown(t, "default", c.backend.addr).State == "maintenance"
	})
	patiently(t, "it to let in what was taken back", func() bool { return !away.refuses(t, "forgotten") })
}

// TestNodeThatWasDownLearnsWhatItMissed as it joins. What it has in its storage is united
// with what the fleet has.
func TestNodeThatWasDownLearnsWhatItMissed(t *testing.T) {
	c := newCluster(t, lively, revocable, "a", "b", "c")
	down := c.nodes[2]
	down.stop(t, syscall.SIGKILL)
	c.nodes[0].revoke(t, `{"jti":"missed"}`)
	c.nodes[1].setState(t, c.backend.addr, "maintenance")
	down.start(t)
	patiently(t, "it to refuse what it missed", func() bool { return down.refuses(t, "missed") })
	patiently(t, "it to know the state", func() bool {
		return down.shown(t, "default", c.backend.addr).State == "maintenance"
	})
}

// TestUpstreamStateSetOnOneNodeIsTheFleets and a node that joins takes it.
func TestUpstreamStateSetOnOneNodeIsTheFleets(t *testing.T) {
	c := newCluster(t, lively, revocable, "a", "b")
	c.nodes[1].setState(t, c.backend.addr, "maintenance")
	c.join(t, "c")
	for i, state := range []string{"maintenance", "ready", "drain", "ready"} {
		c.nodes[i%2].setState(t, c.backend.addr, state)
		for _, n := range c.nodes {
			patiently(t, "the state "+state, func() bool {
				return n.shown(t, "default", c.backend.addr).State == state
			})
		}
		a := c.nodes[2].try(t, "alice")
		if (a.conn != nil) != (state == "ready") {
			t.Errorf("in state %s the answer is %d", state, a.status)
		}
	}
}

// TestRevocationsOutliveTheRedis that has lost them: the nodes have them.
func TestRevocationsOutliveTheRedis(t *testing.T) {
	c := newCluster(t, lively, revocable, "a", "b")
	c.nodes[0].revoke(t, `{"jti":"before"}`)
	patiently(t, "the other to hear of it", func() bool { return c.nodes[1].refuses(t, "before") })
	c.redis.Do("FLUSHALL")
	c.awaitAsserted(t, 2)
	fresh := c.join(t, "c")
	patiently(t, "a node that joins to refuse it", func() bool { return fresh.refuses(t, "before") })
	c.nodes[0].assertRefused(t, true, "before")
	c.nodes[1].assertRefused(t, true, "before")
}
