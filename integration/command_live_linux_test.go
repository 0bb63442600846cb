package integration

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

// operate runs the command against the running Caddy, and returns what it has printed.
func (g *gateway) operate(t *testing.T, args ...string) string {
	t.Helper()
	status, out, errs := runCaddy(t, append([]string{"ws-gateway", "--address", "unix/" + g.socket}, args...)...)
	if status != 0 {
		t.Fatalf("%q: the exit status is %d, printed is\n%s%s", args, status, out, errs)
	}
	return out
}

// TestCommandAndARunningCaddy goes through what an operator does.
func TestCommandAndARunningCaddy(t *testing.T) {
	b := newBackend(t, echo)
	g := start(t, "ws_gateway "+b.addr+" {\n name command-live\n drain_period 100ms\n }")
	defer g.setState(t, b.addr, "ready")
	const own = "--gateway=command-live"
	for range 4 {
		overWS.open(t, g, "/ws", nil).ping(t, "hello")
	}
	var listed []struct{ ID, Upstream string }
	if err := json.Unmarshal([]byte(g.operate(t, "list", own, "--json")), &listed); err != nil || len(listed) != 4 || listed[0].Upstream != b.addr {
		t.Fatalf("listed are %v, %v", listed, err)
	}
	for _, args := range [][]string{{"list", own}, {"list", own, "--sort", "rate", "--limit", "9"}, {"list", own, "--upstream", b.addr, "--ip", "127.0.0.1"}, {"top", "--once", "--interval", "10ms", own}} {
		if out := g.operate(t, args...); strings.Count(out, b.addr) < 4 || !strings.Contains(out, listed[0].ID) {
			t.Errorf("%q prints\n%s", args, out)
		}
	}
	if out := g.operate(t, "upstreams", own); !strings.Contains(out, b.addr+"  ready  4     100%   4       0") {
		t.Errorf("upstreams prints\n%s", out)
	}
	if out := g.operate(t, "kill", listed[0].ID); out != "ended 1 connection\n" {
		t.Errorf("kill prints %q", out)
	}
	p := onTerminal(t, 120, 24, "ws-gateway", "top", own, "--interval", "20ms", "--address", "unix/"+g.socket)
	p.seeText(t, "gateway command-live  3 live")
	p.press(t, "\x1b[Hky")
	p.seeText(t, "ended 1 connection")
	p.seeText(t, "gateway command-live  2 live")
	p.press(t, "q")
	p.expectEnd(t, 0)
	if out := g.operate(t, "kill", own, "--older-than", "1ms", "--ip", "127.0.0.2"); out != "ended 0 connections\n" {
		t.Errorf("kill prints %q", out)
	}
	if out := g.operate(t, "maintenance", b.addr); !strings.Contains(out, "maintenance") {
		t.Errorf("maintenance prints %q", out)
	}
	if out := g.operate(t, "drain", "--wait", b.addr); !strings.Contains(out, "drain") {
		t.Errorf("drain prints %q", out)
	}
	if out := g.operate(t, "list", own, "--json"); out != "[]\n" {
		t.Errorf("after the drain there are %s", out)
	}
	if out := g.operate(t, "ready", b.addr); !strings.Contains(out, "ready") {
		t.Errorf("ready prints %q", out)
	}
	out := g.operate(t, "list", own, "--state", "closed", "--upstream", b.addr) // of this run alone
	for code, n := range map[int]int{3000: 2, 1012: 2} {
		if strings.Count(out, fmt.Sprintf("gateway  %d", code)) != n {
			t.Errorf("of those that have ended, %d should have the code %d:\n%s", n, code, out)
		}
	}
}
