package integration

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// fakeAdmin stands in for an admin endpoint. The node never drains.
func fakeAdmin(t *testing.T, polled chan<- struct{}) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.Method + " " + r.URL.Path {
		case "GET /ws_gateway/node":
			select {
			case polled <- struct{}{}:
			default:
			}
			fallthrough
		case "POST /ws_gateway/node":
			_, _ = io.WriteString(w, `{"name":"edge-1","id":"5f0c","state":"drain","live":2,"since":"2026-05-04T12:00:00Z"}`)
		case "POST /ws_gateway/revocations":
			w.WriteHeader(http.StatusCreated)
			_, _ = io.WriteString(w, `{"id":"r1","ended":3}`)
		case "GET /ws_gateway/revocations":
			_, _ = io.WriteString(w, `[{"id":"r1","user":"alice","until":"2026-06-03T12:00:00Z"}]`)
		default:
			w.WriteHeader(http.StatusNotFound)
			_, _ = io.WriteString(w, `{"error":"there is no such revocation"}`)
		}
	}))
	t.Cleanup(server.Close)
	return server.Listener.Addr().String()
}

// runCaddy runs a command of the built Caddy, and returns the exit status and what it
// has written to both outputs.
func runCaddy(t *testing.T, args ...string) (status int, out, errs string) {
	t.Helper()
	path, err := caddyBinary()
	if err != nil {
		t.Fatalf("building cmd/caddy: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, args...) // #nosec G204 -- built above
	var outText, errText bytes.Buffer
	cmd.Stdout, cmd.Stderr = &outText, &errText
	err = cmd.Run()
	if exit, ok := errors.AsType[*exec.ExitError](err); err != nil && !ok {
		t.Fatal(err)
	} else if ok {
		status = exit.ExitCode()
	}
	return status, outText.String(), errText.String()
}

// TestCommandExitsAsItsHelpSays goes through Caddy's own main, which makes exit
// statuses of errors.
func TestCommandExitsAsItsHelpSays(t *testing.T) {
	address := fakeAdmin(t, nil)
	rows := []struct {
		args      string
		status    int
		out, line string
	}{
		{"node --json", 0, `{"name":"edge-1","id":"5f0c","state":"drain","live":2,"since":"2026-05-04T12:00:00Z"}` + "\n", ""},
		{"node", 0, "name   edge-1\nid     5f0c\nstate  drain\nlive   2\nsince  2026-05-04T12:00:00Z\n", ""},
		{"revoke --user alice", 0, "revocation  r1\nended       3 connections\nuntil       2026-06-03T12:00:00Z\n", ""},
		{"revoke list", 0, "ID  USER   UNTIL\nr1  alice  2026-06-03T12:00:00Z\n", ""},
		{"revoke delete r2", 1, "", `caddy ws-gateway: revocation "r2": the admin endpoint at ` + address + " says 404 Not Found: there is no such revocation\n"},
		{"node drain --wait --timeout 3s --json", 1, `{"name":"edge-1","id":"5f0c","state":"drain","live":2,"since":"2026-05-04T12:00:00Z"}` + "\n", "caddy ws-gateway: 2 connections left after 3s: the node goes on draining\n"},
		{"revoke", 2, "", "caddy ws-gateway: say what to revoke, with --jti or --user; see caddy ws-gateway revoke --help\n"},
		{"bogus", 2, "", "caddy ws-gateway: ws-gateway has no command \"bogus\": known are drain, fleet, kill, list, maintenance, node, ready, revoke, top, upstreams; see caddy ws-gateway --help\n"},
		{"--bogus", 2, "", "caddy ws-gateway: unknown flag: --bogus; see caddy ws-gateway --help\n"},
		{"node --address unix//none", 3, "", "caddy ws-gateway: cannot reach the admin endpoint at unix//none: dial unix /none: connect: no such file or directory\n"},
	}
	for _, row := range rows {
		t.Run(row.args, func(t *testing.T) {
			args := append([]string{"ws-gateway", "--address", address}, strings.Fields(row.args)...)
			status, out, errs := runCaddy(t, args...)
			if status != row.status || out != row.out || errs != row.line {
				t.Errorf("the exit status is %d and should be %d, printed is\n%s%s\nand should be\n%s%s", status, row.status, out, errs, row.out, row.line)
			}
		})
	}
}

func TestCommandThatWaitsCanBeInterrupted(t *testing.T) {
	path, err := caddyBinary()
	if err != nil {
		t.Fatalf("building cmd/caddy: %v", err)
	}
	polled := make(chan struct{}, 1)
	var out, errs bytes.Buffer
	cmd := exec.Command(path, "ws-gateway", "node", "drain", "--wait", "--address", fakeAdmin(t, polled)) // #nosec G204 -- built above
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	receive(t, "a look at the node", polled)
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	_ = receive(t, "the end of the command", ended)
	if status := cmd.ProcessState.ExitCode(); status != 130 || out.Len() > 0 || errs.String() != "caddy ws-gateway: interrupted with 2 connections left: the node goes on draining\n" {
		t.Errorf("the exit status is %d, printed is %q and %q", status, out.String(), errs.String())
	}
}

// TestCommandHasItsPlaceAmongCaddys looks where Caddy goes through all commands.
func TestCommandHasItsPlaceAmongCaddys(t *testing.T) {
	rows := []struct{ args, says string }{
		{"help", "\n  ws-gateway     Looks after the WebSocket gateways of a running Caddy\n"},
		{"help ws-gateway", "caddy ws-gateway [command]"},
		{"help ws-gateway node drain", "Makes this Caddy refuse handshakes"},
		{"ws-gateway", "\nExit status:\n"},
		{"ws-gateway node ready --help", "\nExit status:\n"},
		{"completion bash", "bash completion"},
		{"__complete ws-gateway node d", "drain\t"},
	}
	for _, row := range rows {
		if status, out, errs := runCaddy(t, strings.Fields(row.args)...); status != 0 || !strings.Contains(out, row.says) {
			t.Errorf("caddy %s: the exit status is %d, printed is\n%s%s", row.args, status, out, errs)
		}
	}
	dir := t.TempDir()
	if status, out, errs := runCaddy(t, "manpage", "--directory", dir); status != 0 {
		t.Errorf("caddy manpage: the exit status is %d, printed is\n%s%s", status, out, errs)
	}
	for _, page := range []string{"caddy-ws-gateway.8", "caddy-ws-gateway-revoke-list.8", "caddy-ws-gateway-node-drain.8"} {
		if text, err := os.ReadFile(filepath.Join(dir, page)); err != nil || !bytes.Contains(text, []byte("ws-gateway")) {
			t.Errorf("%s: %v", page, err)
		}
	}
}
