package integration

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"unicode/utf8"

	"golang.org/x/sys/unix"
)

// fakeNode stands in for the admin endpoint of a node with connections.
type fakeNode struct {
	*httptest.Server
	mu      sync.Mutex
	users   map[string]string // by the IDs of the connections
	looks   uint64
	gone    bool
	seen    []string // what it was asked, without the looks at the node and its gateways
	drained bool
}

func newFakeNode(t *testing.T, users map[string]string) *fakeNode {
	t.Helper()
	n := &fakeNode{users: users}
	n.Server = httptest.NewServer(n)
	t.Cleanup(n.Close)
	return n
}

func (n *fakeNode) address() string { return n.Listener.Addr().String() }

func (n *fakeNode) set(change func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	change()
}

// asked reports whether the node was asked that.
func (n *fakeNode) asked(request string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Contains(n.seen, request)
}

func (n *fakeNode) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.gone {
		panic(http.ErrAbortHandler)
	}
	var answer any
	switch path := r.Method + " " + r.URL.Path; {
	case path == "GET /ws_gateway/node":
		answer = map[string]any{"name": "edge-1", "id": "5f0c", "state": "ready", "live": len(n.users), "since": "2026-05-04T12:00:00Z"}
	case path == "GET /ws_gateway/":
		n.looks++
		state := "ready"
		if n.drained {
			state = "drain"
		}
		answer = []any{map[string]any{
			"name": "chat", "upstreams": []any{map[string]any{"address": "10.0.0.5:8080", "state": state, "weight": 1, "live": len(n.users), "opened": n.looks, "failed": 0}},
			"handshakes": map[string]any{"ok": n.looks}, "messages_from_client": 1000 * n.looks, "bytes_from_upstream": 1000 * n.looks,
		}}
	case path == "GET /ws_gateway/connections":
		n.seen = append(n.seen, "GET "+r.URL.RawQuery)
		answer = n.rows()
	case strings.HasPrefix(path, "DELETE /ws_gateway/connections"):
		n.seen = append(n.seen, r.Method+" "+r.URL.RequestURI())
		ended := len(n.users)
		if id, found := strings.CutPrefix(r.URL.Path, "/ws_gateway/connections/"); found {
			ended = 1
			delete(n.users, id)
		}
		answer = map[string]int{"ended": ended}
	case path == "POST /ws_gateway/upstreams":
		n.seen = append(n.seen, r.Method+" "+r.URL.RequestURI())
		n.drained = true
		answer = map[string]string{"address": r.URL.Query().Get("address"), "state": "drain"}
	default:
		http.NotFound(w, r)
		return
	}
	_ = json.NewEncoder(w).Encode(answer)
}

func (n *fakeNode) rows() []any {
	rows := []any{}
	for _, id := range slices.Sorted(maps.Keys(n.users)) {
		rows = append(rows, map[string]any{
			"id": id, "gateway": "chat", "user": n.users[id], "remote_ip": "203.0.113.7", "proto": "HTTP/1.1", "protocol": "websocket",
			"upstream": "10.0.0.5:8080", "opened_at": "2026-05-04T12:00:00Z", "age": 3720.5, "idle": 0.25, "pending": 0,
			"rates": map[string]any{"bytes_from_client": 1500, "bytes_from_upstream": 500},
		})
	}
	return rows
}

// top starts top on a terminal and waits until it shows something.
func (n *fakeNode) top(t *testing.T, columns, rows int, args ...string) *terminal {
	t.Helper()
	p := onTerminal(t, columns, rows, append([]string{"ws-gateway", "top", "--address", n.address(), "--interval", "20ms"}, args...)...)
	p.seeText(t, "edge-1")
	return p
}

func TestTopObeysKeys(t *testing.T) {
	n := newFakeNode(t, map[string]string{"c1": "alice", "c2": "bob", "c3": "bobby"})
	p := n.top(t, 80, 24)
	p.seeText(t, "c1  alice  2.0 kB/s  10.0.0.5:8080  1h02m  250ms  -    0 B")
	p.see(t, "rates", func(screen string) bool {
		return strings.Contains(screen, "handshakes ") && !strings.Contains(screen, "handshakes 0/s") && strings.Contains(screen, "messages ") && strings.Contains(screen, "RATE▼")
	})
	for key, by := range map[string]string{"a": "age", "i": "idle", "p": "pending", "t": "rtt", "r": "rate"} {
		p.press(t, key)
		p.seeText(t, "sort: "+by)
		p.see(t, "connections by "+by, func(string) bool { return n.asked("GET limit=200&sort=" + by) })
	}
	p.press(t, "/bobx\x7f\r")
	p.seeText(t, "filter: bob  ")
	p.see(t, "bob alone", func(screen string) bool { return !strings.Contains(screen, "alice") })
	p.press(t, "k")
	p.seeText(t, "select a connection first")
	p.press(t, "\x1b[B\x1b[B\x1b[Ak")
	p.seeText(t, "End connection c2 of bob? [y/N]")
	p.press(t, "n")
	p.seeText(t, "nothing was done")
	p.press(t, "K")
	p.seeText(t, "End connection c2 of bob? [y/N]")
	if n.asked("DELETE /ws_gateway/connections/c2") {
		t.Error("it was ended without an answer")
	}
	p.press(t, "y")
	p.seeText(t, "ended 1 connection")
	p.see(t, "that bob is gone", func(screen string) bool { return !strings.Contains(screen, "c2") && strings.Contains(screen, "c3") })
	p.press(t, "/\x15\r")
	p.seeText(t, "alice")
	p.press(t, "\td")
	p.seeText(t, "Drain 10.0.0.5:8080? [y/N]")
	p.press(t, "y")
	p.seeText(t, "10.0.0.5:8080 drains")
	p.seeText(t, "10.0.0.5:8080  drain")
	p.press(t, "?")
	p.seeText(t, "end the selected connection")
	p.press(t, "x")
	p.seeText(t, "q: quit")
	p.press(t, "q")
	p.expectEnd(t, 0)
}

func TestTopDoesWhatWasAnsweredBeforeItQuits(t *testing.T) {
	n := newFakeNode(t, map[string]string{"c1": "alice"})
	p := n.top(t, 80, 24)
	p.press(t, "\x1b[Hkyq")
	p.expectEnd(t, 0)
	if !n.asked("DELETE /ws_gateway/connections/c1") {
		t.Error("the connection was not ended")
	}
}

func TestTopFitsTheTerminal(t *testing.T) {
	users := make(map[string]string)
	for i := range 50 {
		users[fmt.Sprintf("c%03d", i)] = "a user with a name that no column has room for, ever, on any terminal of this world"
	}
	n := newFakeNode(t, users)
	p := n.top(t, 80, 24)
	for _, size := range [][2]int{{40, 10}, {200, 60}, {20, 5}, {5, 2}, {1, 1}, {80, 24}} {
		p.resize(t, size[0], size[1])
		p.see(t, fmt.Sprintf("it in %v", size), func(string) bool {
			lines := p.lines()
			return utf8.RuneCountInString(lines[0]) > 0 && lines[len(lines)-1] != "" && strings.HasPrefix("edge-1", lines[0][:min(len(lines[0]), 6)]) || size[1] == 1 && lines[0] != ""
		})
	}
	p.seeText(t, "c000")
	p.press(t, "\x1b[F")
	p.seeText(t, "c049")
	p.press(t, "\x1b[H")
	p.seeText(t, "c000")
	p.press(t, "q")
	p.expectEnd(t, 0)
}

func TestTopGivesTheTerminalBack(t *testing.T) {
	n := newFakeNode(t, map[string]string{"c1": "alice"})
	for name, end := range map[string]func(*testing.T, *terminal){
		"at Ctrl-C":  func(t *testing.T, p *terminal) { p.press(t, "\x03") },
		"at SIGINT":  func(_ *testing.T, p *terminal) { _ = p.cmd.Process.Signal(os.Interrupt) },
		"at SIGTERM": func(_ *testing.T, p *terminal) { _ = p.cmd.Process.Signal(syscall.SIGTERM) },
		"while it asks": func(t *testing.T, p *terminal) {
			p.press(t, "\x1b[Bk")
			p.seeText(t, "End connection")
			p.press(t, "\x03")
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := n.top(t, 80, 24)
			end(t, p)
			p.expectEnd(t, 130)
		})
	}
}

// TestTopGivesTheTerminalBackAtOnce sends a signal as soon as the terminal was taken.
func TestTopGivesTheTerminalBackAtOnce(t *testing.T) {
	n := newFakeNode(t, map[string]string{"c1": "alice"})
	for range 8 {
		p := onTerminal(t, 80, 24, "ws-gateway", "top", "--address", n.address())
		for taken := false; !taken; {
			now, err := unix.IoctlGetTermios(int(p.near.Fd()), unix.TCGETS)
			if err != nil || len(p.ended) > 0 {
				t.Fatal("top never took the terminal:", err)
			}
			taken = *now != *p.before
		}
		_ = p.cmd.Process.Signal(syscall.SIGTERM)
		p.expectEnd(t, 130)
	}
}

func TestTopEndsWithItsTerminal(t *testing.T) {
	p := newFakeNode(t, map[string]string{"c1": "alice"}).top(t, 80, 24)
	_ = p.near.Close()
	_ = p.far.Close()
	_ = receive(t, "the end of top", p.ended)
}

func TestTopGoesOnWhileTheEndpointIsGone(t *testing.T) {
	n := newFakeNode(t, map[string]string{"c1": "alice"})
	p := n.top(t, 120, 24)
	p.seeText(t, "alice")
	n.set(func() { n.gone = true })
	p.seeText(t, "trying again: cannot reach the admin endpoint at "+n.address())
	p.seeText(t, "alice")
	p.press(t, "\x1b[Bky")
	p.seeText(t, "trying again")
	n.set(func() { n.gone, n.users["c9"] = false, "zoe" })
	p.seeText(t, "zoe")
	p.see(t, "that it is back", func(screen string) bool { return !strings.Contains(screen, "trying again") })
	p.press(t, "q")
	p.expectEnd(t, 0)
}

func TestTopShowsNothingThatATerminalActsUpon(t *testing.T) {
	n := newFakeNode(t, map[string]string{"c1\x1b[2J": "\x1b]0;owned\a", "c2": "\u009b31m\u202e"})
	p := n.top(t, 80, 24)
	p.seeText(t, `"\x1b]0;owned\a"`)
	p.seeText(t, `"\u009b31m\u202e"`)
	p.press(t, "\x1b[Bk")
	p.seeText(t, `End connection "c1\x1b[2J"`)
	p.press(t, "n/\u009b]")
	p.seeText(t, `filter: \u009b]_`)
	p.press(t, "\x1b")
	p.seeText(t, "q: quit")
	p.press(t, "q")
	p.expectEnd(t, 0)
	for _, bad := range []string{"\x1b]", "\a", "\u009b", "\u202e"} {
		if strings.Contains(p.written(), bad) {
			t.Errorf("%q was written", bad)
		}
	}
}

func TestKillAsksOnATerminal(t *testing.T) {
	rows := []struct {
		answer string
		status int
		says   string
	}{
		{"y\r", 0, "ended 2 connections"},
		{"yes\r", 0, "ended 2 connections"},
		{"\r", 1, "caddy ws-gateway: nothing was ended"},
		{"no\r", 1, "caddy ws-gateway: nothing was ended"},
		{"\x04", 1, "caddy ws-gateway: nothing was ended"},
	}
	for _, row := range rows {
		t.Run(fmt.Sprintf("%q", row.answer), func(t *testing.T) {
			n := newFakeNode(t, map[string]string{"c1": "alice", "c2": "alice"})
			p := onTerminal(t, 80, 24, "ws-gateway", "kill", "--user", "alice", "--code", "1012", "--address", n.address())
			p.seeText(t, "End 2 connections? [y/N]")
			if !n.asked("GET limit=1000&user=alice") || n.asked("DELETE /ws_gateway/connections?code=1012&user=alice") {
				t.Errorf("asked was %q", n.seen)
			}
			p.press(t, row.answer)
			_ = receive(t, "the end of the command", p.ended)
			p.seeText(t, row.says)
			if status := p.cmd.ProcessState.ExitCode(); status != row.status || n.asked("DELETE /ws_gateway/connections?code=1012&user=alice") != (status == 0) {
				t.Errorf("the exit status is %d, and asked was %q", status, n.seen)
			}
		})
	}
}
