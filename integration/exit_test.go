package integration

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// caddyBinary builds cmd/caddy once for the tests that need a process of its own.
var caddyBinary = sync.OnceValues(func() (string, error) {
	path := filepath.Join(workDir, "caddy")
	build := exec.Command("go", "build", "-o", path, "../cmd/caddy") // #nosec G204 -- a fixed command
	if out, err := build.CombinedOutput(); err != nil {
		return "", &buildError{string(out), err}
	}
	return path, nil
})

type buildError struct {
	out string
	err error
}

func (e *buildError) Error() string { return e.err.Error() + "\n" + e.out }

// process is Caddy in a process of its own.
type process struct {
	*gateway
	cmd    *exec.Cmd
	log    *recording
	exited chan error
}

// startProcess runs the gateway as a user would.
func startProcess(t *testing.T, options, site string) *process {
	t.Helper()
	g := newGateway(t, options)
	g.tls = "tls internal"
	p := g.runProcess(t, g.caddyfile(site, "output stderr\n\t\tformat json"))
	g.waitForTLS(t)
	return p
}

// runProcess runs Caddy by a Caddyfile.
func (g *gateway) runProcess(t *testing.T, caddyfile string) *process {
	t.Helper()
	p := &process{gateway: g, log: new(recording), exited: make(chan error, 1)}
	p.cmd = g.command(t, caddyfile, "run")
	p.cmd.Stderr = p.log
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { p.exited <- p.cmd.Wait() }()
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill()
		if t.Failed() {
			t.Logf("the log of the process:\n%s", p.log.bytes())
		}
	})
	return p
}

// command is one of Caddy's commands, of the kind that takes a configuration.
func (g *gateway) command(t *testing.T, caddyfile, name string) *exec.Cmd {
	t.Helper()
	path, err := caddyBinary()
	if err != nil {
		t.Fatalf("building cmd/caddy: %v", err)
	}
	file := filepath.Join(filepath.Dir(g.socket), "Caddyfile")
	if err := os.WriteFile(file, []byte(caddyfile), 0o600); err != nil {
		t.Fatal(err)
	}
	return exec.Command(path, name, "--config", file, "--adapter", "caddyfile") // #nosec G204 -- built above
}

// TestExitSaysGoodbyeAndIsPrompt ends the process with connections open over
// every protocol; each is told 1001, and none holds the exit up.
func TestExitSaysGoodbyeAndIsPrompt(t *testing.T) {
	long(t)
	rows := []struct {
		name, options, site string
		over                []carrier
		busy                bool // the clients do not answer the close frame
	}{
		{"clients that answer", "", "ws_gateway %s", carriers, false},
		{"h1 clients that do not", "", "ws_gateway %s", []carrier{overWS, overWSS}, true},
		{"h2 clients that do not", "", "ws_gateway %s", []carrier{overH2}, true},
		{"h3 clients that do not", "", "ws_gateway %s", []carrier{overH3}, true},
		{"with a grace period", "grace_period 5s", "ws_gateway %s", carriers, true},
		{"with a long drain period", "", "ws_gateway %s {\n drain_period 1h\n }", carriers, false},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			b := newBackend(t, handOver())
			p := startProcess(t, row.options, strings.ReplaceAll(row.site, "%s", b.addr))
			var conns []*wsConn
			var ends []*backendConn
			for range 3 {
				for _, c := range row.over {
					client, upstream := pair(t, p.gateway, b, c)
					conns, ends = append(conns, client), append(ends, upstream)
				}
			}
			if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
			for i, conn := range conns {
				conn.expectClose(t, 1001)
				ends[i].expectClose(t, 1001)
				if !row.busy {
					conn.mustSend(t, closing(1001, ""))
					writeTo(t, ends[i], closing(1001, ""))
					conn.expectEnd(t)
					conn.kill()
				}
			}
			if err := receive(t, "the process to exit", p.exited); err != nil {
				t.Errorf("the process exited with %v", err)
			}
			if log := p.log.bytes(); bytes.Contains(log, []byte("panic")) || bytes.Contains(log, []byte("DATA RACE")) {
				t.Errorf("the process's log:\n%s", log)
			}
		})
	}
}
