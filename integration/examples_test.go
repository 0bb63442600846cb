package integration

import (
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
)

// startExample runs a file of examples/ with the ports and paths replaced.
func startExample(t *testing.T, name string, replace ...string) *gateway {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "examples", name)) // #nosec G304 -- named in this file
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(replace); i += 2 {
		if !strings.Contains(string(text), replace[i]) {
			t.Fatalf("examples/%s no longer has %q", name, replace[i])
		}
	}
	g := newGateway(t, "")
	options := "{\n\tadmin unix/" + g.socket + "\n\tpersist_config off\n\tskip_install_trust\n\tstorage file_system " +
		filepath.Join(workDir, "storage") + "\n\tdefault_bind 127.0.0.1\n"
	site := strings.NewReplacer(replace...).Replace(string(text))
	if !strings.Contains(site, "\tlog default {\n") {
		options += "\tlog default {\n\t\t" + bookOutput + "\n\t}\n"
	}
	if strings.Contains(site, "\n{\n") || strings.HasPrefix(site, "{\n") {
		site = strings.Replace(site, "{\n", options, 1)
	} else {
		site = options + "\tauto_https disable_redirects\n}\n" + site
	}
	config, warnings, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(site), nil)
	if err != nil {
		t.Fatalf("examples/%s: %v\n%s", name, err, site)
	}
	for _, warning := range warnings {
		t.Logf("examples/%s: %v", name, warning)
	}
	book.turn()
	if err := caddy.Load(config, true); err != nil {
		t.Fatalf("examples/%s: %v", name, err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			book.dump(t)
		}
		if err := caddy.Stop(); err != nil {
			t.Errorf("stopping caddy: %v", err)
		}
	})
	return g
}

func port(addr string) string { return addr[strings.LastIndexByte(addr, ':'):] }

// TestEveryExampleIsTested fails when a file is added without a test here.
func TestEveryExampleIsTested(t *testing.T) {
	files, err := filepath.Glob("../examples/*.Caddyfile")
	if err != nil {
		t.Fatal(err)
	}
	for i := range files {
		files[i] = filepath.Base(files[i])
	}
	want := []string{
		"bearer-headers.Caddyfile", "cookies-origins-tls.Caddyfile", "forward-auth.Caddyfile",
		"jwt-browser.Caddyfile", "limits.Caddyfile", "messages.Caddyfile", "middleware.Caddyfile", "quickstart.Caddyfile", "socketio.Caddyfile", "streams.Caddyfile",
	}
	if !slices.Equal(files, want) {
		t.Errorf("examples/ has %q, but the tests below are of %q", files, want)
	}
}

// quickstart runs examples/quickstart.Caddyfile.
func quickstart(t *testing.T) *gateway {
	t.Helper()
	var ports []string
	for range 3 {
		ports = append(ports, port(freePort(t)))
	}
	g := startExample(t, "quickstart.Caddyfile",
		":8080", ports[0], ":9001", ports[1], ":9002", ports[2], "examples/quickstart", "../examples/quickstart")
	g.httpAddr = "127.0.0.1" + ports[0]
	return g
}

// TestQuickstartExample balances over its two upstreams and refuses strangers.
func TestQuickstartExample(t *testing.T) {
	g := quickstart(t)
	greetings := map[string]bool{}
	for range 2 {
		conn := overWS.open(t, g, "/ws", bearer("alice-demo-token"))
		f, err := conn.next()
		if err != nil {
			t.Fatal(err)
		}
		greetings[string(f.payload)] = true
		conn.ping(t, "hello")
	}
	if !greetings["hello alice, this is upstream one"] || !greetings["hello alice, this is upstream two"] {
		t.Errorf("greetings %v", greetings)
	}
	overWS.refused(t, g, "/ws", bearer("not-a-token"), 401)
	overWS.refused(t, g, "/ws", nil, 401)
	if a := g.get(t, "/", nil); a.status != 200 || !strings.Contains(a.body, "ws_gateway quickstart") {
		t.Errorf("the page: status %d", a.status)
	}
}

// A site whose name leads to this machine (DNS rebinding) is the same site to a browser,
// and must neither see the live page nor act on it.
func TestQuickstartStatusIsForThisMachineAlone(t *testing.T) {
	g := quickstart(t)
	up := g.gateways(t)[0].Upstreams[0].Address
	_, port, _ := strings.Cut(g.httpAddr, ":")
	for host, seen := range map[string]bool{"localhost": true, "127.0.0.1": true, "[::1]": true, "evil.example": false, "localhost.evil.example": false} {
		host += ":" + port
		shown := g.sendTo(t, host, http.MethodGet, "/status?view=data", nil, "")
		if got := strings.Contains(shown.body, `"gateways"`); got != seen {
			t.Errorf("for %s, the page is shown: %t", host, got)
		}
		g.setState(t, up, "ready")
		g.sendTo(t, host, http.MethodPost, "/status", http.Header{"Origin": {"http://" + host}, "Content-Type": {"application/json"}},
			`{"action":"upstream","address":"`+up+`","state":"maintenance"}`)
		if got := g.shown(t, "default", up).State == "maintenance"; got != seen {
			t.Errorf("for %s, the page acts: %t", host, got)
		}
	}
}

// TestQuickstartPageInABrowser clicks its buttons in Chromium.
func TestQuickstartPageInABrowser(t *testing.T) {
	g := quickstart(t)
	p := openPage(t, "http://"+g.httpAddr+"/")
	p.waitFor(t, `document.querySelectorAll("[data-token]").length`, "3")
	cards := `document.getElementById("connections").innerText`
	p.eval(t, `document.querySelector("[data-who=alice]").click()`)
	p.waitFor(t, cards, "hello alice, this is upstream ")
	p.eval(t, `document.querySelector("[data-who=bob]").click()`)
	p.waitFor(t, cards, "hello bob, this is upstream ")
	for _, name := range []string{"one", "two"} {
		if got := p.eval(t, `document.getElementById("count-`+name+`").textContent`); got != "1" {
			t.Errorf("the page counts %s connections on upstream %s, want 1", got, name)
		}
	}
	p.eval(t, `document.querySelector(".card input").value = "said by hand"`)
	p.eval(t, `document.querySelector(".card form").requestSubmit()`)
	p.waitFor(t, `[...document.querySelectorAll(".card li.received")].map(l => l.textContent).join("|")`, "said by hand")
	p.eval(t, `document.querySelector(".wrong").click()`)
	p.waitFor(t, cards, "refused: 401")
	p.eval(t, `document.getElementById("clear").click()`)
	p.waitFor(t, `document.getElementById("count-one").textContent + document.getElementById("count-two").textContent`, "00")
}

// TestBearerHeadersExample decorates both directions.
func TestBearerHeadersExample(t *testing.T) {
	t.Setenv("WS_TOKEN", "example-token")
	one, two := newBackend(t, echo), newBackend(t, echo)
	addr := freePort(t)
	g := startExample(t, "bearer-headers.Caddyfile", ":8080", port(addr), "localhost:9001", one.addr, "localhost:9002", two.addr)
	g.httpAddr = addr
	header := bearer("example-token")
	header.Set("X-User-Id", "root")
	served := map[string]bool{}
	for range 2 {
		conn := overWS.open(t, g, "/ws", header)
		conn.ping(t, "hello")
		served[conn.header.Get("X-Served-By")] = true
	}
	if !served[one.addr] || !served[two.addr] {
		t.Errorf("X-Served-By named %v, want each backend once", served)
	}
	for _, b := range []*backend{one, two} {
		head := receive(t, "handshake", b.requests)
		for name, want := range map[string]string{"X-Custom-Header": "my custom value", "X-User-Id": "service", "Authorization": ""} {
			if got := strings.Join(headerLines(head, name), "|"); got != want {
				t.Errorf("%s at the backend is %q, want %q", name, got, want)
			}
		}
	}
	overWS.refused(t, g, "/ws", bearer("other"), 401)
	one.kill()
	overWS.open(t, g, "/ws", header).ping(t, "the other one answers")
}

// TestCookiesOriginsTLSExample lets in pages of the site and of the one named.
func TestCookiesOriginsTLSExample(t *testing.T) {
	t.Setenv("SESSION_TOKEN", "session-token")
	one, two := newBackend(t, echo), newBackend(t, echo)
	addr := freePort(t)
	g := startExample(t, "cookies-origins-tls.Caddyfile",
		"\ttls internal", "\t"+tlsDirective(),
		"\nlocalhost {", "\nlocalhost"+port(addr)+" {", "localhost:9001", one.addr, "localhost:9002", two.addr)
	g.httpsAddr = addr
	g.waitForTLS(t)
	header := func(origin string) http.Header {
		return http.Header{"Cookie": {"session=session-token; theme=dark"}, "Origin": {origin}}
	}
	for _, c := range []carrier{overWSS, overH2, overH3} {
		c.open(t, g, "/ws", header("https://"+g.tlsHost())).ping(t, "from the site")
		c.open(t, g, "/ws", header("https://app.localhost")).ping(t, "from the page named")
		c.refused(t, g, "/ws", header("https://evil.example"), 403)
		c.refused(t, g, "/ws", http.Header{"Cookie": {"session=other"}, "Origin": {"https://app.localhost"}}, 401)
	}
	if got := one.receivedBytes() + two.receivedBytes(); strings.Contains(got, "session-token") {
		t.Error("the session token reached a backend")
	}
}

// TestJWTBrowserExample keeps tokens out of the access log.
func TestJWTBrowserExample(t *testing.T) {
	t.Setenv("JWT_SECRET", jwtSecret)
	b := newBackend(t, echo)
	addr := freePort(t)
	g := startExample(t, "jwt-browser.Caddyfile", ":8080", port(addr), "localhost:9001", b.addr,
		"format filter {", "output integration_book\n\t\tformat filter {\n\t\t\twrap json")
	g.httpAddr = addr
	good := tokenFor("alice", time.Hour, `"aud":"chat"`, `"scope":"ws:connect"`, `"email":"a@example.com"`)
	for _, way := range []string{"query", "subprotocol"} {
		query, header := carry(g, way, good)
		conn := overWS.open(t, g, "/ws"+query, header)
		head := receive(t, "handshake", b.requests)
		for name, want := range map[string]string{"X-User-Id": "alice", "X-User-Email": "a@example.com"} {
			if got := strings.Join(headerLines(head, name), "|"); got != want {
				t.Errorf("%s at the backend is %q, want %q", name, got, want)
			}
		}
		book.wait(t, "opened", len(book.find(ourLogger, "refused"))+1)
		renewal := g.send(t, http.MethodPost, "/ws/renew?connection="+conn.header.Get("Ws-Gateway-Connection")+"&token="+good, nil, "")
		if renewal.status != http.StatusNoContent {
			t.Errorf("renewing: status %d", renewal.status)
		}
		query, header = carry(g, way, tokenFor("alice", time.Hour, `"aud":"chat"`))
		overWS.refused(t, g, "/ws"+query, header, 403)
		conn.finish(t)
	}
	eventually(t, "six access log lines", func() bool { return len(book.find(accessLogger, "")) >= 6 })
	for _, line := range book.find("", "") {
		if strings.Contains(line.raw, strings.Split(good, ".")[1]) {
			t.Errorf("the token is in the log: %s", line.raw)
		}
	}
}

// TestLimitsExample meets the caps of an address and of a message's size.
func TestLimitsExample(t *testing.T) {
	b := newBackend(t, echo)
	addr := freePort(t)
	g := startExample(t, "limits.Caddyfile", ":8080", port(addr), "localhost:9001", b.addr)
	g.httpAddr = addr
	for range 20 {
		overWS.open(t, g, "/ws", http.Header{"X-Forwarded-For": {"203.0.113.7"}}).ping(t, "hello")
	}
	if a := overWS.refused(t, g, "/ws", http.Header{"X-Forwarded-For": {"203.0.113.7"}}, 429); a.header.Get("Retry-After") != "5" {
		t.Errorf("Retry-After %q", a.header.Get("Retry-After"))
	}
	other := overWS.open(t, g, "/ws", http.Header{"X-Forwarded-For": {"203.0.113.8"}})
	other.mustSend(t, frame{fin: true, op: opBinary, payload: make([]byte, 64<<10)})
	other.expect(t, frame{op: opBinary, payload: make([]byte, 64<<10)})
	other.mustSend(t, frame{fin: true, op: opBinary, payload: make([]byte, 64<<10+1)})
	other.expectClose(t, 1009)
}

// TestForwardAuthExample takes the user from a login service that goes by
// cookies, and keeps other people's pages from using them.
func TestForwardAuthExample(t *testing.T) {
	asked := make(chan http.Header, 1000)
	login := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked <- r.Header.Clone()
		session, err := r.Cookie("login")
		switch {
		case r.URL.Path != "/api/authz/forward-auth":
			w.WriteHeader(http.StatusTeapot)
		case err != nil:
			http.Redirect(w, r, "https://login.example/", http.StatusFound)
		case session.Value == "of-alice":
			w.Header().Set("Remote-User", "alice")
		}
	}))
	t.Cleanup(login.Close)
	one, two := newBackend(t, echo), newBackend(t, echo)
	addr := freePort(t)
	g := startExample(t, "forward-auth.Caddyfile", ":8080 {", port(addr)+" {",
		"localhost:9091", login.Listener.Addr().String(), "localhost:9001", one.addr, "localhost:9002", two.addr)
	g.httpAddr = addr
	of := func(cookie, origin string) http.Header {
		header := http.Header{"Remote-User": {"root"}, "X-User-Id": {"root"}, "X_User_Id": {"root"}}
		if cookie != "" {
			header.Set("Cookie", cookie)
		}
		if origin != "" {
			header.Set("Origin", origin)
		}
		return header
	}
	own := "http://" + addr
	for range 2 {
		overWS.open(t, g, "/ws", of("login=of-alice", own)).ping(t, "hello")
	}
	for _, b := range []*backend{one, two} {
		head := receive(t, "handshake", b.requests)
		for name, want := range map[string]string{"X-User-Id": "alice", "Remote-User": "", "Cookie": ""} {
			if got := strings.Join(headerLines(head, name), "|"); got != want {
				t.Errorf("%s at the backend is %q, want %q", name, got, want)
			}
		}
	}
	if got := book.wait(t, "opened", 1).str("user_id"); got != "alice" {
		t.Errorf("user_id in the log is %q", got)
	}
	overWS.open(t, g, "/ws", of("login=of-alice", "")).ping(t, "a program")
	overWS.refused(t, g, "/ws", of("login=of-alice", "https://evil.example"), 403)
	overWS.refused(t, g, "/ws", of("", own), 302)
	overWS.refused(t, g, "/ws", of("login=nameless", own), 401)
	if a := g.get(t, "/ws/plain", of("login=of-alice", own)); a.status != 200 {
		t.Errorf("a plain request: status %d", a.status)
	}
	for len(asked) > 0 {
		if header := <-asked; header.Get("Upgrade") != "" {
			t.Errorf("the login service was asked for an Upgrade: %v", header)
		}
	}
}

// TestMiddlewareExample passes a WebSocket and plain requests through Caddy's own
// middleware.
func TestMiddlewareExample(t *testing.T) {
	one, two := newBackend(t, echo), newBackend(t, echo)
	long := strings.Repeat("something to compress ", 1000)
	for _, b := range []*backend{one, two} {
		b.set(func() {
			b.health = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", "text/plain")
				w.Header().Set("Server", "backend")
				w.Header().Set("Content-Length", fmt.Sprint(len(long)))
				_, _ = w.Write([]byte(long))
			})
		})
	}
	addr := freePort(t)
	g := startExample(t, "middleware.Caddyfile", ":8080", port(addr), "localhost:9001", one.addr, "localhost:9002", two.addr,
		"format filter {", "output integration_book\n\t\tformat filter {\n\t\t\twrap json")
	g.httpAddr = addr
	const elsewhere = "203.0.113.7" // what the client says of itself
	header := func(more http.Header) http.Header {
		h := http.Header{"X-Forwarded-For": {elsewhere}, "X-Real-Ip": {elsewhere}, "Forwarded": {"for=" + elsewhere}}
		maps.Copy(h, more)
		return h
	}
	compressed, scanner := http.Header{"Accept-Encoding": {"gzip"}}, http.Header{"User-Agent": {"sqlmap/1.9"}}

	conn := overWS.open(t, g, "/ws", header(compressed))
	conn.ping(t, long)
	conn.finish(t)
	plain := g.get(t, "/health", header(compressed))
	if plain.status != 200 || plain.header.Get("Content-Encoding") != "gzip" || len(plain.body) > len(long)/10 {
		t.Errorf("a plain answer: status %d, Content-Encoding %q, %d bytes", plain.status, plain.header.Get("Content-Encoding"), len(plain.body))
	}
	if encoding := conn.header.Get("Content-Encoding"); encoding != "" {
		t.Errorf("the answer to a handshake has the Content-Encoding %q", encoding)
	}
	for what, answer := range map[string]http.Header{"a handshake": conn.header, "a plain request": plain.header} {
		if answer.Get("X-Content-Type-Options") != "nosniff" || answer.Get("Server") != "" {
			t.Errorf("the answer to %s has the header %v", what, answer)
		}
	}

	reached := func() int { return len(one.requests) + len(two.requests) }
	before := reached()
	overWS.refused(t, g, "/ws/internal/room", header(nil), 404)
	overWS.refused(t, g, "/ws", header(scanner), 403)
	for path, status := range map[string]int{"/metrics": 404, "/ws/internal": 404, "/ws": 200} {
		if a := g.get(t, path, header(nil)); a.status != status {
			t.Errorf("GET %s: status %d, want %d", path, a.status, status)
		}
	}
	if a := g.get(t, "/", header(scanner)); a.status != 403 {
		t.Errorf("a scanner: status %d", a.status)
	}
	if n := reached() - before; n != 1 {
		t.Errorf("%d requests reached a backend, want the one that is not blocked", n)
	}
	for body, status := range map[string]int{strings.Repeat("x", 64_000): 200, strings.Repeat("x", 64_001): 413} {
		if a := g.send(t, http.MethodPost, "/", header(nil), body); a.status != status {
			t.Errorf("a body of %d bytes: status %d, want %d", len(body), a.status, status)
		}
	}
	nobodyLearned(t, elsewhere, one, two)
}

// nobodyLearned looks for the client's address, which is 127.0.0.1 and said to be
// another, in what the backends were sent and in the log.
func nobodyLearned(t *testing.T, claimed string, backends ...*backend) {
	t.Helper()
	for _, b := range backends {
		for _, c := range b.everSeen() {
			head := string(c.received.bytes())
			for _, name := range []string{"X-Forwarded-For", "X-Real-Ip", "X-Real-IP", "Forwarded"} {
				if got := headerLines(head, name); got != nil {
					t.Errorf("%s at the backend is %q", name, got)
				}
			}
			if strings.Contains(head, claimed) {
				t.Errorf("the backend was sent what the client says of its address:\n%s", head)
			}
		}
	}
	eventually(t, "the lines of every request", func() bool { return len(book.find(accessLogger, "")) >= 10 })
	masked := 0
	for _, line := range book.find("", "") {
		request, _ := line.fields["request"].(map[string]any)
		for _, address := range []any{line.fields["remote_ip"], request["remote_ip"], request["client_ip"]} {
			switch address {
			case nil:
			case "127.0.0.0":
				masked++
			default:
				t.Errorf("an address is in the log: %s", line.raw)
			}
		}
		if request["remote_port"] != nil || strings.Contains(line.raw, claimed) {
			t.Errorf("more of the client is in the log: %s", line.raw)
		}
	}
	if masked < 20 {
		t.Errorf("%d addresses in the log are masked", masked)
	}
}

// TestSocketIOExample keeps a session that begins by polling at one backend.
func TestSocketIOExample(t *testing.T) {
	needNode(t)
	var upstreams []string
	for _, name := range []string{"one", "two"} {
		server := startNode(t, "socketio-server.mjs", name)
		upstreams = append(upstreams, fmt.Sprint("127.0.0.1:", server.await(t, "listening").Port))
	}
	addr := freePort(t)
	g := startExample(t, "socketio.Caddyfile", ":8080 {", port(addr)+" {", "localhost:9001", upstreams[0], "localhost:9002", upstreams[1])
	g.httpAddr = addr
	for range 4 {
		r := &realServer{gateway: g, client: startNode(t, "socketio-client.mjs", "http://"+addr)}
		r.expectUndisturbed(t, r.session(t), 1)
	}
	overWS.refused(t, g, "/socket.io/?EIO=4&transport=websocket", http.Header{"Origin": {"https://evil.example"}}, 403)
}
