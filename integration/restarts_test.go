package integration

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// node is Caddy in a process of its own, which may be started again, with a storage that
// it may share. As nothing of it is in the process of the tests, these are parallel.
type node struct {
	*process
	site string
}

// newNode describes a Caddy for jwtSecret's users.
func newNode(t *testing.T, storage string, b *backend) *node {
	t.Helper()
	g := newGateway(t, "")
	g.storage = storage
	return &node{process: &process{gateway: g}, site: jwtSite(b.addr, "", "")}
}

func (n *node) caddyfile() string {
	return fmt.Sprintf("{\n admin unix/%s\n persist_config off\n storage file_system %q\n auto_https off\n default_bind 127.0.0.1\n log default {\n output stderr\n format json\n }\n %s\n }\n http://:%s {\n %s\n }\n",
		n.socket, n.gateway.storage, n.options, n.httpAddr[strings.LastIndexByte(n.httpAddr, ':')+1:], n.site)
}

// start starts the process, and waits until it serves.
func (n *node) start(t *testing.T) {
	t.Helper()
	n.process = n.runProcess(t, n.caddyfile())
	eventually(t, "Caddy to serve", func() bool {
		conn, err := net.Dial("tcp", n.httpAddr)
		if err != nil {
			return false
		}
		_ = conn.Close()
		return true
	})
}

// stop ends the process by a signal.
func (n *node) stop(t *testing.T, signal syscall.Signal) {
	t.Helper()
	if err := n.cmd.Process.Signal(signal); err != nil {
		t.Fatal(err)
	}
	_ = receive(t, "the process to exit", n.exited)
}

// revoke revokes for as long as there is the storage.
func (n *node) revoke(t *testing.T, body string) (r revocation) {
	t.Helper()
	status, answer := n.adminDo(t, "POST", "/ws_gateway/revocations", "application/json", body)
	if err := json.Unmarshal([]byte(answer), &r); err != nil || status != 201 || r.ID == "" {
		t.Fatalf("revoking %s: %d %s", body, status, answer)
	}
	return r
}

// errors are the lines of a level in the log of the process.
func (n *node) errors(t *testing.T, words ...string) (lines []string) {
	t.Helper()
	for line := range bytes.Lines(n.log.bytes()) {
		var is struct{ Level string }
		if json.Unmarshal(line, &is) == nil && is.Level == "error" && containsAny(string(line), words) {
			lines = append(lines, string(line))
		}
	}
	return lines
}

// refuses reports whether the token with the ID is refused.
func (n *node) refuses(t *testing.T, jti string) bool {
	t.Helper()
	a := n.get(t, "/", bearer(tokenFor("alice", time.Hour, `"jti":"`+jti+`"`)))
	if a.status != 200 && a.status != 401 && a.status != 503 {
		t.Fatalf("%s: %d %s", jti, a.status, a.body)
	}
	return a.status == 401
}

func (n *node) assertRefused(t *testing.T, want bool, jtis ...string) {
	t.Helper()
	for _, jti := range jtis {
		if n.refuses(t, jti) != want {
			t.Errorf("%s: refused is %t", jti, !want)
		}
	}
}

// files are the records of a kind in the storage, by their names without directories.
func (n *node) files(t *testing.T, kind string) map[string]string {
	t.Helper()
	found := map[string]string{}
	root := filepath.Join(n.gateway.storage, "ws_gateway", kind)
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		unfinished := kind != "damaged" && !strings.HasSuffix(path, ".json") // of Caddy's storage
		if err == nil && !d.IsDir() && !unfinished {
			found[strings.TrimSuffix(d.Name(), ".json")] = path
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// TestWhatWasAnsweredOutlivesTheProcess whatever ends it right after.
func TestWhatWasAnsweredOutlivesTheProcess(t *testing.T) {
	long(t)
	t.Parallel()
	for _, signal := range []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL} {
		t.Run(signal.String(), func(t *testing.T) {
			t.Parallel()
			b := newBackend(t, echo)
			n := newNode(t, t.TempDir(), b)
			n.start(t)
			answered := make(chan string, 10_000)
			var clients sync.WaitGroup
			for client := range 8 {
				clients.Go(func() {
					for i := 0; ; i++ {
						jti := fmt.Sprint(client, "-", i)
						if status, err := n.tryAdmin("POST", "/ws_gateway/revocations", `{"jti":"`+jti+`"}`); err != nil || status != 201 {
							return
						}
						answered <- jti
					}
				})
			}
			var jtis []string
			for range 200 {
				jtis = append(jtis, receive(t, "a revocation", answered))
			}
			n.stop(t, signal)
			clients.Wait()
			close(answered)
			for jti := range answered {
				jtis = append(jtis, jti)
			}
			n.start(t)
			n.assertRefused(t, true, jtis...)
			n.assertRefused(t, false, "never")
			n.gateway.setState(t, b.addr, "maintenance")
			n.stop(t, signal)
			n.start(t)
			if got := n.shown(t, "default", b.addr).State; got != "maintenance" {
				t.Errorf("the upstream is %s after a restart", got)
			}
			n.gateway.setState(t, b.addr, "ready")
			n.stop(t, signal)
			n.start(t)
			if got := n.shown(t, "default", b.addr).State; got != "ready" {
				t.Errorf("the upstream is %s after another restart", got)
			}
			n.assertRefused(t, true, jtis[:10]...)
			for _, line := range n.errors(t, "ws_gateway") {
				t.Errorf("logged %s", line)
			}
		})
	}
}

// tryAdmin asks the admin endpoint, which may be gone.
func (n *node) tryAdmin(method, path, body string) (status int, err error) {
	client := http.Client{Timeout: patience, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", n.socket)
		},
	}}
	req, err := http.NewRequest(method, "http://admin"+path, strings.NewReader(body))
	if err != nil {
		return 0, err
	}
	res, err := client.Do(req)
	if err != nil {
		return 0, err
	}
	defer res.Body.Close()
	return res.StatusCode, nil
}

// TestDamagedRecordStopsNothing and is set aside.
func TestDamagedRecordStopsNothing(t *testing.T) {
	long(t)
	t.Parallel()
	b := newBackend(t, echo)
	n := newNode(t, t.TempDir(), b)
	n.start(t)
	damages := map[string]func(file string, content []byte) error{
		"truncated": func(file string, content []byte) error { return os.WriteFile(file, content[:len(content)/2], 0o600) },
		"garbage":   func(file string, _ []byte) error { return os.WriteFile(file, []byte("\x00\xff garbage"), 0o600) },
		"empty":     func(file string, _ []byte) error { return os.WriteFile(file, nil, 0o600) },
		"another": func(file string, content []byte) error {
			return os.WriteFile(file, bytes.Replace(content, []byte("another"), []byte("brother"), 1), 0o600)
		},
		"array": func(file string, _ []byte) error { return os.WriteFile(file, []byte("[]"), 0o600) },
	}
	ids := map[string]string{}
	for name := range damages {
		ids[name] = n.revoke(t, `{"jti":"`+name+`"}`).ID
	}
	n.revoke(t, `{"jti":"sound"}`)
	n.gateway.setState(t, b.addr, "drain")
	n.stop(t, syscall.SIGKILL)
	files := n.files(t, "revocations")
	for name, damage := range damages {
		file := files[ids[name]]
		content, err := os.ReadFile(file) // #nosec G304 -- of this test
		if err == nil {
			err = damage(file, content)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	n.start(t)
	n.assertRefused(t, true, "sound")
	if got := n.shown(t, "default", b.addr).State; got != "drain" {
		t.Errorf("the upstream is %s", got)
	}
	eventually(t, "the damaged ones to be set aside", func() bool { return len(n.files(t, "damaged")) >= len(damages) })
	for name := range damages {
		n.assertRefused(t, false, name)
		eventually(t, "a line about "+name, func() bool { return len(n.errors(t, ids[name])) > 0 })
		if lines := n.errors(t, ids[name]); len(lines) != 1 {
			t.Errorf("%s: logged %q, want one line", name, lines)
		}
		// One is copied before it is deleted.
		eventually(t, name+" to be gone from where it was", func() bool {
			_, left := n.files(t, "revocations")[ids[name]]
			return !left
		})
	}
	for name := range damages {
		n.revoke(t, `{"jti":"`+name+`"}`)
	}
	n.stop(t, syscall.SIGKILL)
	n.start(t)
	n.assertRefused(t, true, "sound", "truncated", "garbage", "empty", "another", "array")
	if lines := n.errors(t, ids["garbage"]); len(lines) != 0 {
		t.Errorf("logged again: %q", lines)
	}
}

// TestRecordThatCannotBeReadStopsNothing: it is a directory.
func TestRecordThatCannotBeReadStopsNothing(t *testing.T) {
	long(t)
	t.Parallel()
	n := newNode(t, t.TempDir(), newBackend(t, echo))
	n.start(t)
	n.revoke(t, `{"jti":"sound"}`)
	id := n.revoke(t, `{"jti":"directory"}`).ID
	n.stop(t, syscall.SIGKILL)
	file := n.files(t, "revocations")[id]
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(file, "x"), 0o700); err != nil {
		t.Fatal(err)
	}
	n.start(t)
	n.assertRefused(t, true, "sound")
	n.assertRefused(t, false, "directory")
	n.revoke(t, `{"jti":"more"}`)
	n.assertRefused(t, true, "more")
	if len(n.errors(t, "storage")) == 0 {
		t.Error("nothing was logged of it")
	}
}

func TestStorageThatCannotBeReadStopsNothing(t *testing.T) {
	long(t)
	t.Parallel()
	b := newBackend(t, echo)
	n := newNode(t, filepath.Join(t.TempDir(), "storage"), b)
	if err := os.WriteFile(n.gateway.storage, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	n.start(t)
	n.assertRefused(t, false, "one")
	if status, err := n.tryAdmin("POST", "/ws_gateway/revocations", `{"jti":"one"}`); err != nil || status != 500 {
		t.Errorf("revoking: %d, %v, want 500", status, err)
	}
	n.assertRefused(t, true, "one") // all the same
	if len(n.errors(t, "storage")) == 0 {
		t.Error("nothing was logged of it")
	}
	if err := os.Remove(n.gateway.storage); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it to be written after all", func() bool { return len(n.files(t, "revocations")) == 1 })
	n.stop(t, syscall.SIGKILL)
	n.start(t)
	n.assertRefused(t, true, "one")
}

// TestTwoProcessesShareAStorage: each has what the other one was told, soon, and neither
// destroys anything of the other's.
func TestTwoProcessesShareAStorage(t *testing.T) {
	long(t)
	t.Parallel()
	b := newBackend(t, echo)
	storage := t.TempDir()
	one, two := newNode(t, storage, b), newNode(t, storage, b)
	one.start(t)
	before := one.revoke(t, `{"jti":"before"}`).ID
	two.start(t)
	two.assertRefused(t, true, "before")
	conn := overWS.open(t, two.gateway, "/ws", bearer(tokenFor("alice", time.Hour, `"jti":"live"`)))
	began := time.Now()
	soon := func(what string, done func() bool) {
		t.Helper()
		began = time.Now()
		eventually(t, what, done)
		if took := time.Since(began); took > patience/2 {
			t.Errorf("%s took %s", what, took)
		}
	}
	one.revoke(t, `{"jti":"live","code":4001}`)
	two.revoke(t, `{"jti":"by two"}`)
	conn.expectClose(t, 4001)
	conn.kill()
	if took := time.Since(began); took > patience/2 {
		t.Errorf("a live connection took %s", took)
	}
	soon("the first to know of the second's", func() bool { return one.refuses(t, "by two") })
	two.assertRefused(t, true, "live", "before")
	one.assertRefused(t, true, "live", "before")
	two.pardon(t, before)
	soon("the first to know of a deletion", func() bool { return !one.refuses(t, "before") })
	one.gateway.setState(t, b.addr, "maintenance")
	soon("the second to know of a state", func() bool { return two.shown(t, "default", b.addr).State == "maintenance" })
	two.gateway.setState(t, b.addr, "ready")
	soon("the first to know of a state", func() bool { return one.shown(t, "default", b.addr).State == "ready" })

	var both sync.WaitGroup
	for i, n := range []*node{one, two} {
		both.Go(func() {
			for j := range 100 {
				if status, err := n.tryAdmin("POST", "/ws_gateway/revocations", fmt.Sprintf(`{"jti":"%d-%d"}`, i, j)); err != nil || status != 201 {
					t.Errorf("%d, %v", status, err)
				}
			}
		})
	}
	both.Wait()
	one.stop(t, syscall.SIGTERM)
	two.stop(t, syscall.SIGKILL)
	one.start(t)
	for i := range 2 {
		for j := range 100 {
			one.assertRefused(t, true, fmt.Sprintf("%d-%d", i, j))
		}
	}
	one.assertRefused(t, true, "live", "by two")
	one.assertRefused(t, false, "before")
}

// TestLapsedRevocationsLeaveTheStorage at the latest with the next start.
func TestLapsedRevocationsLeaveTheStorage(t *testing.T) {
	long(t)
	t.Parallel()
	n := newNode(t, t.TempDir(), newBackend(t, echo))
	n.start(t)
	n.revoke(t, `{"jti":"lasting"}`)
	brief := n.revoke(t, `{"jti":"brief","for":"100ms"}`).ID
	eventually(t, "the revocation to lapse", func() bool { return !n.refuses(t, "brief") })
	n.stop(t, syscall.SIGTERM)
	n.start(t)
	n.assertRefused(t, true, "lasting")
	n.assertRefused(t, false, "brief")
	eventually(t, "the record to be deleted", func() bool { _, left := n.files(t, "revocations")[brief]; return !left })
	if files := n.files(t, "revocations"); len(files) != 1 {
		t.Errorf("left are %v, want the one that lasts", files)
	}
}

// TestValidateWritesNothing into the storage, and takes nothing out of it.
func TestValidateWritesNothing(t *testing.T) {
	long(t)
	t.Parallel()
	n := newNode(t, t.TempDir(), newBackend(t, echo))
	n.start(t)
	n.revoke(t, `{"jti":"brief","for":"100ms"}`)
	n.revoke(t, `{"jti":"damaged"}`)
	eventually(t, "the revocation to lapse", func() bool { return !n.refuses(t, "brief") })
	n.stop(t, syscall.SIGKILL)
	for _, file := range n.files(t, "revocations") {
		if content, err := os.ReadFile(file); err == nil && bytes.Contains(content, []byte("damaged")) { // #nosec G304 -- of this test
			if err := os.WriteFile(file, []byte("garbage"), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	before := n.stored(t)
	if out, err := n.command(t, n.caddyfile(), "validate").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if after := n.stored(t); after != before {
		t.Errorf("the storage has\n%s\nand had\n%s", after, before)
	}
	n.gateway.storage = filepath.Join(t.TempDir(), "not there")
	if out, err := n.command(t, n.caddyfile(), "validate").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if _, err := os.Stat(filepath.Join(n.gateway.storage, "ws_gateway")); !os.IsNotExist(err) {
		t.Errorf("made a storage: %v", err)
	}
}

// stored describes all that is ours in the storage.
func (n *node) stored(t *testing.T) string {
	t.Helper()
	out, err := exec.Command("find", filepath.Join(n.gateway.storage, "ws_gateway"), "-printf", "%P %s %T@\n").CombinedOutput() // #nosec G204 -- of this test
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return string(out)
}
