package integration

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/coder/websocket"
)

// need skips the test, which is a long one, when a program that it drives is
// missing, unless the run insists on it.
func need(t *testing.T, missing bool, what string) {
	t.Helper()
	long(t)
	if !missing {
		return
	}
	if os.Getenv("WSGATEWAY_REQUIRE_CLIENTS") != "" {
		t.Fatal(what)
	}
	t.Skip(what + " (set WSGATEWAY_REQUIRE_CLIENTS to make this a failure)")
}

// libraryEcho is an upstream built with coder/websocket, which negotiates
// permessage-deflate and answers pings.
func libraryEcho(t *testing.T) (addr string) {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn, err := websocket.Accept(w, r, &websocket.AcceptOptions{
			CompressionMode: websocket.CompressionContextTakeover, Subprotocols: []string{"chat"}, InsecureSkipVerify: true,
		})
		if err != nil {
			return
		}
		defer conn.CloseNow()
		conn.SetReadLimit(-1)
		for {
			kind, message, err := conn.Read(r.Context())
			if err != nil || conn.Write(r.Context(), kind, message) != nil {
				return
			}
		}
	}))
	t.Cleanup(server.Close)
	return server.Listener.Addr().String()
}

// TestNodeClient drives the npm package ws.
func TestNodeClient(t *testing.T) {
	node := needNode(t)
	g := start(t, "ws_gateway "+libraryEcho(t)+` {
		auth {
			token header
			token subprotocol
			bearer good-token alice
		}
	}`)
	type outcome struct {
		Opened               bool
		Status, Echoes, Code int
		Protocol, Extensions string
		Error                string
	}
	rows := []struct {
		name, carrier, token string
		status               int
	}{
		{"token in a header", "header", "good-token", 0},
		{"token as a subprotocol", "subprotocol", "good-token", 0},
		{"wrong token in a header", "header", "bad-token", 401},
		{"wrong token as a subprotocol", "subprotocol", "bad-token", 401},
		{"no token", "none", "", 401},
	}
	for _, url := range []string{"ws://" + g.httpAddr + "/ws", "wss://" + g.tlsHost() + "/ws"} {
		for _, row := range rows {
			t.Run(url[:3]+"/"+row.name, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), patience)
				defer cancel()
				cmd := exec.CommandContext(ctx, node, "clients/ws-client.mjs", url, row.carrier, row.token) // #nosec G204
				out, err := cmd.Output()
				if err != nil {
					t.Fatalf("%v: %s", err, out)
				}
				var got outcome
				if err := json.Unmarshal(out, &got); err != nil {
					t.Fatalf("%v: %s", err, out)
				}
				if got.Status != row.status || got.Opened != (row.status == 0) {
					t.Fatalf("got %s, want status %d", out, row.status)
				}
				if row.status != 0 {
					return
				}
				if got.Echoes != 6 || got.Protocol != "chat" || got.Code != 1000 || got.Error != "" {
					t.Errorf("got %s, want 6 echoes, protocol chat and code 1000", out)
				}
				if !strings.HasPrefix(got.Extensions, "permessage-deflate") {
					t.Errorf("extensions %q, want permessage-deflate end to end", got.Extensions)
				}
			})
		}
	}
}
