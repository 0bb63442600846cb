package integration

import (
	"fmt"
	"maps"
	"net/http"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/wsgateway/caddy-ws-gateway/messages"
)

func init() { caddy.RegisterModule(trial{}) }

// trial is a message handler that passes everything but what is to try it out.
type trial struct{}

func (trial) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.ws_gateway.messages.trial", New: func() caddy.Module { return new(trial) }}
}

func (trial) UnmarshalCaddyfile(d *caddyfile.Dispenser) error { d.Next(); return nil }

func (trial) HandleMessage(m *messages.Message) (messages.Verdict, error) {
	switch string(m.Payload) {
	case "drop":
		return messages.Drop(), nil
	case "answer":
		return messages.Reply(messages.Text, []byte("answered "+m.Conn.UserID)), nil
	case "close":
		return messages.Close(1008, "not this"), nil
	case "fail":
		return messages.Pass, fmt.Errorf("no reason")
	case "panic":
		var nothing *trial
		_ = *nothing
	}
	return messages.Pass, nil
}

// handled is a gateway with message handlers.
func handled(upstream, name, more string) string {
	return fmt.Sprintf("ws_gateway %s {\n name %s\n drain_period 0s\n messages {\n trial\n }\n %s\n }", upstream, name, more)
}

// happening is what happens on a connection.
type happening = func(*testing.T, *gateway, *wsConn, *backendConn)

// handledEnd is what ends a connection whose messages are looked into, and how.
type handledEnd struct {
	config           string
	path             string
	happens          happening
	client, upstream int
	by, limit        string
}

func atAdmin(method, path, body string) happening {
	return func(t *testing.T, g *gateway, _ *wsConn, b *backendConn) {
		path := fmt.Sprintf(path, b.b.addr)
		if status, answer := g.adminDo(t, method, path, "application/json", body); status/100 != 2 {
			t.Errorf("%s %s: %d %s", method, path, status, answer)
		}
	}
}

func clientSays(frames ...frame) happening {
	return func(t *testing.T, _ *gateway, c *wsConn, _ *backendConn) {
		for _, f := range frames {
			c.mustSend(t, f)
		}
	}
}

func upstreamSays(f frame) happening {
	return func(_ *testing.T, _ *gateway, _ *wsConn, b *backendConn) { _ = b.write(f) }
}

func endsByTheGateway() map[string]handledEnd {
	jwt := fmt.Sprintf("auth {\n token query token\n jwt {\n key %q\n leeway 0s\n }\n }", jwtSecret)
	large := frame{fin: true, op: opBinary, payload: make([]byte, 1001)}
	return map[string]handledEnd{
		"message_size":                 {"limit {\n message_size 1000\n }", "/ws", clientSays(large), 1009, 1001, "gateway", "message_size"},
		"message_size of the upstream": {"limit {\n message_size 1000\n }", "/ws", upstreamSays(large), 1001, 1009, "gateway", "message_size"},
		"messages":                     {"limit {\n messages 1/1h close\n }", "/ws", clientSays(text("one"), text("two")), 1008, 1001, "gateway", "messages"},
		"bytes":                        {"limit {\n bytes 1000/1h close\n }", "/ws", clientSays(large), 1008, 1001, "gateway", "bytes"},
		"expiry":                       {jwt, "/ws?token=" + shortLived(), nil, 3000, 1001, "gateway", ""},
		"max_age":                      {"max_age 200ms", "/ws", nil, 1012, 1001, "gateway", ""},
		"idle_timeout":                 {"idle_timeout 200ms", "/ws", nil, 1001, 1001, "gateway", ""},
		"ping":                         {"ping 100ms 100ms", "/ws", nil, 1001, 1011, "client", ""},
		"kill":                         {"", "/ws", atAdmin("DELETE", "/ws_gateway/connections?upstream=%s", ""), 3000, 1001, "gateway", ""},
		"drain":                        {"", "/ws", atAdmin("POST", "/ws_gateway/upstreams/%s", `{"state":"drain"}`), 1012, 1001, "gateway", ""},
		"node drain":                   {"", "/ws", atAdmin("POST", "/ws_gateway/node?%.0s", `{"state":"drain","period":"0s"}`), 1012, 1001, "gateway", ""},
	}
}

func endsByTheSides() map[string]handledEnd {
	jwt := fmt.Sprintf("auth {\n token query token\n jwt {\n key %q\n leeway 0s\n }\n }", jwtSecret)
	return map[string]handledEnd{
		"UTF-8":                              {"", "/ws", clientSays(text("\xff")), 1007, 1001, "gateway", ""},
		"UTF-8 of the upstream":              {"", "/ws", upstreamSays(text("\xff")), 1001, 1007, "gateway", ""},
		"frames":                             {"", "/ws", clientSays(frame{fin: true, op: 3}), 1002, 1001, "gateway", ""},
		"frames of the upstream":             {"", "/ws", upstreamSays(frame{fin: true, op: 3}), 1001, 1002, "gateway", ""},
		"a handler closes":                   {"", "/ws", clientSays(text("close")), 1008, 1001, "gateway", ""},
		"a handler closes for the upstream":  {"", "/ws", upstreamSays(text("close")), 1008, 1008, "gateway", ""},
		"a handler fails":                    {"", "/ws", clientSays(text("fail")), 1011, 1011, "gateway", ""},
		"a handler panics":                   {"", "/ws", clientSays(text("panic")), 1011, 1011, "gateway", ""},
		"a handler panics over the upstream": {"", "/ws", upstreamSays(text("panic")), 1011, 1011, "gateway", ""},
		"client leaves":                      {"", "/ws", func(_ *testing.T, _ *gateway, c *wsConn, _ *backendConn) { c.kill() }, 0, 1011, "client", ""},
		"upstream leaves":                    {"", "/ws", func(_ *testing.T, _ *gateway, _ *wsConn, b *backendConn) { _ = b.Close() }, 1012, 0, "upstream", ""},
		"client closes":                      {"", "/ws", clientSays(closing(4001, "bye")), 0, 4001, "client", ""},
		"upstream closes":                    {"", "/ws", upstreamSays(closing(4002, "bye")), 4002, 0, "upstream", ""},
		"revocation": {jwt, "/ws?token=" + tokenFor("mallory", time.Hour), func(t *testing.T, g *gateway, _ *wsConn, _ *backendConn) {
			g.revoke(t, `{"user":"mallory"}`)
		}, 3000, 1001, "gateway", ""},
		"reload": {"", "/ws", func(t *testing.T, g *gateway, _ *wsConn, _ *backendConn) {
			g.reload(t, handled(newBackend(t, echo).addr, "handled", ""))
		}, 1012, 1001, "gateway", ""},
	}
}

// TestWithMessageHandlersEndsAreAsWithout for all that ends a connection.
func TestWithMessageHandlersEndsAreAsWithout(t *testing.T) {
	rows := endsByTheGateway()
	maps.Copy(rows, endsByTheSides())
	for name, row := range rows {
		t.Run(name, func(t *testing.T) {
			b := newBackend(t, handOver())
			g := start(t, handled(b.addr, "handled", row.config))
			eachCarrier(t, func(t *testing.T, c carrier) {
				if name == "reload" || name == "expiry" {
					g.reload(t, handled(b.addr, "handled", row.config))
				}
				if name == "expiry" {
					row.path = "/ws?token=" + shortLived()
				}
				client := c.open(t, g, row.path, nil)
				upstream := receive(t, "upgrade at the backend", b.upgraded)
				defer func() { _ = upstream.Close() }()
				book.wait(t, "opened", b.count(&b.opened)) // before that the admin API may not know of it
				before := g.limited(t, "handled", row.limit)
				if row.happens != nil {
					row.happens(t, g, client, upstream)
				}
				if row.client > 0 {
					client.expectClose(t, row.client)
				}
				if row.upstream > 0 {
					upstream.expectClose(t, row.upstream)
				}
				_ = upstream.Close()
				client.kill()
				eventually(t, "log line closed", func() bool { return len(book.closedBy(b.addr)) == b.count(&b.opened) })
				lines := book.closedBy(b.addr)
				if line := lines[len(lines)-1]; line.str("by") != row.by || line.str("limit") != row.limit {
					t.Errorf("the line is %s", line.raw)
				}
				if row.limit != "" && g.limited(t, "handled", row.limit) != before+1 {
					t.Error("the limit was not counted")
				}
				if name == "drain" {
					atAdmin("POST", "/ws_gateway/upstreams/%s", `{"state":"ready"}`)(t, g, nil, upstream)
				}
				atAdmin("POST", "/ws_gateway/node?%.0s", `{"state":"ready"}`)(t, g, nil, upstream)
			})
			g.assertNoLiveSeries(t)
		})
	}
}

// TestMessagesAreCountedListedAndKeptOverAReload where handlers look into them.
func TestMessagesAreCountedListedAndKeptOverAReload(t *testing.T) {
	b := newBackend(t, echo)
	auth := "auth {\n bearer static-token-of-alice alice\n }"
	g := start(t, handled(b.addr, "listed", auth))
	eachCarrier(t, func(t *testing.T, c carrier) {
		g.reload(t, handled(b.addr, "listed", auth))
		before := verdicts(t, g, "listed")
		client := c.open(t, g, "/ws", bearer("static-token-of-alice"))
		client.mustSend(t, text("hello"))
		client.expect(t, text("hello"))
		client.mustSend(t, text("drop"))
		client.mustSend(t, text("answer"))
		client.expect(t, text("answered alice"))
		client.mustSend(t, frame{fin: true, op: opPing, payload: []byte("there?")})
		client.expect(t, frame{fin: true, op: opPong, payload: []byte("there?")})
		g.reload(t, handled(b.addr, "listed", auth+"\n idle_timeout 1h"))
		client.mustSend(t, text("still"))
		client.expect(t, text("still"))
		if row := g.onlyRow(t, "listed"); row.MessagesFromClient != 4 || row.MessagesFromUpstream != 3 || row.User != "alice" {
			t.Errorf("listed is %+v", row)
		}
		client.finish(t)
		if got := verdicts(t, g, "listed"); got != before+2 {
			t.Errorf("%v verdicts were counted, want 2", got-before)
		}
	})
	g.assertNoLiveSeries(t)
}

func verdicts(t *testing.T, g *gateway, name string) float64 {
	t.Helper()
	return g.sum(t, "caddy_ws_gateway_message_verdicts_total", `gateway="`+name+`"`)
}

// TestExtensionsAreNegotiatedWithEachSide and end where the other side begins.
func TestExtensionsAreNegotiatedWithEachSide(t *testing.T) {
	const ours = "permessage-deflate; server_no_context_takeover; client_no_context_takeover"
	for name, row := range map[string]struct{ offers, accepts, answers string }{
		"neither":      {"", "", ""},
		"client only":  {"permessage-deflate; client_max_window_bits", "", ours},
		"upstream too": {"permessage-deflate", ours, ours},
		"window":       {"x-other, permessage-deflate; server_max_window_bits=10", "", ours + "; server_max_window_bits=10"},
		"unknown":      {"x-other", "permessage-deflate; server_no_context_takeover", ""},
	} {
		t.Run(name, func(t *testing.T) {
			lines := []string{}
			if row.accepts != "" {
				lines = append(lines, "Sec-WebSocket-Extensions: "+row.accepts)
			}
			b := newBackend(t, handOver(lines...))
			g := start(t, handled(b.addr, "negotiating", ""))
			header := http.Header{}
			if row.offers != "" {
				header.Set("Sec-WebSocket-Extensions", row.offers)
			}
			a, err := overWS.try(g, "/ws", header)
			if err != nil || a.status != 101 {
				t.Fatalf("%v, %v", a, err)
			}
			upstream := receive(t, "upgrade at the backend", b.upgraded)
			if got := headerLines(upstream.head, "Sec-WebSocket-Extensions"); len(got) != 1 || got[0] != ours {
				t.Errorf("the upstream is offered %q", got)
			}
			if got := a.header.Get("Sec-WebSocket-Extensions"); got != row.answers {
				t.Errorf("the client is answered %q, want %q", got, row.answers)
			}
			a.conn.kill()
			_ = upstream.Close()
		})
	}
}
