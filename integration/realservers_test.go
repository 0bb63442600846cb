package integration

import (
	"fmt"
	"testing"
)

// realServer is a protocol over WebSockets as people use it: two servers of a
// public package behind the gateway, and the client that belongs to it.
type realServer struct {
	*gateway
	site      string
	addresses map[string]string // of the servers, by name
	servers   map[string]*nodeScript
	client    *nodeScript
}

// startReal runs the servers, the gateway before them, and a client.
func startReal(t *testing.T, protocol, options string, secure bool) *realServer {
	t.Helper()
	r := &realServer{addresses: make(map[string]string), servers: make(map[string]*nodeScript)}
	upstreams := ""
	for _, name := range []string{"one", "two"} {
		server := startNode(t, protocol+"-server.mjs", name)
		r.servers[name] = server
		r.addresses[name] = fmt.Sprint("127.0.0.1:", server.await(t, "listening").Port)
		upstreams += " " + r.addresses[name]
	}
	// Caddy's access log looks at how much of a body was read, when the end of a request that
	// is broken off may still be read.
	r.site = "log_skip\nws_gateway" + upstreams + " {\n drain_period 0s\n" + options + "\n %s\n }"
	r.gateway = start(t, r.configured(""))
	url := "http://" + r.httpAddr
	if secure {
		url = "https://" + r.tlsHost()
	}
	r.client = startNode(t, protocol+"-client.mjs", url)
	return r
}

func (r *realServer) configured(more string) string { return fmt.Sprintf(r.site, more) }

// session waits for a new session that has come to use a WebSocket.
func (r *realServer) session(t *testing.T) (opened nodeEvent) {
	t.Helper()
	for carried := ""; carried == "" || carried != opened.Session; {
		switch e := r.client.next(t, "a session over a WebSocket"); {
		case e.Event == "open":
			opened = e
		case e.Event == "carried" && e.Transport == "websocket":
			carried = e.Session
		}
	}
	return opened
}

// expectUndisturbed waits for more messages both ways, all in the session.
func (r *realServer) expectUndisturbed(t *testing.T, want nodeEvent, sessions int) {
	t.Helper()
	r.client.command(t, "report")
	got := r.client.await(t, "report")
	if got.Session != want.Session || got.Server != want.Server || got.Sessions != sessions {
		t.Errorf("session %d is %s at %s, want session %d, %s at %s",
			got.Sessions, got.Session, got.Server, sessions, want.Session, want.Server)
	}
	for _, wrong := range got.Wrong {
		t.Error(wrong)
	}
}

// expectMoved waits until the client was told to come back and did.
func (r *realServer) expectMoved(t *testing.T, from nodeEvent, sessions int) nodeEvent {
	t.Helper()
	if closed := r.client.await(t, "closed"); closed.Code != 1012 {
		t.Errorf("the client was told %d (%s), want 1012", closed.Code, closed.Reason)
	}
	moved := r.session(t)
	if moved.Server == from.Server || moved.Session == from.Session {
		t.Errorf("after %s at %s the client has %s at %s", from.Session, from.Server, moved.Session, moved.Server)
	}
	r.expectUndisturbed(t, moved, sessions)
	return moved
}

// TestRealServersThroughReloadAndDrain puts socket.io, which begins by polling,
// and graphql-ws behind the gateway, and changes that under them.
func TestRealServersThroughReloadAndDrain(t *testing.T) {
	long(t)
	for _, row := range []struct {
		protocol, options string
		secure            bool
	}{
		{"socketio", "lb_policy cookie", false},
		{"socketio", "lb_policy cookie", true},
		{"graphql", "", false},
		{"graphql", "", true},
	} {
		t.Run(fmt.Sprintf("%s secure %t", row.protocol, row.secure), func(t *testing.T) {
			needNode(t)
			r := startReal(t, row.protocol, row.options, row.secure)
			first := r.session(t)
			r.expectUndisturbed(t, first, 1)

			r.reload(t, "respond /unrelated hello\n"+r.configured(""))
			r.expectUndisturbed(t, first, 1)
			r.reload(t, r.configured("max_conns 50\n write_timeout 7s"))
			r.expectUndisturbed(t, first, 1)

			drained := r.addresses[first.Server]
			defer r.setState(t, drained, "ready")
			r.setState(t, drained, "drain")
			second := r.expectMoved(t, first, 2)

			r.setState(t, drained, "ready")
			r.reload(t, "ws_gateway "+drained+" {\n drain_period 0s\n"+row.options+"\n }")
			third := r.expectMoved(t, second, 3)
			if third.Server != first.Server {
				t.Errorf("the client is at %s, which is not configured any more", third.Server)
			}
		})
	}
}

// TestClientOfAKilledServerComesBackToTheOther has graphql-ws, whose client takes
// every code from 1000 to 1999 for the end of it all but for a few, 1012 among them.
func TestClientOfAKilledServerComesBackToTheOther(t *testing.T) {
	for _, secure := range []bool{false, true} {
		t.Run(fmt.Sprintf("secure %t", secure), func(t *testing.T) {
			needNode(t)
			r := startReal(t, "graphql", "fail_duration 1m", secure)
			first := r.session(t)
			r.expectUndisturbed(t, first, 1)
			r.servers[first.Server].kill(t)
			r.expectMoved(t, first, 2)
			line := book.waitClosed(t, r.addresses[first.Server], 1)
			if line.str("by") != "upstream" || line.num("code") != 1012 || line.str("reason") != "upstream vanished" {
				t.Errorf("logged: %s", line.raw)
			}
		})
	}
}
