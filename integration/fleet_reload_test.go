package integration

import (
	"testing"
)

// TestReloadKeepsTheShareOfANode and its ID, whatever it changes of the fleet.
func TestReloadKeepsTheShareOfANode(t *testing.T) {
	for name, words := range map[string]string{
		"its name alone": lively, "how often it beats": "heartbeat 4s\n timeout 3s",
	} {
		t.Run(name, func(t *testing.T) {
			c := newCluster(t, lively, cappedSite("", "connections_per_user 4"), "a", "b")
			a, b := c.nodes[0], c.nodes[1]
			conns := a.admit(t, "alice", 2)
			before := a.fleet(t).self()
			c.words = words
			a.loaded(t, c.options("renamed"), "header X-Reloaded yes\n"+c.site)
			patiently(t, "the fleet under the new configuration", func() bool { return a.fleet(t).Connected })
			if after := a.fleet(t).self(); after != before || before == "" || a.node(t, "").ID != before {
				t.Errorf("the ID was %q and is %q", before, after)
			}
			conns = append(conns, b.admit(t, "alice", 2)...)
			c.assertFull(t, "alice", 429)
			pingAll(t, conns)
			conns[0].finish(t) // of the old configuration
			b.admitPatiently(t, "alice", 429)
			c.assertFull(t, "alice", 429)
		})
	}
}

// TestReloadLeavesAndJoinsTheFleet with connections that are open.
func TestReloadLeavesAndJoinsTheFleet(t *testing.T) {
	for _, row := range shared(4) {
		t.Run(row.name, func(t *testing.T) {
			c := newCluster(t, lively, row.site, "a", "b")
			a, b := c.nodes[0], c.nodes[1]
			conns := append(a.admit(t, "alice", 2), b.admit(t, "alice", 2)...)
			c.assertFull(t, "alice", row.status)

			a.loaded(t, "", c.site)
			if f := a.fleet(t); f.Engine != "none" {
				t.Errorf("the fleet is shown as %+v", f)
			}
			pingAll(t, conns)
			alone := a.admit(t, "alice", 2) // each counts for itself
			for range 2 {
				conns = append(conns, b.admitPatiently(t, "alice", row.status))
			}
			c.assertFull(t, "alice", row.status)

			a.loaded(t, c.options("a"), c.site)
			patiently(t, "the node to be back", func() bool { return a.fleet(t).Connected })
			c.awaitAsserted(t, 2)
			pingAll(t, append(conns, alone...)) // nobody is ended, and nobody let in
			patiently(t, "the other to have heard of the connections", func() bool { return b.fleet(t).live("a") == 4 })
			c.assertFull(t, "alice", row.status)
			for _, conn := range conns {
				conn.finish(t)
			}
			for range 2 {
				b.admitPatiently(t, "alice", row.status)
			}
			c.assertFull(t, "alice", row.status)
		})
	}
}
