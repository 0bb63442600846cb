package integration

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/caddyserver/caddy/v2/caddyconfig"

	"github.com/wsgateway/caddy-ws-gateway/internal/redistest"
)

// TestFleetExample runs it as its documentation says, and ends it as ^C does.
func TestFleetExample(t *testing.T) {
	long(t)
	t.Parallel()
	redistest.Start(t).Kill() // skips the test where there is none
	binary := filepath.Join(t.TempDir(), "fleet")
	if out, err := exec.Command("go", "build", "-o", binary, "../examples/fleet").CombinedOutput(); err != nil {
		t.Fatalf("building examples/fleet: %v\n%s", err, out)
	}
	first := portsInARow(t, 7)
	said := new(recording)
	cmd := exec.Command(binary, "-port", strconv.Itoa(first))
	cmd.Dir, cmd.Stdout, cmd.Stderr = "..", said, said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	exited := make(chan error, 1)
	go func() { exited <- cmd.Wait() }()
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		if t.Failed() {
			t.Logf("the example said:\n%s", said.bytes())
		}
	})
	at := func(offset int) *gateway { return &gateway{httpAddr: fmt.Sprintf("127.0.0.1:%d", first+offset)} }
	one, two, admin := at(0), at(1), at(5)
	patiently(t, "the addresses", func() bool { return strings.Contains(string(said.bytes()), "Stop all with ^C.") })
	patiently(t, "two nodes", func() bool {
		var f shownFleet
		a := admin.get(t, "/ws_gateway/fleet", nil)
		return json.Unmarshal([]byte(a.body), &f) == nil && f.Connected && len(f.Nodes) == 2
	})
	alice := bearer("alice-demo-token")
	for i, g := range []*gateway{one, two, one} {
		conn := overWS.open(t, g, "/ws", alice)
		if f, err := conn.next(); err != nil || !strings.Contains(string(f.payload), "hello alice, this is upstream") {
			t.Errorf("connection %d is greeted with %v, %v", i, f, err)
		}
	}
	overWS.refused(t, one, "/ws", alice, http.StatusTooManyRequests)
	overWS.refused(t, two, "/ws", alice, http.StatusTooManyRequests)
	overWS.open(t, two, "/ws", bearer("bob-s-demo-token"))
	if a := two.get(t, "/", nil); a.status != http.StatusOK || !strings.Contains(a.body, "ws_gateway quickstart") {
		t.Errorf("the page: status %d", a.status)
	}
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	patiently(t, "the example to exit", func() bool { return len(exited) == 1 })
	if err := <-exited; err != nil {
		t.Errorf("it exited with %v", err)
	}
	for offset := range 7 {
		conn, err := net.Dial("tcp", at(offset).httpAddr)
		if err == nil {
			_ = conn.Close()
			t.Errorf("port %d is still served", first+offset)
		}
	}
}

// portsInARow finds ports on loopback that are free.
func portsInARow(t *testing.T, n int) (first int) {
	t.Helper()
	for row, last := 0, 0; ; {
		_, text, _ := net.SplitHostPort(freePort(t))
		port, err := strconv.Atoi(text)
		if err != nil {
			t.Fatal(err)
		}
		if row++; port != last+1 {
			row = 1
		}
		if last = port; row == n {
			return port - n + 1
		}
	}
}

// TestFleetExampleHasNoWarnings by Caddy, with nothing set.
func TestFleetExampleHasNoWarnings(t *testing.T) {
	for _, name := range []string{"gateway", "upstreams"} {
		file := filepath.Join("..", "examples", "fleet", name+".Caddyfile")
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		_, warnings, err := caddyconfig.GetAdapter("caddyfile").Adapt(text, map[string]any{"filename": file})
		if err != nil || len(warnings) > 0 {
			t.Errorf("%s: %v, %v", name, err, warnings)
		}
	}
}
