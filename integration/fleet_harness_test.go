package integration

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/wsgateway/caddy-ws-gateway/internal/redistest"
)

// longPatience is how long a test waits for what Caddys of several processes and a Redis
// have to do together, with beats in between.
const longPatience = time.Minute

// unhurried are words of a fleet for tests of exact numbers: however slow the machine, an
// answer is in time, and no node is taken for dead.
const unhurried = "heartbeat 20s\n timeout 10s"

// lively are words of a fleet for tests in which something has to be noticed.
const lively = "heartbeat 3s\n timeout 3s"

// cluster is Caddys in processes of their own that count together in a Redis.
type cluster struct {
	redis   *redistest.Server
	backend *backend
	nodes   []*node
	words   string // of the fleet's block
	site    string
}

// newCluster starts as many nodes as there are names, with a site before one upstream
// which holds what is opened. The %s of the site is the upstream.
func newCluster(t *testing.T, words, site string, names ...string) *cluster {
	t.Helper()
	long(t)
	t.Parallel()
	c := newClusterOn(t, redistest.Start(t), words, site)
	for _, name := range names {
		c.join(t, name)
	}
	c.awaitNodes(t, len(names))
	return c
}

func newClusterOn(t *testing.T, redis *redistest.Server, words, site string) *cluster {
	t.Helper()
	b := newBackend(t, echo)
	return &cluster{redis: redis, backend: b, words: words, site: strings.ReplaceAll(site, "%s", b.addr)}
}

// options are those of a node of the name.
func (c *cluster) options(name string) string {
	return fmt.Sprintf("ws_gateway {\n fleet redis redis://%s {\n node %s\n secret of-the-fleet\n %s\n }\n }", c.redis.Addr, name, c.words)
}

// add describes a node that is not yet started.
func (c *cluster) add(t *testing.T, options string) *node {
	t.Helper()
	n := newNode(t, t.TempDir(), c.backend)
	n.options, n.site = options, c.site
	c.nodes = append(c.nodes, n)
	return n
}

// join starts one more node.
func (c *cluster) join(t *testing.T, name string) *node {
	t.Helper()
	n := c.add(t, c.options(name))
	n.start(t)
	return n
}

// shownFleet is the fleet as the admin endpoint of a node shows it.
type shownFleet struct {
	Engine    string
	Connected bool
	Nodes     []struct {
		Name, ID, State, Version string
		Self                     bool
		Live                     int
		Seen                     time.Time
		Upstreams                map[string]int
	}
}

func (n *node) fleet(t *testing.T) (f shownFleet) {
	t.Helper()
	n.read(t, "/ws_gateway/fleet", &f)
	return f
}

// self is the ID that the node has in the fleet.
func (f shownFleet) self() string {
	for _, n := range f.Nodes {
		if n.Self {
			return n.ID
		}
	}
	return ""
}

// live is how many connections the node of the name had when it was last heard of.
func (f shownFleet) live(name string) int {
	for _, n := range f.Nodes {
		if n.Name == name {
			return n.Live
		}
	}
	return 0
}

// awaitNodes waits until the Redis knows so many nodes, and the last one of them says so.
func (c *cluster) awaitNodes(t *testing.T, want int) {
	t.Helper()
	c.awaitAsserted(t, want)
	for _, n := range c.nodes {
		if n.cmd == nil {
			continue
		}
		patiently(t, "a node to be connected", func() bool { return n.fleet(t).Connected })
	}
}

// awaitAsserted waits until so many nodes have told the Redis what they have.
func (c *cluster) awaitAsserted(t *testing.T, want int) {
	t.Helper()
	patiently(t, fmt.Sprint(want, " nodes in the Redis"), func() bool {
		return c.redis.Do("ZCARD", "{ws_gateway}:nodes") == int64(want)
	})
}

// patiently is eventually for what takes several beats.
func patiently(t *testing.T, what string, done func() bool) {
	t.Helper()
	if !poll(longPatience, done) {
		t.Fatalf("waited %v in vain for: %s", longPatience, what)
	}
}

// try is a handshake for the user; it is closed with the test.
func (n *node) try(t *testing.T, user string) answer {
	t.Helper()
	return overWS.do(t, n.gateway, "/ws", bearer(tokenFor(user, time.Hour, issued(time.Now().Add(-time.Minute)))))
}

// admit opens connections for the user, which must be let in.
func (n *node) admit(t *testing.T, user string, count int) (conns []*wsConn) {
	t.Helper()
	for i := range count {
		a := n.try(t, user)
		if a.conn == nil {
			t.Fatalf("%s: handshake %d of %d is answered %d %s", user, i+1, count, a.status, a.body)
		}
		conns = append(conns, a.conn)
	}
	return conns
}

// admitPatiently is admit for one that may first have to be refused with the status.
func (n *node) admitPatiently(t *testing.T, user string, status int) *wsConn {
	t.Helper()
	var a answer
	patiently(t, "room for "+user, func() bool {
		a = n.try(t, user)
		if a.conn == nil && a.status != status {
			t.Fatalf("%s is answered %d %s", user, a.status, a.body)
		}
		return a.conn != nil
	})
	return a.conn
}

// assertFull tries the user at every node, who must not be let in.
func (c *cluster) assertFull(t *testing.T, user string, status int) {
	t.Helper()
	for i, n := range c.nodes {
		if a := n.try(t, user); a.conn != nil || a.status != status {
			t.Errorf("node %d answers %s with %d, want %d", i, user, a.status, status)
		}
	}
}

// stormed sends n handshakes by turns to all nodes, a few hundred at a time, and returns
// those that were let in, counted as 101, and how many were answered how.
func (c *cluster) stormed(t *testing.T, n int, user func(i int) string) (conns []*wsConn, byStatus map[int]int) {
	t.Helper()
	slots := make(chan struct{}, 250) // so that none waits too long for its answer
	conns, byStatus = atOnce(t, n, func(i int) (answer, error) {
		slots <- struct{}{}
		defer func() { <-slots }()
		a, err := overWS.try(c.nodes[i%len(c.nodes)].gateway, "/ws", bearer(tokenFor(user(i), time.Hour)))
		return a, err
	})
	t.Cleanup(func() { killAll(conns) })
	return conns, byStatus
}

// loaded has the running node take a configuration with other options.
func (n *node) loaded(t *testing.T, options, site string) {
	t.Helper()
	n.options, n.site = options, site
	stacks := func() []string {
		_, all := n.adminDo(t, http.MethodGet, "/debug/pprof/goroutine?debug=2", "", "")
		return strings.Split(all, "\n\n")
	}
	if err := exchange(stacks, func() error { return n.post(t, "text/caddyfile", n.caddyfile()) }); err != nil {
		t.Fatal(err)
	}
}

// signal sends one to the process, which need not end by it.
func (n *node) signal(t *testing.T, s syscall.Signal) {
	t.Helper()
	if err := n.cmd.Process.Signal(s); err != nil {
		t.Fatal(err)
	}
}

// fleetLines are the lines of a level in the log of the process that are about the fleet.
func (n *node) fleetLines(level string) (lines []string) {
	for line := range strings.Lines(string(n.log.bytes())) {
		var is struct{ Level, Logger, Msg string }
		if json.Unmarshal([]byte(line), &is) != nil || is.Level != level {
			continue
		}
		if strings.HasPrefix(is.Logger, "ws_gateway") {
			lines = append(lines, line)
		}
	}
	return lines
}

// pingAll expects every connection to be what it was, all at once.
func pingAll(t *testing.T, conns []*wsConn) {
	t.Helper()
	var all sync.WaitGroup
	for _, conn := range conns {
		all.Go(func() {
			if err := conn.send(text("still here")); err != nil {
				t.Errorf("a connection is lost: %v", err)
				return
			}
			if f, err := conn.next(); err != nil || string(f.payload) != "still here" {
				t.Errorf("a connection is lost: %v, %v", f, err)
			}
		})
	}
	all.Wait()
}
