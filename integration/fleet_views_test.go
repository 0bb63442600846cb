package integration

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// surveyed asks a node for the connections of all, and returns the users by nodes, and who
// did not answer.
func (n *node) surveyed(t *testing.T) (users, missing string) {
	t.Helper()
	client := http.Client{Timeout: longPatience, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", n.socket)
		},
	}}
	res, err := client.Get("http://admin/ws_gateway/connections?fleet=true")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	var rows []struct{ Node, User string }
	if err := json.NewDecoder(res.Body).Decode(&rows); err != nil || res.StatusCode != http.StatusOK {
		t.Fatalf("%d, %v", res.StatusCode, err)
	}
	var all []string
	for _, r := range rows {
		all = append(all, r.Node+":"+r.User)
	}
	slices.Sort(all)
	return strings.Join(all, " "), res.Header.Get("Ws-Gateway-Missing")
}

// TestFleetShowsTheConnectionsOfAllNodes, and names the nodes that do not answer.
func TestFleetShowsTheConnectionsOfAllNodes(t *testing.T) {
	c := newCluster(t, "heartbeat 20s\n timeout 10s", revocable, "a", "b", "c")
	for i, user := range []string{"alice", "bob", "carol"} {
		c.nodes[i].admit(t, user, 1)
	}
	asker := c.nodes[2] // saw the others when it came
	patiently(t, "the connections of all", func() bool {
		users, missing := asker.surveyed(t)
		return users == "a:alice b:bob c:carol" && missing == ""
	})
	c.nodes[1].signal(t, syscall.SIGSTOP)
	defer c.nodes[1].signal(t, syscall.SIGCONT)
	patiently(t, "the connections of the others", func() bool {
		users, missing := asker.surveyed(t)
		return users == "a:alice c:carol" && missing == "b"
	})
}

// TestEndingOverTheFleetEndsEverywhere and nobody else.
func TestEndingOverTheFleetEndsEverywhere(t *testing.T) {
	c := newCluster(t, "heartbeat 20s\n timeout 10s", revocable, "a", "b", "c")
	kept := c.nodes[0].admit(t, "bob", 1)
	ender := c.nodes[2]
	patiently(t, "a number that all nodes were in time for", func() bool {
		var conns []*wsConn
		for _, n := range c.nodes {
			conns = append(conns, n.admit(t, "alice", 2)...)
		}
		status, answer := ender.adminDo(t, http.MethodDelete, "/ws_gateway/connections?fleet=true&user=alice", "", "")
		var said struct{ Ended int }
		if err := json.Unmarshal([]byte(answer), &said); err != nil || status != http.StatusOK {
			t.Fatalf("%d %s", status, answer)
		}
		all := said.Ended == len(conns)
		for _, conn := range conns {
			if all {
				conn.expectClose(t, 3000)
			}
			conn.kill()
		}
		return all
	})
	pingAll(t, kept)
}

// TestMetricsOfAFleet.
func TestMetricsOfAFleet(t *testing.T) {
	c := newCluster(t, lively, cappedSite("", "connections_per_user 3"), "a", "b", "c")
	n := c.nodes[0]
	n.admit(t, "alice", 1)[0].finish(t)
	patiently(t, "the metrics", func() bool {
		for name, want := range map[string]float64{"caddy_ws_gateway_fleet_up": 1, "caddy_ws_gateway_fleet_nodes": 3} {
			if n.sum(t, name) != want {
				return false
			}
		}
		for _, operation := range []string{"admit", "release", "beat"} {
			if n.sum(t, "caddy_ws_gateway_fleet_operation_seconds_count", fmt.Sprintf("operation=%q", operation)) == 0 {
				return false
			}
		}
		return true
	})
}

// TestOneNodeIsAFleetOfNone.
func TestOneNodeIsAFleetOfNone(t *testing.T) {
	long(t)
	t.Parallel()
	n := newNode(t, t.TempDir(), newBackend(t, echo))
	n.start(t)
	if f := n.fleet(t); f.Engine != "none" || f.Connected || len(f.Nodes) != 1 || !f.Nodes[0].Self || f.self() != n.node(t, "").ID {
		t.Errorf("the fleet is shown as %+v", f)
	}
	n.admit(t, "alice", 1)
	patiently(t, "the connection", func() bool {
		users, missing := n.surveyed(t)
		return strings.HasSuffix(users, ":alice") && missing == ""
	})
}
