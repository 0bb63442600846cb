package integration

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/coder/websocket/wsjson"
)

// page is a page in headless Chromium, driven over the DevTools protocol.
type page struct {
	conn     *websocket.Conn
	id       int
	problems []string // that it has reported, from the call of Log.enable on
}

// openPage starts Chromium with the address.
func openPage(t *testing.T, url string) *page {
	t.Helper()
	chromium, err := exec.LookPath("chromium")
	need(t, err != nil, "chromium is not installed")
	profile, err := os.MkdirTemp(workDir, "chromium")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(chromium, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", // #nosec G204
		"--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync",
		"--disable-dev-shm-usage", "--ignore-certificate-errors", "--remote-debugging-port=0",
		"--user-data-dir="+profile, url)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // its helpers end with it
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		_ = cmd.Wait()
	})
	var address string
	eventually(t, "Chromium to listen", func() bool {
		b, err := os.ReadFile(filepath.Join(profile, "DevToolsActivePort")) // #nosec G304
		port, _, both := strings.Cut(string(b), "\n")
		if err != nil || !both {
			return false
		}
		address = pageSocket("http://127.0.0.1:" + port + "/json/list")
		return address != ""
	})
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	conn, _, err := websocket.Dial(ctx, address, nil)
	if err != nil {
		t.Fatal(err)
	}
	conn.SetReadLimit(-1)
	t.Cleanup(func() { _ = conn.CloseNow() })
	return &page{conn: conn}
}

// pageSocket finds the DevTools address of the page that is open.
func pageSocket(list string) string {
	client := http.Client{Timeout: time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := client.Get(list)
	if err != nil {
		return ""
	}
	defer res.Body.Close()
	var targets []struct {
		Type                 string
		WebSocketDebuggerURL string `json:"webSocketDebuggerUrl"`
	}
	if json.NewDecoder(res.Body).Decode(&targets) != nil {
		return ""
	}
	for _, target := range targets {
		if target.Type == "page" {
			return target.WebSocketDebuggerURL
		}
	}
	return ""
}

// eval evaluates an expression in the page and returns it as text.
func (p *page) eval(t *testing.T, expression string) string {
	t.Helper()
	var answer struct{ Result struct{ Value string } }
	p.call(t, "Runtime.evaluate", map[string]any{"expression": "String(" + expression + ")", "returnByValue": true}, &answer)
	return answer.Result.Value
}

// call calls a method of the DevTools protocol. The answer goes into what into points to.
func (p *page) call(t *testing.T, method string, params map[string]any, into any) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	p.id++
	if err := wsjson.Write(ctx, p.conn, map[string]any{"id": p.id, "method": method, "params": params}); err != nil {
		t.Fatal(err)
	}
	for {
		var answer struct {
			ID     int
			Method string
			Params struct {
				Entry struct{ Level, Text, URL string }
			}
			Result json.RawMessage
		}
		if err := wsjson.Read(ctx, p.conn, &answer); err != nil {
			t.Fatalf("%s %v: %v", method, params, err)
		}
		if entry := answer.Params.Entry; answer.Method == "Log.entryAdded" && entry.Level == "error" {
			p.problems = append(p.problems, entry.Text+" "+entry.URL)
		}
		if answer.ID != p.id {
			continue
		}
		if err := json.Unmarshal(answer.Result, into); err != nil {
			t.Fatalf("%s: %v in %s", method, err, answer.Result)
		}
		return
	}
}

// waitFor evaluates until the text contains what is wanted.
func (p *page) waitFor(t *testing.T, expression, want string) string {
	t.Helper()
	var got string
	if !poll(patience, func() bool {
		got = p.eval(t, expression)
		return strings.Contains(got, want)
	}) {
		t.Fatalf("%s is %q, want %q in it", expression, got, want)
	}
	return got
}

const browserPage = `<!doctype html><title>waiting</title><script>
const say = (id, text) => {
	const p = document.createElement("p");
	p.id = id;
	p.textContent = text;
	document.body.append(p);
};
const attempt = (name, token) => {
	const ws = new WebSocket(location.href.replace("http", "ws").replace("page", "ws"), ["bearer", token]);
	const seen = [];
	ws.onopen = () => { seen.push("protocol=" + ws.protocol); ws.send("hello from the page"); };
	ws.onmessage = (e) => { seen.push("echo=" + e.data); ws.close(1000, "done"); };
	ws.onerror = () => seen.push("error");
	ws.onclose = (e) => say(name, seen.concat("code=" + e.code).join(" "));
};
onload = () => { attempt("good", "good-token"); attempt("wrong", "wrong-token"); };
</script><body></body>`

// TestBrowserWithASubprotocolToken runs new WebSocket(url, ["bearer", token]) in
// Chromium, over plain HTTP and over TLS.
func TestBrowserWithASubprotocolToken(t *testing.T) {
	b := newBackend(t, echo)
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "page"), []byte(browserPage), 0o600); err != nil {
		t.Fatal(err)
	}
	g := start(t, fmt.Sprintf(`ws_gateway /ws %s {
		auth {
			token subprotocol
			bearer good-token alice
		}
		origins same
		header_up X-User {http.auth.user.id}
	}
	header Content-Type text/html
	root %s
	file_server`, b.addr, dir))
	for _, url := range []string{"http://" + g.httpAddr, "https://" + g.tlsHost()} {
		t.Run(url[:5], func(t *testing.T) {
			p := openPage(t, url+"/page")
			got := p.waitFor(t, `document.getElementById("good")?.textContent`, "code=")
			if got != "protocol=bearer echo=hello from the page code=1000" {
				t.Errorf("with the right token the page saw %q", got)
			}
			got = p.waitFor(t, `document.getElementById("wrong")?.textContent`, "code=")
			if got != "error code=1006" {
				t.Errorf("with a wrong token the page saw %q", got)
			}
			head := receive(t, "the page's handshake", b.requests)
			if strings.Contains(head, "good-token") || headerLines(head, "X-User")[0] != "alice" {
				t.Errorf("the backend got:\n%s", head)
			}
		})
	}
	if n := len(b.requests); n != 0 {
		t.Errorf("%d handshakes with a wrong token reached the backend", n)
	}
}
