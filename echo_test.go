package wsgateway

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/coder/websocket"
)

func TestEchoSendsMessagesBackAsTheyCame(t *testing.T) {
	t.Parallel()
	conn := dialEcho(t, new(Echo), nil)
	large := make([]byte, 4<<20) // far above the library's limit of a message
	if _, err := rand.Read(large); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name    string
		kind    websocket.MessageType
		payload []byte
	}{
		{"text", websocket.MessageText, []byte("hello")},
		{"empty text", websocket.MessageText, nil},
		{"binary", websocket.MessageBinary, []byte{0, 255, 1}},
		{"empty binary", websocket.MessageBinary, nil},
		{"large binary", websocket.MessageBinary, large},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			written := make(chan error, 1)
			go func() { written <- conn.Write(t.Context(), test.kind, test.payload) }()
			kind, payload, err := conn.Read(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if err := <-written; err != nil {
				t.Fatal(err)
			}
			if kind != test.kind || !bytes.Equal(payload, test.payload) {
				t.Errorf("got %s of %d bytes, want %s of %d", kind, len(payload), test.kind, len(test.payload))
			}
		})
	}
}

func TestEchoGreetsWithPlaceholders(t *testing.T) {
	t.Parallel()
	echo := &Echo{Greeting: "hello {http.request.header.X-User-Id}, this is one"}
	conn := dialEcho(t, echo, http.Header{"X-User-Id": {"alice"}})
	kind, greeting, err := conn.Read(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if kind != websocket.MessageText || string(greeting) != "hello alice, this is one" {
		t.Errorf("got %s %q", kind, greeting)
	}
}

func TestEchoSelectsTheFirstOfferedSubprotocol(t *testing.T) {
	t.Parallel()
	conn := dialEcho(t, new(Echo), nil, "chat", "graphql-ws")
	if got := conn.Subprotocol(); got != "chat" {
		t.Errorf("selected %q, want chat", got)
	}
}

func TestEchoAnswersTheCloseFrame(t *testing.T) {
	t.Parallel()
	conn := dialEcho(t, new(Echo), http.Header{"Origin": {"https://elsewhere.example"}})
	if err := conn.Close(4321, "enough"); err != nil {
		t.Errorf("closing: %v", err)
	}
}

func TestEchoPassesOtherRequestsOn(t *testing.T) {
	t.Parallel()
	server := serveEcho(t, new(Echo))
	answer, err := server.Client().Get(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusTeapot {
		t.Errorf("got %d, want the next handler's answer", answer.StatusCode)
	}
}

func TestEchoRefusesBrokenHandshakes(t *testing.T) {
	t.Parallel()
	server := serveEcho(t, new(Echo))
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	request.Header = http.Header{"Connection": {"Upgrade"}, "Upgrade": {"websocket"}, "Sec-Websocket-Version": {"7"}}
	answer, err := server.Client().Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusBadRequest || answer.Header.Get("Sec-WebSocket-Version") != "13" {
		t.Errorf("got %d with version %q, want 400 with 13", answer.StatusCode, answer.Header.Get("Sec-WebSocket-Version"))
	}
}

func TestEchoSpeaksHTTP1Only(t *testing.T) {
	t.Parallel()
	echo := provisionEcho(t, new(Echo))
	for name, request := range map[string]*http.Request{
		"h2": {ProtoMajor: 2, Method: http.MethodConnect, Header: http.Header{":protocol": {"websocket"}}},
		"h3": {ProtoMajor: 3, Method: http.MethodConnect, Proto: "websocket", Header: http.Header{}},
	} {
		err := echo.ServeHTTP(httptest.NewRecorder(), request, teapot)
		var answer caddyhttp.HandlerError
		if !errors.As(err, &answer) || answer.StatusCode != http.StatusNotImplemented {
			t.Errorf("%s: got %v, want 501", name, err)
		}
	}
}

func TestEchoClosesWithGoingAwayWhenUnloaded(t *testing.T) {
	t.Parallel()
	echo := &Echo{Greeting: t.Name()}
	conn := dialEcho(t, echo, nil)
	if _, _, err := conn.Read(t.Context()); err != nil {
		t.Fatal(err)
	}
	unloaded := make(chan error, 1)
	go func() { unloaded <- echo.Cleanup() }()
	_, _, err := conn.Read(t.Context())
	if got := websocket.CloseStatus(err); got != websocket.StatusGoingAway {
		t.Errorf("closed with %v, want 1001", err)
	}
	if err := <-unloaded; err != nil {
		t.Error(err)
	}
}

// A peer that never reads must not hold up a reload.
func TestEchoUnloadsWhileAPeerStalls(t *testing.T) {
	t.Parallel()
	echo := &Echo{Greeting: t.Name()}
	conn := dialEcho(t, echo, nil)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() {
		piece := make([]byte, 1<<20)
		for conn.Write(ctx, websocket.MessageBinary, piece) == nil {
			continue
		}
	}()
	started := time.Now()
	if err := echo.Cleanup(); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(started); took > 4*time.Second {
		t.Errorf("took %s", took)
	}
}

func TestEchoConnectionSurvivesAReloadThatKeepsItsHandler(t *testing.T) {
	t.Parallel()
	first := &Echo{Greeting: t.Name()}
	conn := dialEcho(t, first, nil)
	if _, _, err := conn.Read(t.Context()); err != nil {
		t.Fatal(err)
	}
	second := provisionEcho(t, &Echo{Greeting: t.Name()})
	if err := first.Cleanup(); err != nil {
		t.Fatal(err)
	}
	checkEchoes(t, conn)
	if err := second.Cleanup(); err != nil {
		t.Fatal(err)
	}
	if _, _, err := conn.Read(t.Context()); websocket.CloseStatus(err) != websocket.StatusGoingAway {
		t.Errorf("closed with %v, want 1001", err)
	}
}

// Caddy wraps the response writer, and wraps it again for access logs and for
// metrics; in front of TLS it is another connection.
func TestEchoRunsInCaddy(t *testing.T) {
	prepareValidation(t)
	for name, logs := range map[string]string{
		"plain":                 "",
		"access log":            "\tlog {\n\t\toutput discard\n\t}\n",
		"access log and encode": "\tlog {\n\t\toutput discard\n\t}\n\tencode\n",
	} {
		t.Run(name, func(t *testing.T) {
			socket := runCaddy(t, "{\n\tadmin off\n\tpersist_config off\n\tmetrics\n}\n\nhttp:// {\n\tbind unix/{SOCKET}\n"+logs+"\tws_echo hello\n}\n")
			conn := dialUnix(t, socket)
			if _, greeting, err := conn.Read(t.Context()); err != nil || string(greeting) != "hello" {
				t.Fatalf("got %q, %v", greeting, err)
			}
			checkEchoes(t, conn)
			stopped := make(chan error, 1)
			go func() { stopped <- caddy.Stop() }()
			if _, _, err := conn.Read(t.Context()); websocket.CloseStatus(err) != websocket.StatusGoingAway {
				t.Errorf("closed with %v, want 1001", err)
			}
			select {
			case err := <-stopped:
				if err != nil {
					t.Error(err)
				}
			case <-t.Context().Done():
				t.Error("Caddy does not stop")
			}
		})
	}
}

// teapot is the handler behind the one that is tested.
var teapot = caddyhttp.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) error {
	w.WriteHeader(http.StatusTeapot)
	return nil
})

func provisionEcho(t *testing.T, echo *Echo) *Echo {
	t.Helper()
	if echo.Greeting == "" {
		// Handlers with the same greeting share their connections, which
		// tests that run at once must not.
		echo.key.listen = t.Name()
	}
	ctx, cancel := caddy.NewContext(caddy.Context{Context: t.Context()})
	t.Cleanup(cancel)
	if err := echo.Provision(ctx); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := echo.Cleanup(); err != nil {
			t.Error(err)
		}
	})
	return echo
}

// serveEcho serves a handler as Caddy does, without the rest of Caddy.
func serveEcho(t *testing.T, echo *Echo) *httptest.Server {
	t.Helper()
	provisionEcho(t, echo)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r = caddyhttp.PrepareRequest(r, caddy.NewReplacer(), w, new(caddyhttp.Server))
		if err := echo.ServeHTTP(w, r, teapot); err != nil {
			w.WriteHeader(http.StatusInternalServerError)
		}
	}))
	t.Cleanup(server.Close)
	return server
}

func dialEcho(t *testing.T, echo *Echo, header http.Header, subprotocols ...string) *websocket.Conn {
	t.Helper()
	server := serveEcho(t, echo)
	conn, answer, err := websocket.Dial(t.Context(), server.URL, &websocket.DialOptions{HTTPHeader: header, Subprotocols: subprotocols})
	if err != nil {
		t.Fatal(err)
	}
	if answer.Body != nil {
		defer answer.Body.Close()
	}
	return openConn(t, conn)
}

func openConn(t *testing.T, conn *websocket.Conn) *websocket.Conn {
	t.Helper()
	conn.SetReadLimit(-1)
	t.Cleanup(func() { _ = conn.CloseNow() })
	return conn
}

func checkEchoes(t *testing.T, conn *websocket.Conn) {
	t.Helper()
	if err := conn.Write(t.Context(), websocket.MessageText, []byte("are you there")); err != nil {
		t.Fatal(err)
	}
	if _, payload, err := conn.Read(t.Context()); err != nil || string(payload) != "are you there" {
		t.Fatalf("got %q, %v", payload, err)
	}
}

// runCaddy starts Caddy with a Caddyfile whose {SOCKET} becomes the path of the
// unix socket that is returned.
func runCaddy(t *testing.T, input string) (socket string) {
	t.Helper()
	socket = filepath.Join(t.TempDir(), "http.sock")
	config, err := adapt(strings.ReplaceAll(input, "{SOCKET}", socket))
	if err != nil {
		t.Fatal(err)
	}
	var parsed json.RawMessage = config
	if err := caddy.Load(parsed, true); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := caddy.Stop(); err != nil {
			t.Error(err)
		}
	})
	return socket
}

func dialUnix(t *testing.T, socket string) *websocket.Conn {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", socket)
		},
	}}
	conn, answer, err := websocket.Dial(t.Context(), "ws://caddy/", &websocket.DialOptions{HTTPClient: client})
	if err != nil {
		t.Fatal(err)
	}
	if answer.Body != nil {
		defer answer.Body.Close()
	}
	return openConn(t, conn)
}
