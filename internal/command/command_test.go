package command

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	_ "github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile" // the adapter of Caddyfiles
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"
)

// fakeEndpoint stands in for Caddy's admin endpoint.
type fakeEndpoint struct {
	*httptest.Server
	mu   sync.Mutex
	seen []string // method, target and body of each request
}

// newFakeEndpoint gives each request the answer for its number, the last one from
// there on. An answer is a status and a body, or nothing where the connection breaks.
func newFakeEndpoint(t *testing.T, answers ...string) *fakeEndpoint {
	t.Helper()
	e := new(fakeEndpoint)
	e.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		e.mu.Lock()
		answer := answers[min(len(e.seen), len(answers)-1)]
		e.seen = append(e.seen, strings.TrimSpace(r.Method+" "+r.URL.RequestURI()+" "+string(body)))
		e.mu.Unlock()
		if answer == "" {
			panic(http.ErrAbortHandler)
		}
		if origin := r.Header.Get("Origin"); origin != "http://"+r.Host {
			http.Error(w, fmt.Sprintf("origin %q", origin), http.StatusForbidden)
			return
		}
		var status int
		_, _ = fmt.Sscan(answer, &status)
		w.WriteHeader(status)
		_, _ = io.WriteString(w, strings.TrimSpace(answer[3:]))
	}))
	t.Cleanup(e.Close)
	return e
}

func (e *fakeEndpoint) address() string { return e.Listener.Addr().String() }

func (e *fakeEndpoint) requests() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clone(e.seen)
}

// commandRun is what a run of the command came to.
type commandRun struct {
	status      int
	out, errors string
}

// runCommand runs caddy ws-gateway.
func runCommand(t *testing.T, args ...string) commandRun {
	t.Helper()
	root := &cobra.Command{Use: "caddy"}
	group := &cobra.Command{Use: "ws-gateway", Long: caddycmd.Commands()["ws-gateway"].Long}
	setUpCommand(group, time.Millisecond)
	root.AddCommand(group)
	var out, errors bytes.Buffer
	root.SetOut(&out)
	root.SetErr(&errors)
	root.SetArgs(append([]string{"ws-gateway"}, args...))
	status := 0
	if err := root.ExecuteContext(t.Context()); err != nil {
		status = 1
		if code := reflect.Indirect(reflect.ValueOf(err)).FieldByName("ExitCode"); code.IsValid() { // Caddy's own error, as its main looks at it
			status = int(code.Int())
		}
	}
	return commandRun{status, out.String(), errors.String()}
}

// runAt runs the command with a fake endpoint.
func runAt(t *testing.T, e *fakeEndpoint, args ...string) commandRun {
	t.Helper()
	return runCommand(t, append([]string{"--address", e.address()}, args...)...)
}

// expect compares what a run came to. The line of errors is compared by what it has to
// say; there is one, or none where nothing is expected.
func (r commandRun) expect(t *testing.T, status int, out, line string) {
	t.Helper()
	if r.status != status {
		t.Errorf("the exit status is %d and should be %d", r.status, status)
	}
	if r.out != out {
		t.Errorf("printed is\n%s\nand should be\n%s", r.out, out)
	}
	if line == "" && r.errors != "" || !strings.Contains(r.errors, line) || strings.Count(r.errors, "\n") > 1 {
		t.Errorf("the line of the error is %q and should be one with %q", r.errors, line)
	}
}

func TestWrongUsageOfTheCommandSendsNothing(t *testing.T) {
	t.Parallel()
	expectWrongUsage(t, []wrongUsage{
		{"bogus", `no command "bogus": known are drain, fleet, kill, list, maintenance, node, ready, revoke, top, upstreams; see caddy ws-gateway --help`},
		{"--bogus", "unknown flag: --bogus; see caddy ws-gateway --help"},
		{"node bogus", `no command "bogus": known are drain, ready`},
		{"node --bogus", "unknown flag"},
		{"node ready now", `takes no argument, such as "now"`},
		{"node drain now", "takes no argument"},
		{"node drain --period", "flag needs an argument"},
		{"node drain --period soon", `--period: "soon" is no duration`},
		{"node drain --period -1s", `--period: "-1s" is negative`},
		{"node drain --wait --timeout 0s", "--timeout: it must be more than nothing"},
		{"node drain --wait --timeout 1", `"1" is no duration`},
		{"node drain --timeout 1s", "--timeout needs --wait"},
		{"node --json=perhaps", "invalid argument"},
		{"node --address=a:1-2", "must have one port"},
		{"node --address=http://localhost:2019", "has no scheme and no path"},
		{"node --address=localhost:2019/x", "has no scheme and no path"},
		{"node --address=a:b", `the address "a:b" of the admin endpoint`},
		{"node --adapter=caddyfile", "--adapter needs --config"},
		{"node --config=none.json", "none.json"},
		{"revoke", "with --jti or --user"},
		{"revoke --gateway=chat", "with --jti or --user"},
		{"revoke --jti=a --user=b", "--jti and --user exclude each other"},
		{"revoke --jti=a --issued-before=now", "--jti and --issued-before exclude each other"},
		{"revoke --jti=a --until=2030-01-01T00:00:00Z --for=1h", "--until and --for exclude each other"},
		{"revoke --jti=", "--jti: it must not be empty"},
		{"revoke --user=", "--user: it must not be empty"},
		{"revoke --user=a --gateway=", "--gateway: it must not be empty"},
		{"revoke --user=a --until=now", `--until: "now" is no time`},
		{"revoke --user=a --until=2030-01-01", `--until: "2030-01-01" is no time`},
		{"revoke --user=a --issued-before=yesterday", "--issued-before"},
		{"revoke --user=a --for=ever", `--for: "ever" is no duration`},
		{"revoke --user=a --for=-1h", `--for: "-1h" is negative`},
		{"revoke --user=a --for=0s", "--for: it must be more than nothing"},
		{"revoke --user=a --code=x", "invalid argument"},
		{"revoke alice", `no command "alice": known are delete, list; see caddy ws-gateway revoke --help`},
		{"revoke list alice", "takes no argument"},
		{"revoke list --user=", "--user: it must not be empty"},
		{"revoke list --code=1", "unknown flag"},
		{"revoke delete", "by their IDs; see caddy ws-gateway revoke delete --help"},
		{"revoke delete --user=a", "unknown flag"},
	})
}

// wrongUsage is a way of calling the command, without an endpoint unless it has a flag for
// it, and what is said of that.
type wrongUsage struct{ args, says string }

// expectWrongUsage runs the command in ways in which it may send nothing.
func expectWrongUsage(t *testing.T, rows []wrongUsage) {
	t.Helper()
	endpoint := newFakeEndpoint(t, "200 {}")
	t.Cleanup(func() {
		if sent := endpoint.requests(); len(sent) > 0 {
			t.Errorf("sent was %q", sent)
		}
	})
	for _, row := range rows {
		t.Run(row.args, func(t *testing.T) {
			t.Parallel()
			args := strings.Fields(row.args)
			if !strings.Contains(row.args, "--address") && !strings.Contains(row.args, "--config") && !strings.Contains(row.args, "--adapter") {
				args = append([]string{"--address", endpoint.address()}, args...)
			}
			runCommand(t, args...).expect(t, exitUsage, "", row.says)
		})
	}
}

func TestEmptyArgumentSendsNothing(t *testing.T) {
	t.Parallel()
	endpoint := newFakeEndpoint(t, "200 {}")
	for _, args := range [][]string{{"revoke", "delete", "a", ""}, {"kill", "a", ""}, {"drain", "a", ""}, {"ready", ""}} {
		runAt(t, endpoint, args...).expect(t, exitUsage, "", "must not be empty")
	}
	if sent := endpoint.requests(); len(sent) > 0 {
		t.Errorf("sent was %q", sent)
	}
}

func TestRefusalsOfTheAdminEndpointAreToldInALine(t *testing.T) {
	t.Parallel()
	rows := []struct{ name, answer, says string }{
		{"Caddy's sentence", `400 {"error":"until is in the past"}`, "says 400 Bad Request: until is in the past\n"},
		{"one with control characters", `507 {"error":"\u001b[31mfull\u009b\nof \"it\""}`, `full\u009b\nof "it"`},
		{"no module", "404 404 page not found", "is that Caddy built with the module"},
		{"not of Caddy", "502 <h1>Bad\ngateway</h1>", `says 502 Bad Gateway: <h1>Bad\ngateway</h1>`},
		{"without a word", "500", "no reason given"},
		{"a redirect", "302", "says 302 Found"},
		{"no JSON", "200 <html>", "to GET /ws_gateway/node is not what it should be"},
		{"other JSON", `200 ["node"]`, "is not what it should be"},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			runAt(t, newFakeEndpoint(t, row.answer), "node").expect(t, exitRefused, "", row.says)
		})
	}
}

func TestAnswerThatIsTooLongIsNoneToKeep(t *testing.T) {
	t.Parallel()
	endpoint := newFakeEndpoint(t, "200 ["+strings.Repeat(" ", maxAnswer)+"]")
	runAt(t, endpoint, "list").expect(t, exitRefused, "", "has more than 67108864 bytes")
}

func TestUnreachableAdminEndpointHasAStatusOfItsOwn(t *testing.T) {
	t.Parallel()
	gone := newFakeEndpoint(t, "200 {}")
	gone.Close()
	for _, args := range []string{
		"node", "node drain --wait", "node ready", "revoke --jti a", "revoke list", "revoke delete a b",
		"list", "upstreams", "kill a", "kill --user a", "drain a --wait", "ready a", "maintenance a", "top", "top --once --json",
	} {
		runAt(t, gone, strings.Fields(args)...).expect(t, exitUnreachable, "", "cannot reach the admin endpoint at "+gone.address()+": dial tcp")
	}
	runAt(t, newFakeEndpoint(t, ""), "node").expect(t, exitUnreachable, "", "EOF")
	runCommand(t, "--address", "unix/"+filepath.Join(t.TempDir(), "none"), "node").expect(t, exitUnreachable, "", "dial unix")
}

func TestAdminEndpointIsFound(t *testing.T) {
	t.Parallel()
	const answer = `{"name":"a","id":"b","state":"ready","live":0,"since":"c"}`
	dir, err := os.MkdirTemp("", "wsgw") // the path of a socket may have about 100 bytes
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	listener, err := net.Listen("unix", filepath.Join(dir, "admin"))
	if err != nil {
		t.Fatal(err)
	}
	atSocket := &httptest.Server{Listener: listener, Config: &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if origin := r.Header["Origin"]; r.Host != "127.0.0.1" || origin != nil {
			http.Error(w, fmt.Sprintf("host %q, origin %q", r.Host, origin), http.StatusForbidden)
			return
		}
		_, _ = io.WriteString(w, answer)
	})}}
	atSocket.Start()
	t.Cleanup(atSocket.Close)
	endpoint := newFakeEndpoint(t, "200 "+answer)
	file := func(name, text string) string {
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	caddyfile := "{\n admin " + endpoint.address() + "\n}"
	rows := map[string][]string{
		"by its address":           {"--address", endpoint.address()},
		"at a socket":              {"--address", "unix/" + listener.Addr().String()},
		"at one with permissions":  {"--address", "unix/" + listener.Addr().String() + "|0600"},
		"in a Caddyfile":           {"-c", file("Caddyfile", caddyfile)},
		"by an adapter":            {"-c", file("conf", caddyfile), "-a", "caddyfile"},
		"in JSON":                  {"--config", file("caddy.json", `{"admin":{"listen":"`+endpoint.address()+`"}}`)},
		"by both, the address has": {"--address", endpoint.address(), "--config", "none.json"},
	}
	for name, flags := range rows {
		t.Run(name, func(t *testing.T) {
			runCommand(t, append(flags, "node", "--json")...).expect(t, 0, answer+"\n", "")
		})
	}
}

func TestHelpOfTheCommand(t *testing.T) {
	t.Parallel()
	alone := runCommand(t)
	if asked := runCommand(t, "--help"); alone != asked || alone.status != 0 {
		t.Errorf("without an argument the status is %d and the help\n%s\nand not\n%s", alone.status, alone.out, asked.out)
	}
	for _, args := range []string{"", "revoke", "revoke list", "revoke delete", "node", "node drain", "node ready", "list", "upstreams", "kill", "drain", "ready", "maintenance", "top"} {
		t.Run("of "+args, func(t *testing.T) {
			t.Parallel()
			help := runCommand(t, append(strings.Fields(args), "--help")...)
			help.expect(t, 0, help.out, "")
			_, examples, _ := strings.Cut(help.out, "\nExamples:\n")
			examples, _, _ = strings.Cut(examples, "\n\n")
			if n := strings.Count(examples, "  $ caddy ws-gateway"); n < 2 {
				t.Errorf("it has %d examples:\n%s", n, help.out)
			}
			for example := range strings.Lines(examples) {
				checkExample(t, example)
			}
			for _, part := range []string{"\nExit status:\n", "--address", "--config", "--adapter", "--json"} {
				if !strings.Contains(help.out, part) {
					t.Errorf("it does not have %q:\n%s", part, help.out)
				}
			}
		})
	}
}

// checkExample runs the first command of a line without an endpoint, which finds
// whatever is wrong with its usage.
func checkExample(t *testing.T, line string) {
	t.Helper()
	line, _, _ = strings.Cut(line, "|")
	line = strings.ReplaceAll(strings.TrimSpace(line), `"stolen laptop"`, "stolen")
	args := strings.Fields(strings.TrimPrefix(line, "$ caddy ws-gateway"))
	if r := runCommand(t, append(args, "--address", "127.0.0.1:1")...); r.status != exitUnreachable {
		t.Errorf("the example %q has the status %d: %s", line, r.status, r.errors)
	}
}
