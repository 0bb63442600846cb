package integration

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// needNode returns the path of node. The test is skipped where that or its
// packages are missing, unless the run insists on them.
func needNode(t *testing.T) string {
	t.Helper()
	node, err := exec.LookPath("node")
	need(t, err != nil, "node is not installed")
	for _, name := range []string{"@modelcontextprotocol/server", "@msgpack/msgpack", "eventsource", "graphql-sse", "graphql-ws", "jose", "socket.io", "ws"} {
		_, err = os.Stat("clients/node_modules/" + name)
		need(t, err != nil, "the npm package "+name+" is missing: run npm ci in integration/clients")
	}
	return node
}

// nodeScript is a running script of the directory clients, which tells what
// happens to it and ends with its standard input.
type nodeScript struct {
	name   string
	in     io.WriteCloser
	events chan nodeEvent
	cmd    *exec.Cmd
	killed bool
}

// nodeEvent is what a script tells.
type nodeEvent struct {
	Event     string // listening, open, carried, message, closed, report or error
	Port      int
	Session   string
	Server    string
	Transport string
	Code      int
	Reason    string
	Text      string   // of a message
	Sessions  int      // in a report: how many there have been
	Wrong     []string // in a report: what was missed or came twice
}

// startNode runs a script until the end of the test.
func startNode(t *testing.T, script string, args ...string) *nodeScript {
	t.Helper()
	cmd := exec.Command(needNode(t), append([]string{"clients/" + script}, args...)...)     // #nosec G204
	cmd.Env = append(os.Environ(), "NODE_EXTRA_CA_CERTS="+filepath.Join(workDir, certFile)) // for fetch
	stderr := new(recording)
	cmd.Stderr = stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	n := &nodeScript{name: script, in: in, events: make(chan nodeEvent, 1000), cmd: cmd}
	go n.listen(out)
	t.Cleanup(func() {
		_ = in.Close()
		force := time.AfterFunc(patience, func() { _ = cmd.Process.Kill() })
		defer force.Stop()
		for range n.events { // until the output ends
		}
		if err := cmd.Wait(); err != nil && !n.killed || len(stderr.bytes()) > 0 {
			t.Errorf("%s ended with %v: %s", script, err, stderr.bytes())
		}
	})
	return n
}

// kill ends the process as kill -9 does.
func (n *nodeScript) kill(t *testing.T) {
	t.Helper()
	n.killed = true
	if err := n.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
}

func (n *nodeScript) listen(out io.Reader) {
	defer close(n.events)
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		var e nodeEvent
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			e = nodeEvent{Event: "error", Reason: fmt.Sprintf("%v: %s", err, lines.Bytes())}
		}
		n.events <- e
	}
}

// next takes whatever happens next.
func (n *nodeScript) next(t *testing.T, want string) nodeEvent {
	t.Helper()
	e := receive(t, want+" from "+n.name, n.events)
	switch e.Event {
	case "":
		t.Fatalf("%s ended while the test waits for: %s", n.name, want)
	case "error":
		t.Logf("%s: %s", n.name, e.Reason)
	}
	return e
}

// await skips to the next event of a kind.
func (n *nodeScript) await(t *testing.T, event string) nodeEvent {
	t.Helper()
	for {
		if e := n.next(t, event); e.Event == event {
			return e
		}
	}
}

// command gives an order.
func (n *nodeScript) command(t *testing.T, order string) {
	t.Helper()
	if _, err := io.WriteString(n.in, order+"\n"); err != nil {
		t.Fatalf("telling %s to %s: %v", n.name, order, err)
	}
}
