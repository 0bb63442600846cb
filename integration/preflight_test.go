package integration

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"github.com/coder/websocket"
)

// preflight is what a browser asks before a page of another origin may send a
// token.
func preflight(path string, more ...string) []string {
	return append([]string{
		"OPTIONS " + path + " HTTP/1.1", "Origin: https://page.example",
		"Access-Control-Request-Method: POST", "Access-Control-Request-Headers: authorization",
	}, more...)
}

// TestPreflightsAndNothingElsePassWithoutACredential sends what differs from a
// preflight in one thing.
func TestPreflightsAndNothingElsePassWithoutACredential(t *testing.T) {
	b := newBackend(t, echo)
	site := "ws_gateway " + b.addr + " {\n auth {\n %s\n token header\n token query t\n token cookie session\n bearer " + goodToken + " alice\n }\n %s\n header_up X-User \"u-{http.auth.user.id}\"\n }"
	rows := []struct {
		name   string
		head   []string
		status int
	}{
		{"a preflight", preflight("/hub"), 200},
		{"with a query", preflight("/hub?a=1"), 200},
		{"another method", append([]string{"GET /hub HTTP/1.1"}, preflight("")[1:]...), 401},
		{"POST", append([]string{"POST /hub HTTP/1.1", "Content-Length: 0"}, preflight("")[1:]...), 401},
		{"HEAD", append([]string{"HEAD /hub HTTP/1.1"}, preflight("")[1:]...), 401},
		{"options", append([]string{"options /hub HTTP/1.1"}, preflight("")[1:]...), 401},
		{"no Origin", []string{"OPTIONS /hub HTTP/1.1", "Access-Control-Request-Method: POST"}, 401},
		{"an empty Origin", []string{"OPTIONS /hub HTTP/1.1", "Origin:", "Access-Control-Request-Method: POST"}, 401},
		{"no method that is asked for", []string{"OPTIONS /hub HTTP/1.1", "Origin: https://page.example"}, 401},
		{"two methods", preflight("/hub", "Access-Control-Request-Method: PUT"), 401},
		{"a body", append(preflight("/hub", "Content-Length: 5"), "", "hello"), 401},
		{"a chunked body", append(preflight("/hub", "Transfer-Encoding: chunked"), "", "0", ""), 401},
		{"a bad token", preflight("/hub", "Authorization: Bearer bad"), 401},
		{"credentials that are not ours", preflight("/hub", "Authorization: Basic YTpi"), 401},
		{"a cookie", preflight("/hub", "Cookie: a=1"), 401},
		{"a bad token in the query, which a browser asks with", preflight("/hub?t=bad"), 401},
		{"a good token in the query", preflight("/hub?t=" + goodToken), 200},
	}
	for _, word := range []string{"cors_preflight", ""} {
		g := start(t, fmt.Sprintf(site, word, ""))
		for _, row := range rows {
			t.Run(word+"/"+row.name, func(t *testing.T) {
				want := row.status
				named := strings.Contains(row.name, "a preflight") || strings.Contains(row.name, "with a query")
				if word == "" && named {
					want = 401
				}
				before := len(book.find(ourLogger, "refused"))
				raw := dialRaw(t, g)
				head := append([]string{row.head[0], "Host: " + g.httpAddr, "Connection: close", "X-Http-Method-Override: DELETE"}, row.head[1:]...)
				raw.send(t, lines(head...))
				if got := raw.rest(t); !strings.HasPrefix(got, fmt.Sprintf("HTTP/1.1 %d ", want)) {
					t.Fatalf("answered %q, want %d", firstLine(got), want)
				}
				if want == 401 {
					line := book.wait(t, "refused", before+1)
					if says := strings.Contains(line.str("reason"), "cors_preflight"); says != (word == "" && named) {
						t.Errorf("the reason is %q", line.str("reason"))
					}
					return
				}
				seen := receive(t, "request at the backend", b.requests)
				user := "u-"
				if strings.Contains(row.name, "good") {
					user = "u-alice"
				}
				if got := headerLines(seen, "X-User"); len(got) != 1 || got[0] != user || strings.Contains(seen, goodToken) {
					t.Errorf("the backend was sent\n%s", seen)
				}
				if user == "u-" && strings.Contains(seen, "DELETE") {
					t.Errorf("the backend may take this for another method:\n%s", seen)
				}
			})
		}
		overWS.refused(t, g, "/ws", http.Header{"Origin": {"https://page.example"}, "Access-Control-Request-Method": {"POST"}}, 401)
	}
	g := start(t, fmt.Sprintf(site, "cors_preflight", "origins https://other.example"))
	raw := dialRaw(t, g)
	raw.send(t, lines(preflight("/hub", "Host: "+g.httpAddr, "Connection: close")...))
	if got := raw.rest(t); !strings.HasPrefix(got, "HTTP/1.1 403 ") {
		t.Errorf("from an origin that is not allowed: %q", firstLine(got))
	}
}

const signalRPage = `<!doctype html><title>waiting</title><p id="said"></p><script src="signalr.js"></script><script>
const said = (text) => { document.getElementById("said").textContent = text; };
onload = async () => {
	const connection = new signalR.HubConnectionBuilder()
		.withUrl("GATEWAY/hub", { accessTokenFactory: () => "TOKEN" }).build();
	connection.on("greet", (text) => said("greeted " + text));
	try { await connection.start(); } catch (err) { said("failed " + err); }
};
</script>`

// signalRHub is an upstream that speaks as much of SignalR as it takes to greet,
// and checks the token itself.
func signalRHub(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Access-Control-Allow-Origin", r.Header.Get("Origin"))
	w.Header().Set("Access-Control-Allow-Credentials", "true")
	w.Header().Set("Access-Control-Allow-Headers", r.Header.Get("Access-Control-Request-Headers"))
	switch {
	case r.Method == http.MethodOptions:
		w.WriteHeader(http.StatusNoContent)
	case r.URL.Path == "/hub/negotiate" && r.Header.Get("Authorization") == "Bearer "+goodToken:
		_, _ = fmt.Fprint(w, `{"negotiateVersion":1,"connectionId":"a","connectionToken":"b","availableTransports":[{"transport":"WebSockets","transferFormats":["Text"]}]}`)
	case r.URL.Path == "/hub" && r.URL.Query().Get("access_token") == goodToken:
		conn, err := websocket.Accept(w, r, &websocket.AcceptOptions{InsecureSkipVerify: true})
		if err != nil {
			return
		}
		defer conn.CloseNow()
		if _, _, err = conn.Read(r.Context()); err == nil { // its handshake
			_ = conn.Write(r.Context(), websocket.MessageText, []byte("{}\x1e{\"type\":1,\"target\":\"greet\",\"arguments\":[\"the page\"]}\x1e"))
			_, _, _ = conn.Read(r.Context())
		}
	default:
		w.WriteHeader(http.StatusForbidden)
	}
}

// TestSignalRFromAnotherOrigin runs its JavaScript client in Chromium, on a page of
// another origin than the gateway's.
func TestSignalRFromAnotherOrigin(t *testing.T) {
	client, err := os.ReadFile("clients/node_modules/@microsoft/signalr/dist/browser/signalr.js")
	need(t, err != nil, "the npm package @microsoft/signalr is missing: run npm ci in integration/clients")
	hub := httptest.NewServer(http.HandlerFunc(signalRHub))
	t.Cleanup(hub.Close)
	for word, want := range map[string]string{"cors_preflight": "greeted the page", "": "failed"} {
		t.Run(word, func(t *testing.T) {
			g := start(t, fmt.Sprintf(`ws_gateway %s {
				auth {
					token header
					token query access_token
					bearer %s alice
					forward
					%s
				}
			}`, strings.TrimPrefix(hub.URL, "http://"), goodToken, word))
			for _, gateway := range []string{"http://" + g.httpAddr, "https://" + g.tlsHost()} {
				page := strings.NewReplacer("GATEWAY", gateway, "TOKEN", goodToken).Replace(signalRPage)
				site := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if r.URL.Path == "/signalr.js" {
						_, _ = w.Write(client)
						return
					}
					w.Header().Set("Content-Type", "text/html")
					_, _ = fmt.Fprint(w, page)
				}))
				t.Cleanup(site.Close)
				p := openPage(t, site.URL+"/page")
				p.waitFor(t, `document.getElementById("said")?.textContent`, want)
			}
			if word != "" {
				return
			}
			if line := book.wait(t, "refused", 1); !strings.Contains(line.str("reason"), "cors_preflight") {
				t.Errorf("the reason is %q", line.str("reason"))
			}
		})
	}
}
